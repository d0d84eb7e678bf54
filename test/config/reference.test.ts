import { describe, expect, it } from 'vitest';
import { humanQuantity, settingsReference } from '../../src/config/reference.ts';
import { parseRow, type Row } from '../../src/config/rows.ts';
import { LINK_FIELDS, ROUTE_FIELDS, TOPIC_FIELDS } from '../../src/config/sections.ts';
import { SETTINGS, TOPIC_DEFAULTS } from '../../src/config/settings.ts';
import { TOPIC_SETTINGS } from '../../src/log/topic-config.ts';

describe('the reference of settings', () => {
  it('is current: `npx vitest run --project unit test/config -u` writes it anew', async () => {
    await expect(settingsReference()).toMatchFileSnapshot('../../docs/settings.md');
  });

  it('shows quantities in their largest whole unit', () => {
    expect(humanQuantity(604_800_000, 'ms')).toBe('7d');
    expect(humanQuantity(1_048_588, 'bytes')).toBe('1048588');
    expect(humanQuantity(-1, 'ms')).toBe('-1');
    expect(humanQuantity(3 * 1024 ** 2, 'bytes')).toBe('3MiB');
  });
});

describe('the rows', () => {
  const tables: Readonly<Record<string, readonly Row[]>> = { SETTINGS, TOPIC_FIELDS, ROUTE_FIELDS, LINK_FIELDS };
  for (const [table, rows] of Object.entries(tables)) {
    it(`${table}: names are there once, defaults are values of their own row, docs are sentences`, () => {
      expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
      for (const row of rows) {
        expect(row.doc, row.name).toMatch(/[.:]$/);
        if (row.default !== null) expect(parseRow(row, row.default), row.name).toEqual({ value: row.default });
      }
    });
  }

  it('defaults of topic settings are those of the topic settings themselves', () => {
    for (const [name, topicName] of Object.entries(TOPIC_DEFAULTS)) {
      const row = SETTINGS.find((setting) => setting.name === name)!;
      expect(String(row.default), name).toBe(TOPIC_SETTINGS.find((setting) => setting.name === topicName)!.default);
    }
  });
});
