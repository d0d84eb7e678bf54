/** From the located document to a draft: every key known, every value of its type. Relations are checked in validate.ts. */
import { checkUnits, resolveTopicConfig, TOPIC_SETTINGS } from '../log/topic-config.ts';
import { formatAddress, parseAddress } from './address.ts';
import { type Endpoint, LISTENER_NAMES, type ListenerName, type Problem, type TopicSection } from './config.ts';
import { type Located, type LocatedEntry, type LocatedMap, plainValue } from './document.ts';
import { parseRow, type Row, type Value } from './rows.ts';
import { LINK_FIELDS, ROUTE_FIELDS, type RouteFields, SOURCE_FIELDS, TOPIC_FIELDS } from './sections.ts';
import { SETTINGS } from './settings.ts';
import { suggest } from './suggest.ts';

/** Where a value came from. */
export interface Place {
  readonly line: number | null;
  readonly source: string;
}

type Fields = Record<string, Value>;
type ListenerSection = 'listeners' | 'advertised';

export interface Draft {
  readonly settings: Map<string, Value>;
  readonly listeners: Record<ListenerName, Endpoint | null>;
  readonly advertised: Record<ListenerName, Endpoint | null>;
  readonly topics: Map<string, TopicSection>;
  readonly routes: RouteFields[];
  readonly links: Map<string, Fields>;
  readonly sources: Map<string, Fields>;
  /** Path -> place, for messages about relations. */
  readonly places: Map<string, Place>;
  setListener(section: ListenerSection, name: string, raw: unknown, place: Place, problems: Problem[]): void;
}

export function emptyDraft(): Draft {
  const off = Object.fromEntries(LISTENER_NAMES.map((name) => [name, null])) as Record<ListenerName, Endpoint | null>;
  const loopback = (port: number): Endpoint => ({ host: '127.0.0.1', port });
  return {
    settings: new Map(),
    listeners: { ...off, mqtt: loopback(1883), kafka: loopback(9092), http: loopback(8080) },
    advertised: { ...off },
    topics: new Map(),
    routes: [],
    links: new Map(),
    sources: new Map(),
    places: new Map(),
    setListener(section, name, raw, place, problems) {
      const path = `${section === 'listeners' ? 'listeners' : 'advertised.listeners'}.${name}`;
      const refuse = (message: string) => problems.push({ path, ...place, message });
      if (!(LISTENER_NAMES as readonly string[]).includes(name)) {
        const near = suggest(name, LISTENER_NAMES);
        refuse(
          `unknown listener${near === null ? '' : `; did you mean ${near}?`} Allowed: ${LISTENER_NAMES.join(', ')}`,
        );
        return;
      }
      const key = name as ListenerName;
      this.places.set(path, place);
      if (raw === null || raw === false || raw === 'off' || raw === 'none') {
        this[section][key] = null;
        return;
      }
      const address = typeof raw === 'string' || typeof raw === 'number' ? parseAddress(String(raw)) : null;
      if (address === null) {
        const shown = typeof raw === 'object' ? 'this value' : `"${String(raw)}"`;
        refuse(`${shown} is not HOST:PORT (port 0 to 65535), a port, or off`);
        return;
      }
      if (section === 'advertised' && (address.port === 0 || address.host === '0.0.0.0' || address.host === '::')) {
        refuse(
          `"${formatAddress(address)}" is nothing a client could connect to; give the name or address clients use`,
        );
        return;
      }
      this[section][key] = address;
    },
  };
}

const SECTIONS = ['listeners', 'advertised.listeners', 'topics', 'routes', 'links', 'sources'];

/** What people from other brokers write, and its name here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'log.dirs': 'data.dir',
  'log.dir': 'data.dir',
  'log.flush.interval.ms': 'flush.ms',
  'log.roll.hours': 'log.roll.ms',
  'default.replication.factor': 'links.<name>.replicas',
  listener: 'listeners',
  allow_anonymous: 'allow.anonymous',
  password_file: 'users.file',
  acl_file: 'acl.file',
  persistence_location: 'data.dir',
  max_connections: 'mqtt.max.connections',
  max_inflight_bytes: 'mqtt.max.inflight.bytes',
  max_keepalive: 'mqtt.keep.alive.max.ms',
  'max.connections.per.ip': 'mqtt.max.connections.per.address',
  message_size_limit: 'mqtt.max.packet.bytes',
  certfile: 'ssl.certificate.file',
  keyfile: 'ssl.key.file',
  cafile: 'ssl.ca.file',
};

/** `source` names the file in problems. */
export function readDraft(root: LocatedMap, source: string, problems: Problem[]): Draft {
  const draft = emptyDraft();
  const rows = new Map<string, Row>((SETTINGS as readonly Row[]).map((row) => [row.name, row]));
  const report = (path: string, line: number, message: string) => problems.push({ path, line, source, message });
  for (const { key, line, value } of root.entries) {
    const row = rows.get(key);
    draft.places.set(key, { line, source });
    if (row !== undefined) {
      readValue(row, key, value, problems, source, (parsed) => draft.settings.set(key, parsed));
    } else if (key === 'listeners' || key === 'advertised.listeners') {
      const section = key === 'listeners' ? 'listeners' : 'advertised';
      for (const entry of entriesOf(key, value, source, problems)) {
        draft.setListener(section, entry.key, plainValue(entry.value), { line: entry.line, source }, problems);
      }
    } else if (key === 'topics') {
      for (const entry of entriesOf(key, value, source, problems)) readTopic(entry, draft, source, problems);
    } else if (key === 'routes') {
      readRoutes(value, draft, source, problems);
    } else if (key === 'links' || key === 'sources') {
      const fields = key === 'links' ? LINK_FIELDS : SOURCE_FIELDS;
      for (const entry of entriesOf(key, value, source, problems)) {
        const path = `${key}.${entry.key}`;
        if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(entry.key)) {
          report(path, entry.line, `a ${key.slice(0, -1)} is named with 1 to 64 letters, digits, ".", "_" and "-"`);
        }
        draft[key].set(entry.key, readFields(fields, path, entry.value, entry.line, draft, source, problems));
      }
    } else {
      report(key, line, unknownKey(key, [...rows.keys(), ...SECTIONS]));
    }
  }
  return draft;
}

