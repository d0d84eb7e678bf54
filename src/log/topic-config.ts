/**
 * Topic settings as rows, under Kafka's names with Kafka's defaults where an edge host can afford them. One row gives the
 * parser, the error text, DescribeConfigs, the CLI and the reference table in the docs. Values come as text (Kafka's wire)
 * or as YAML scalars turned to text; sizes and durations also take units (`512MiB`, `7d`).
 */
import { HeadwaterError } from '../errors.ts';

export interface TopicConfig {
  readonly 'cleanup.policy': 'delete' | 'compact' | 'compact,delete';
  readonly 'compression.type': 'producer' | 'uncompressed' | 'gzip' | 'snappy' | 'lz4' | 'zstd';
  readonly 'delete.retention.ms': number;
  readonly 'max.message.bytes': number;
  readonly 'message.timestamp.type': 'CreateTime' | 'LogAppendTime';
  readonly 'min.cleanable.dirty.ratio': number;
  readonly 'min.compaction.lag.ms': number;
  readonly 'min.insync.replicas': number;
  readonly 'retention.bytes': number;
  readonly 'retention.ms': number;
  readonly 'segment.bytes': number;
  readonly 'segment.ms': number;
}

export type TopicSetting = keyof TopicConfig;

type Kind = 'list' | 'string' | 'int' | 'long' | 'double';

export interface TopicSettingRow {
  readonly name: TopicSetting;
  readonly kind: Kind;
  readonly unit: 'bytes' | 'ms' | 'replicas' | null;
  readonly allowed: readonly string[] | { readonly min: number; readonly max: number };
  readonly default: string;
  /** What it does, what larger and smaller mean. */
  readonly doc: string;
}

const MAX = Number.MAX_SAFE_INTEGER;

export const TOPIC_SETTINGS: readonly TopicSettingRow[] = [
  {
    name: 'cleanup.policy',
    kind: 'list',
    unit: null,
    allowed: ['delete', 'compact', 'compact,delete'],
    default: 'delete',
    doc: 'What happens to old records: deleted by age and size, or compacted to the newest record of each key, or both.',
  },
  {
    name: 'compression.type',
    kind: 'string',
    unit: null,
    allowed: ['producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'],
    default: 'producer',
    doc: 'How batches of MQTT origin are compressed. `producer`: not at all. Batches of Kafka producers are stored as they come.',
  },
  {
    name: 'delete.retention.ms',
    kind: 'long',
    unit: 'ms',
    allowed: { min: 0, max: MAX },
    default: '86400000',
    doc: 'How long a compacted topic keeps tombstones (null values) for readers that are behind.',
  },
  {
    name: 'max.message.bytes',
    kind: 'int',
    unit: 'bytes',
    allowed: { min: 0, max: 4 * 1024 * 1024 },
    default: '1048588',
    doc: 'The largest record batch, as stored. A larger one is refused with MESSAGE_TOO_LARGE.',
  },
  {
    name: 'message.timestamp.type',
    kind: 'string',
    unit: null,
    allowed: ['CreateTime', 'LogAppendTime'],
    default: 'CreateTime',
    doc: 'Whose clock stamps a record: its producer, or this broker when it is appended.',
  },
  {
    name: 'min.cleanable.dirty.ratio',
    kind: 'double',
    unit: null,
    allowed: { min: 0, max: 1 },
    default: '0.5',
    doc: 'A compacted partition is compacted when at least this share of it is new since the last time. Smaller: less disk, more writes.',
  },
  {
    name: 'min.compaction.lag.ms',
    kind: 'long',
    unit: 'ms',
    allowed: { min: 0, max: MAX },
    default: '0',
    doc: 'A record younger than this is never compacted away.',
  },
  {
    name: 'min.insync.replicas',
    kind: 'int',
    unit: 'replicas',
    allowed: { min: 1, max: 16 },
    default: '1',
    doc: 'With acks=all a record is refused when fewer replicas (this broker and sync links) are in sync.',
  },
  {
    name: 'retention.bytes',
    kind: 'long',
    unit: 'bytes',
    allowed: { min: -1, max: MAX },
    default: '-1',
    doc: 'Bytes kept per partition; older batches give way. -1: no limit of its own.',
  },
  {
    name: 'retention.ms',
    kind: 'long',
    unit: 'ms',
    allowed: { min: -1, max: MAX },
    default: '604800000',
    doc: 'Age (on trusted time) after which a batch may be deleted. -1: no limit.',
  },
  {
    name: 'segment.bytes',
    kind: 'int',
    unit: 'bytes',
    allowed: { min: 1024 * 1024, max: 2_147_483_647 },
    default: '1073741824',
    doc: 'Upper bound of what size retention may keep beyond retention.bytes. Space is freed in whole slices of the store.',
  },
  {
    name: 'segment.ms',
    kind: 'long',
    unit: 'ms',
    allowed: { min: 1, max: MAX },
    default: '604800000',
    doc: 'A segment older than this is closed even when it is small, so that time retention can free it.',
  },
];

