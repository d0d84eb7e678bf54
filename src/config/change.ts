/** What a reload changes: each setting that may change at run time does, each that may not is named and keeps its value. */
import { formatAddress } from './address.ts';
import { type Config, LISTENER_NAMES } from './config.ts';
import type { Row } from './rows.ts';
import { LINK_FIELDS, SOURCE_FIELDS, TOPIC_FIELDS } from './sections.ts';
import { SETTINGS } from './settings.ts';

export interface Change {
  readonly path: string;
  /** As text; secrets are not shown. */
  readonly from: string;
  readonly to: string;
}

export interface Changes {
  /** Applied while the broker runs. */
  readonly changed: readonly Change[];
  /** Need a restart; until then the old value holds. */
  readonly restart: readonly Change[];
}

const text = (value: unknown): string =>
  value === null || value === undefined ? '(none)' : Array.isArray(value) ? value.join(',') : String(value);

export function compareConfig(before: Config, after: Config): Changes {
  const changed: Change[] = [];
  const restart: Change[] = [];
  const compare = (path: string, from: unknown, to: unknown, runtime: boolean, secret = false) => {
    if (text(from) === text(to)) return;
    const shown = (value: unknown) => (secret && value !== null && value !== undefined ? '(secret)' : text(value));
    (runtime ? changed : restart).push({ path, from: shown(from), to: shown(to) });
  };
  for (const row of SETTINGS) compare(row.name, before.settings[row.name], after.settings[row.name], row.runtime);
  for (const name of LISTENER_NAMES) {
    const address = (config: Config) =>
      config.listeners[name] === null ? null : formatAddress(config.listeners[name]);
    compare(`listeners.${name}`, address(before), address(after), false);
    const told = (config: Config) => (config.advertised[name] === null ? null : formatAddress(config.advertised[name]));
    compare(`advertised.listeners.${name}`, told(before), told(after), false);
  }
  for (const name of new Set([...before.topics.keys(), ...after.topics.keys()])) {
    const [old, now] = [before.topics.get(name), after.topics.get(name)];
    compare(`topics.${name}`, old === undefined ? null : 'declared', now === undefined ? null : 'declared', true);
    if (old === undefined || now === undefined) continue;
    for (const { name: field, runtime } of TOPIC_FIELDS)
      compare(`topics.${name}.${field}`, old[field], now[field], runtime);
    for (const setting of new Set([...old.config.keys(), ...now.config.keys()])) {
      compare(`topics.${name}.${setting}`, old.config.get(setting), now.config.get(setting), true);
    }
  }
  compare('routes', JSON.stringify(before.routes), JSON.stringify(after.routes), true);
  for (const name of new Set([...before.links.keys(), ...after.links.keys()])) {
    const [old, now] = [before.links.get(name), after.links.get(name)];
    compare(`links.${name}`, old === undefined ? null : 'declared', now === undefined ? null : 'declared', false);
    if (old === undefined || now === undefined) continue;
    for (const row of LINK_FIELDS as readonly Row[]) {
      const [from, to] = [old, now].map((link) => (link as unknown as Record<string, unknown>)[row.name]);
      compare(`links.${name}.${row.name}`, from, to, row.runtime, row.kind === 'secret');
    }
  }
  for (const name of new Set([...before.sources.keys(), ...after.sources.keys()])) {
    const [old, now] = [before.sources.get(name), after.sources.get(name)];
    compare(`sources.${name}`, old === undefined ? null : 'declared', now === undefined ? null : 'declared', true);
    if (old === undefined || now === undefined) continue;
    for (const { name: field, runtime } of SOURCE_FIELDS)
      compare(`sources.${name}.${field}`, old[field], now[field], runtime);
  }
  return { changed, restart };
}

/**
 * `after` with every value that needs a restart put back to what runs now: what the broker holds after a reload, so that
 * the next comparison is against the truth.
 */
export function effectiveConfig(before: Config, after: Config): Config {
  const settings: Record<string, unknown> = { ...after.settings };
  for (const row of SETTINGS) if (!row.runtime) settings[row.name] = before.settings[row.name];
  const links = new Map(
    [...before.links].map(([name, old]) => {
      const now = after.links.get(name);
      if (now === undefined) return [name, old];
      const fields: Record<string, unknown> = { ...old };
      for (const row of LINK_FIELDS) if (row.runtime) fields[row.name] = now[row.name];
      return [name, Object.freeze(fields) as unknown as typeof old];
    }),
  );
  return Object.freeze({
    ...after,
    settings: Object.freeze(settings) as unknown as Config['settings'],
    topicDefaults: before.topicDefaults,
    listeners: before.listeners,
    advertised: before.advertised,
    links,
  });
}
