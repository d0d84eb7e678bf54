/**
 * Defaults, then the file, then the environment, then the command line: a frozen Config, or every mistake at once.
 * Nothing is started on a configuration with a mistake.
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import {
  type Config,
  ConfigError,
  type LinkSection,
  type Problem,
  type SourceSection,
  type TopicSection,
} from './config.ts';
import { type LocatedMap, parseDocument } from './document.ts';
import { checkFiles } from './files.ts';
import { type Draft, emptyDraft, readDraft } from './read.ts';
import { parseRow, type Row } from './rows.ts';
import { LINK_FIELDS, SOURCE_FIELDS } from './sections.ts';
import { SETTINGS, type Settings, TOPIC_DEFAULTS } from './settings.ts';
import { suggest } from './suggest.ts';
import { unreadable } from './unreadable.ts';
import { checkRelations, reporter } from './validate.ts';

export interface ConfigSources {
  /** Path of the YAML file. */
  readonly file?: string | undefined;
  /** The file's content, when it is read already; `file` then only names it. */
  readonly text?: string | undefined;
  /** `HEADWATER_LOG_RETENTION_HOURS` and the like; nothing is read from the process by itself. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Setting name -> text, `listeners.mqtt` for listeners. They win. */
  readonly flags?: Readonly<Record<string, string>>;
  /** Stands in for a missing `broker.id`. */
  readonly hostname?: string;
  /** Whether the files that settings name must be there: for a broker, not for the tools that make them. */
  readonly files?: boolean;
  /** Told what is odd without being a mistake. */
  readonly warn?: (text: string) => void;
}

/** Variables with our prefix that are not settings. */
const ENV_RESERVED = new Set([
  'HEADWATER_NODE',
  'HEADWATER_NODE_FLAGS',
  'HEADWATER_USER',
  'HEADWATER_CONFIG',
  'HEADWATER_BOOTSTRAP',
  'HEADWATER_HTTP',
  'HEADWATER_MQTT',
]);

export function environmentName(setting: string): string {
  return `HEADWATER_${setting.toUpperCase().replace(/[^A-Z0-9]+/g, '_')}`;
}

/** Throws a ConfigError with all problems; a file that cannot be read is one. */
export async function loadConfig(sources: ConfigSources): Promise<Config> {
  const problems: Problem[] = [];
  const file = sources.file === undefined ? null : resolve(sources.file);
  let root: LocatedMap | null = null;
  const source = sources.file ?? 'config';
  const text = sources.text ?? (file === null ? undefined : await readText(file, source, problems));
  if (text !== undefined) {
    const parsed = await parseDocument(text, source);
    problems.push(...parsed.problems);
    root = parsed.root;
  }
  const draft = root === null ? emptyDraft() : readDraft(root, source, problems);
  resolvePaths(draft, file === null ? process.cwd() : dirname(file));
  overrideFromEnvironment(draft, sources, problems);
  overrideFromFlags(draft, sources, problems);
  const config = assemble(draft, file, sources.hostname ?? 'headwater');
  const report = reporter(draft.places, problems, source);
  checkRelations(config, report);
  if (sources.files === true) await checkFiles(config, report);
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

/** The built-in defaults with `flags` on top; for tests and tools. */
export function defaultConfig(flags: Readonly<Record<string, string>> = {}): Promise<Config> {
  return loadConfig({ flags });
}

async function readText(file: string, source: string, problems: Problem[]): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    problems.push({ path: '', line: null, source, message: unreadable(error) });
    return undefined;
  }
}

function resolvePaths(draft: Draft, base: string): void {
  for (const row of SETTINGS as readonly Row[]) {
    const value = draft.settings.get(row.name);
    if (row.kind === 'path' && typeof value === 'string') draft.settings.set(row.name, resolve(base, value));
  }
  for (const fields of draft.links.values()) {
    for (const row of LINK_FIELDS as readonly Row[]) {
      const value = fields[row.name];
      if (row.kind === 'path' && typeof value === 'string') fields[row.name] = resolve(base, value);
    }
  }
}

