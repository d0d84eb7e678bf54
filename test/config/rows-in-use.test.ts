/** A settings row that nothing reads is a promise nobody keeps. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { compareConfig, effectiveConfig } from '../../src/config/change.ts';
import { defaultConfig } from '../../src/config/load.ts';
import type { Row } from '../../src/config/rows.ts';
import { LINK_FIELDS, ROUTE_FIELDS, SOURCE_FIELDS, TOPIC_FIELDS } from '../../src/config/sections.ts';
import { SETTINGS, TOPIC_DEFAULTS } from '../../src/config/settings.ts';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));
/** All code but the rows themselves, and what checks and prints them. */
const text = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter(
    (path) => path.endsWith('.ts') && !/^config\/(settings|sections|validate|budget|read|reference)\.ts$/.test(path),
  )
  .map((path) => readFileSync(SRC + path, 'utf8'))
  .join('\n');
const isRead = (name: string) =>
  text.includes(`['${name}']`) ||
  text.includes(`('${name}')`) ||
  (/^\w+$/.test(name) && new RegExp(`[.{,]\\s*${name}\\b`).test(text));

describe('every row is read by something that is not the configuration', () => {
  const tables: Record<string, readonly Row[]> = {
    // Defaults of topic settings are read under their topic names.
    settings: SETTINGS.filter(({ name }) => TOPIC_DEFAULTS[name] === undefined),
    topics: TOPIC_FIELDS,
    routes: ROUTE_FIELDS,
    links: LINK_FIELDS,
    sources: SOURCE_FIELDS,
  };
  for (const [section, rows] of Object.entries(tables)) {
    it(section, () => {
      const known = new Set(['memory.budget', 'type']); // read by validate.ts alone; decides which link or source is made
      expect(rows.map(({ name }) => name).filter((name) => !known.has(name) && !isRead(name))).toEqual([]);
    });
  }
});

describe('a reload', () => {
  it('applies or names every setting that changed, and keeps what needs a restart', async () => {
    const before = await defaultConfig();
    for (const row of SETTINGS as readonly Row[]) {
      const settings = { ...before.settings, [row.name]: 'something else' };
      const after = { ...before, settings: settings as unknown as typeof before.settings };
      const { changed, restart } = compareConfig(before, after);
      expect(
        changed.map(({ path }) => path),
        row.name,
      ).toEqual(row.runtime ? [row.name] : []);
      expect(
        restart.map(({ path }) => path),
        row.name,
      ).toEqual(row.runtime ? [] : [row.name]);
      const now = (effectiveConfig(before, after).settings as Record<string, unknown>)[row.name];
      expect(now).toEqual(row.runtime ? 'something else' : (before.settings as Record<string, unknown>)[row.name]);
    }
  });
});