function unknownKey(key: string, known: readonly string[]): string {
  const elsewhere = ELSEWHERE[key];
  if (elsewhere !== undefined) return `unknown setting; here it is called ${elsewhere}`;
  const inside = known.find((name) => name.startsWith(`${key}.`));
  if (inside !== undefined) return `unknown setting; names are written whole, for example "${inside}: ..."`;
  const near = suggest(key, known);
  return near === null
    ? 'unknown setting; all of them are in docs/settings.md'
    : `unknown setting; did you mean ${near}?`;
}

function entriesOf(path: string, node: Located, source: string, problems: Problem[]): readonly LocatedEntry[] {
  if (node.kind === 'map') return node.entries;
  if (node.kind === 'scalar' && node.value === null) return [];
  problems.push({ path, line: node.line, source, message: 'must be a map of `name: value`' });
  return [];
}

function readValue(
  row: Row,
  path: string,
  node: Located,
  problems: Problem[],
  source: string,
  set: (value: Value) => void,
): void {
  const raw = plainValue(node);
  if (raw === null) {
    // `name:` with nothing behind it is the default, as in most YAML files.
    if (row.default === null && row.required === undefined) return;
    problems.push({ path, line: node.line, source, message: 'has no value; remove the line for the default' });
    return;
  }
  const parsed = parseRow(row, raw);
  if ('problem' in parsed) problems.push({ path, line: node.line, source, message: parsed.problem });
  else set(parsed.value);
}

function readFields(
  rows: readonly Row[],
  path: string,
  node: Located,
  line: number,
  draft: Draft,
  source: string,
  problems: Problem[],
): Fields {
  const fields: Fields = {};
  for (const row of rows) fields[row.name] = row.default;
  const given = new Set<string>();
  for (const entry of entriesOf(path, node, source, problems)) {
    const row = rows.find(({ name }) => name === entry.key);
    const entryPath = `${path}.${entry.key}`;
    if (row === undefined) {
      const message = unknownKey(
        entry.key,
        rows.map(({ name }) => name),
      );
      problems.push({ path: entryPath, line: entry.line, source, message });
      continue;
    }
    given.add(entry.key);
    draft.places.set(entryPath, { line: entry.line, source });
    readValue(row, entryPath, entry.value, problems, source, (value) => {
      fields[entry.key] = value;
    });
  }
  for (const row of rows) {
    if (row.required && !given.has(row.name)) {
      problems.push({ path: `${path}.${row.name}`, line, source, message: `is missing: ${row.doc}` });
    }
  }
  return fields;
}

const TOPIC_SETTING_NAMES: readonly string[] = TOPIC_SETTINGS.map(({ name }) => name);

function readTopic({ key: name, line, value }: LocatedEntry, draft: Draft, source: string, problems: Problem[]): void {
  const path = `topics.${name}`;
  draft.places.set(path, { line, source });
  const fields: Fields = {};
  for (const row of TOPIC_FIELDS) fields[row.name] = row.default;
  const config = new Map<string, string>();
  for (const entry of entriesOf(path, value, source, problems)) {
    const entryPath = `${path}.${entry.key}`;
    draft.places.set(entryPath, { line: entry.line, source });
    const row = TOPIC_FIELDS.find((field) => field.name === entry.key);
    if (row !== undefined) {
      readValue(row, entryPath, entry.value, problems, source, (parsed) => {
        fields[entry.key] = parsed;
      });
      continue;
    }
    const report = (message: string) => problems.push({ path: entryPath, line: entry.line, source, message });
    if (!TOPIC_SETTING_NAMES.includes(entry.key)) {
      report(unknownKey(entry.key, [...TOPIC_SETTING_NAMES, ...TOPIC_FIELDS.map((field) => field.name)]));
      continue;
    }
    const raw = plainValue(entry.value);
    const text = Array.isArray(raw) ? raw.join(',') : String(raw);
    try {
      const given = new Map([[entry.key, text]]);
      checkUnits(given);
      resolveTopicConfig(given);
      config.set(entry.key, text);
    } catch (error) {
      report((error as Error).message.replace(`${entry.key}: `, ''));
    }
  }
  draft.topics.set(name, {
    name,
    partitions: (fields['partitions'] as number | null) ?? -1,
    acks: fields['acks'] as TopicSection['acks'],
    priority: fields['priority'] as number,
    'disk.full': fields['disk.full'] as TopicSection['disk.full'],
    config,
  });
}

function readRoutes(node: Located, draft: Draft, source: string, problems: Problem[]): void {
  if (node.kind === 'scalar' && node.value === null) return;
  if (node.kind !== 'list') {
    problems.push({ path: 'routes', line: node.line, source, message: 'must be a list, in order of precedence' });
    return;
  }
  node.items.forEach((item, index) => {
    const path = `routes[${index}]`;
    draft.places.set(path, { line: item.line, source });
    if (item.kind !== 'map') {
      problems.push({ path, line: item.line, source, message: 'must be a map such as { mqtt: "a/+/b", topic: name }' });
      return;
    }
    const fields = readFields(ROUTE_FIELDS, path, item, item.line, draft, source, problems);
    draft.routes.push(fields as unknown as RouteFields);
  });
}
