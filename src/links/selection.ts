/**
 * Which records a link sends, and in what form: `filter` by key, `where` by fields of the value, `transform`. A function of the
 * record alone: sequences upstream count the records that pass, so where a link is can be told from the log at any time.
 */
import { HeadwaterError } from '../errors.ts';
import type { RecordInput } from '../wire/batch/record-encoder.ts';

export interface SelectionSettings {
  /** MQTT topic filters over the record's key, `!` excludes; empty: every key. */
  readonly filter: readonly string[];
  /** `FIELD OPERATOR VALUE` over fields of a JSON or CBOR object; all must hold. */
  readonly where: readonly string[];
  readonly transform: 'none' | 'cbor-to-json';
}

export interface Selection {
  /** The settings as text: kept with the cursor, because positions count what passed under them. '' sends all, as stored. */
  readonly id: string;
  /** What is sent of a record; null: nothing. Without it every record goes as it is stored. */
  readonly apply: ((record: RecordInput) => RecordInput | null) | null;
}

type Decode = (bytes: Uint8Array) => unknown;

/** `+` and `#` as in MQTT; a filter with a wildcard first does not match keys that begin with `$` [MQTT-4.7.2-1]. */
function keyMatcher(filter: string): (key: string) => boolean {
  const levels = filter.split('/');
  return (key) => {
    const parts = key.split('/');
    if (key.startsWith('$') && /^[+#]/.test(filter)) return false;
    for (let index = 0; index < levels.length; index++) {
      const level = levels[index]!;
      if (level === '#') return true;
      if (index >= parts.length || (level !== '+' && level !== parts[index])) return false;
    }
    return parts.length === levels.length;
  };
}

function keyRule(filters: readonly string[]): ((key: Uint8Array | null) => boolean) | null {
  if (filters.length === 0) return null;
  const wanted = filters.filter((filter) => !filter.startsWith('!')).map(keyMatcher);
  const excluded = filters.filter((filter) => filter.startsWith('!')).map((filter) => keyMatcher(filter.slice(1)));
  return (key) => {
    const text = key === null ? '' : Buffer.from(key.buffer, key.byteOffset, key.length).toString('utf8');
    return (wanted.length === 0 || wanted.some((matches) => matches(text))) && !excluded.some((hit) => hit(text));
  };
}

const RULE = /^\s*([^\s=!<>]+)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*$/;
const COMPARE: Readonly<Record<string, (a: number | string, b: number | string) => boolean>> = {
  '=': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
};

type Fields = (object: unknown) => boolean;

function fieldRule(rule: string): Fields {
  const match = RULE.exec(rule);
  if (match === null) throw new HeadwaterError('INVALID_CONFIG', `where: "${rule}" is not FIELD OPERATOR VALUE`);
  const [, path, operator, text] = match;
  const levels = path!.split('.');
  const compare = COMPARE[operator!]!;
  const quoted = /^"(.*)"$/.exec(text!);
  const asNumber = quoted === null && text !== '' ? Number(text) : Number.NaN;
  const wanted = Number.isNaN(asNumber) ? (quoted?.[1] ?? text!) : asNumber;
  return (object) => {
    let value: unknown = object;
    for (const level of levels) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, level)) return false;
      value = (value as Record<string, unknown>)[level];
    }
    if (typeof value === 'bigint') value = Number(value);
    if (typeof value === 'boolean') value = String(value);
    // A text is never less or more than a number: such a record does not match, whatever the operator.
    return typeof value === typeof wanted && compare(value as number | string, wanted);
  };
}

/** A map, an array or the tag of self-described CBOR (RFC 8949, 3.4.6): no UTF-8 text begins so. */
function looksLikeCbor(value: Uint8Array): boolean {
  const first = value[0]!;
  return (first >= 0x80 && first < 0xc0) || (first === 0xd9 && value[1] === 0xd9 && value[2] === 0xf7);
}

/** JSON has no bytes, no infinities and no integers beyond 2^53. */
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Map) return Object.fromEntries(value);
  return value;
}

function withoutBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64');
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Array.isArray(value)) return value.map(withoutBytes);
  if (typeof value !== 'object' || value === null) return value;
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(entries.map(([key, one]) => [String(key), withoutBytes(one)]));
}

/** The same value as JSON text; what is not a CBOR map or array stays as it is. */
function toJson(value: Uint8Array | null, decode: Decode): Uint8Array | null {
  if (value === null || value.length === 0 || !looksLikeCbor(value)) return value;
  try {
    const text = JSON.stringify(withoutBytes(decode(value)), jsonValue);
    return text === undefined ? value : Buffer.from(text);
  } catch {
    return value;
  }
}

const NOTHING = Symbol('no object');

function objectOf(value: Uint8Array | null, decode: Decode): unknown {
  if (value === null || value.length === 0) return NOTHING;
  try {
    if (looksLikeCbor(value)) return decode(value);
    return JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.length).toString('utf8')) as unknown;
  } catch {
    return NOTHING;
  }
}

export const EVERYTHING: Selection = { id: '', apply: null };

/** INVALID_CONFIG for a rule that is none. The CBOR decoder is loaded when it may be needed. */
export async function selectionOf(settings: SelectionSettings): Promise<Selection> {
  const { filter, where, transform } = settings;
  const byKey = keyRule(filter);
  const rules = where.map(fieldRule);
  if (byKey === null && rules.length === 0 && transform === 'none') return EVERYTHING;
  const { Decoder } = await import('cbor-x');
  const decoder = new Decoder({ mapsAsObjects: true, useRecords: false });
  const decode: Decode = (bytes) => decoder.decode(bytes) as unknown;
  return {
    id: JSON.stringify({ filter, where, transform }),
    apply(record) {
      if (byKey !== null && !byKey(record.key)) return null;
      if (rules.length > 0) {
        const object = objectOf(record.value, decode);
        if (object === NOTHING || !rules.every((holds) => holds(object))) return null;
      }
      if (transform === 'none') return record;
      const value = toJson(record.value, decode);
      return value === record.value ? record : { ...record, value };
    },
  };
}

/** The selection that a cursor was written under. */
export async function selectionById(id: string): Promise<Selection> {
  return id === '' ? EVERYTHING : selectionOf(JSON.parse(id) as SelectionSettings);
}