function overrideFromEnvironment(draft: Draft, { env = {}, warn }: ConfigSources, problems: Problem[]): void {
  const known = new Set(ENV_RESERVED);
  const source = 'the environment';
  const take = (row: Row, name: string, path: string, set: (value: never) => void) => {
    known.add(name);
    const raw = env[name];
    if (raw === undefined) return;
    const parsed = parseRow(row, raw);
    if ('problem' in parsed) problems.push({ path: name, line: null, source, message: parsed.problem });
    else set((row.kind === 'path' ? resolve(String(parsed.value)) : parsed.value) as never);
    draft.places.set(path, { line: null, source });
  };
  for (const row of SETTINGS as readonly Row[]) {
    take(row, environmentName(row.name), row.name, (value) => draft.settings.set(row.name, value));
  }
  for (const [section, rows] of [
    ['links', LINK_FIELDS],
    ['sources', SOURCE_FIELDS],
  ] as const) {
    for (const [name, fields] of draft[section]) {
      for (const row of rows as readonly Row[]) {
        const path = `${section}.${name}.${row.name}`;
        take(row, environmentName(path), path, (value) => {
          fields[row.name] = value;
        });
      }
    }
  }
  for (const section of ['listeners', 'advertised'] as const) {
    const prefix = section === 'listeners' ? 'listeners' : 'advertised.listeners';
    for (const name of Object.keys(draft[section])) {
      const variable = environmentName(`${prefix}.${name}`);
      known.add(variable);
      const raw = env[variable];
      if (raw !== undefined) draft.setListener(section, name, raw, { line: null, source }, problems);
    }
  }
  for (const name of Object.keys(env)) {
    if (!name.startsWith('HEADWATER_') || known.has(name)) continue;
    const near = suggest(name, known);
    warn?.(`${name} in the environment is not a setting${near === null ? '' : `; did you mean ${near}?`}`);
  }
}

function overrideFromFlags(draft: Draft, { flags = {} }: ConfigSources, problems: Problem[]): void {
  const source = 'the command line';
  const rows = new Map<string, Row>((SETTINGS as readonly Row[]).map((row) => [row.name, row]));
  for (const [name, raw] of Object.entries(flags)) {
    if (name.startsWith('listeners.')) {
      draft.setListener('listeners', name.slice('listeners.'.length), raw, { line: null, source }, problems);
      continue;
    }
    const row = rows.get(name);
    if (row === undefined) {
      const near = suggest(name, rows.keys());
      const message = `unknown setting${near === null ? '' : `; did you mean ${near}?`}`;
      problems.push({ path: name, line: null, source, message });
      continue;
    }
    const parsed = parseRow(row, raw);
    if ('problem' in parsed) problems.push({ path: name, line: null, source, message: parsed.problem });
    else draft.settings.set(name, row.kind === 'path' ? resolve(String(parsed.value)) : parsed.value);
    draft.places.set(name, { line: null, source });
  }
}

/** A host name as a broker id: what Kafka does not allow in a topic prefix becomes "-". */
function brokerIdFrom(hostname: string): string {
  return (
    hostname
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 64) || 'headwater'
  );
}

function assemble(draft: Draft, file: string | null, hostname: string): Config {
  const settings: Record<string, unknown> = {};
  for (const row of SETTINGS) settings[row.name] = draft.settings.get(row.name) ?? row.default;
  settings['broker.id'] ??= brokerIdFrom(hostname);
  settings['data.dir'] = resolve(String(settings['data.dir']));
  Object.freeze(settings);

  const topicDefaults = new Map<string, string>([['retention.ms', String(retentionMs(settings))]]);
  for (const [name, topicName] of Object.entries(TOPIC_DEFAULTS)) topicDefaults.set(topicName, String(settings[name]));

  const links = new Map<string, LinkSection>();
  for (const [name, fields] of draft.links)
    links.set(name, Object.freeze({ ...fields, name }) as unknown as LinkSection);
  const sources = new Map<string, SourceSection>();
  for (const [name, fields] of draft.sources)
    sources.set(name, Object.freeze({ ...fields, name }) as unknown as SourceSection);
  const topics = new Map<string, TopicSection>();
  for (const [name, topic] of draft.topics) topics.set(name, Object.freeze(topic));
  return Object.freeze({
    file,
    settings: settings as unknown as Settings,
    listeners: Object.freeze({ ...draft.listeners }),
    advertised: Object.freeze({ ...draft.advertised }),
    topicDefaults,
    topics,
    routes: Object.freeze(draft.routes.map((route) => Object.freeze(route))),
    links,
    sources,
  });
}

/** Kafka's order: ms over minutes over hours. */
function retentionMs(settings: Record<string, unknown>): number {
  const scaled = (value: unknown, factor: number) => (Number(value) < 0 ? -1 : Number(value) * factor);
  if (settings['log.retention.ms'] !== null) return Number(settings['log.retention.ms']);
  if (settings['log.retention.minutes'] !== null) return scaled(settings['log.retention.minutes'], 60_000);
  return scaled(settings['log.retention.hours'], 3_600_000);
}