const rows = new Map<string, TopicSettingRow>(TOPIC_SETTINGS.map((row) => [row.name, row]));

export function topicSettingRow(name: string): TopicSettingRow | undefined {
  return rows.get(name);
}

type UnitKind = 'bytes' | 'ms';

const UNITS: Readonly<Record<UnitKind, Readonly<Record<string, number>>>> = {
  bytes: { kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3, kb: 1000, mb: 1000 ** 2, gb: 1000 ** 3 },
  ms: { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 },
};

/** Behind a range, in errors. */
export const UNIT_WORDS: Readonly<Record<'bytes' | 'ms' | 'replicas', string>> = {
  bytes: ' bytes (units: KiB, MiB, GiB, kB, MB, GB)',
  ms: ' ms (units: ms, s, m, h, d)',
  replicas: ' replicas',
};

/** `512MiB`, `7d`, `-1`, `1048588`; null when it is not a whole number, or has a unit that is none of `kinds`. */
export function parseQuantity(text: string, ...kinds: readonly UnitKind[]): number | null {
  const match = /^(-?\d+)\s*([A-Za-z]*)$/.exec(text.trim());
  if (match === null) return null;
  const unit = match[2]!.toLowerCase();
  const kind = kinds.find((one) => Object.hasOwn(UNITS[one], unit));
  if (unit !== '' && kind === undefined) return null;
  const value = Number(match[1]) * (kind === undefined ? 1 : UNITS[kind][unit]!);
  return Number.isSafeInteger(value) ? value : null;
}

/** Units that belong to the row; none to a plain number. */
function unitsOf(row: TopicSettingRow): readonly UnitKind[] {
  return row.unit === 'bytes' || row.unit === 'ms' ? [row.unit] : [];
}

function parseValue(row: TopicSettingRow, text: string, units: readonly UnitKind[]): string | number {
  if (Array.isArray(row.allowed)) {
    const wanted =
      row.kind === 'list' ? [...new Set(text.split(',').map((part) => part.trim()))].sort().join(',') : text.trim();
    if (row.allowed.includes(wanted)) return wanted;
    throw new HeadwaterError('INVALID_CONFIG', `${row.name}: "${text}" is not one of ${row.allowed.join(', ')}`);
  }
  const { min, max } = row.allowed as { min: number; max: number };
  if (row.kind === 'double') {
    const number = /^(\d+(\.\d*)?|\.\d+)(e-?\d+)?$/i.test(text.trim()) ? Number(text) : Number.NaN;
    if (number >= min && number <= max) return number;
    throw new HeadwaterError('INVALID_CONFIG', `${row.name}: "${text}" is not a number from ${min} to ${max}`);
  }
  const value = parseQuantity(text, ...units) ?? (/^9223372036854775807$/.test(text.trim()) ? MAX : null);
  if (value === null || value < min || value > max) {
    const range = `from ${min} to ${max === MAX ? '2^53-1' : max}${row.unit === null ? '' : UNIT_WORDS[row.unit]}`;
    throw new HeadwaterError('INVALID_CONFIG', `${row.name}: "${text}" is not a whole number ${range}`);
  }
  return value;
}

/**
 * For values that come from outside: throws INVALID_CONFIG for a unit of the wrong kind (`retention.ms: 5MiB`), which `resolveTopicConfig`
 * lets pass: a broker starts also with what an older version has stored. Names that are unknown are left to that, too.
 */
export function checkUnits(given: Iterable<readonly [name: string, value: string | null]>): void {
  for (const [name, value] of given) {
    const row = rows.get(name);
    if (row !== undefined && value !== null) parseValue(row, value, unitsOf(row));
  }
}

/**
 * Resolves overrides against the broker's defaults (`log.retention.hours` and the like arrive here as topic names) and
 * Kafka's. Throws INVALID_CONFIG naming the key, the value and what is allowed.
 */
export function resolveTopicConfig(
  overrides: ReadonlyMap<string, string>,
  brokerDefaults: ReadonlyMap<string, string> = new Map(),
): TopicConfig {
  for (const name of overrides.keys()) {
    if (!rows.has(name)) {
      throw new HeadwaterError(
        'INVALID_CONFIG',
        `unknown topic setting "${name}"; known: ${[...rows.keys()].join(', ')}`,
      );
    }
  }
  const config: Record<string, string | number> = {};
  for (const row of TOPIC_SETTINGS) {
    const text = overrides.get(row.name) ?? brokerDefaults.get(row.name) ?? row.default;
    config[row.name] = parseValue(row, text, ['bytes', 'ms']);
  }
  return Object.freeze(config) as unknown as TopicConfig;
}
