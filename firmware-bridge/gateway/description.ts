/**
 * What a kind of device sends: a JSON file that names fields and units, so that compact records (an array, or a map with small
 * integer keys) leave the gateway as records that say what they are. Example: examples/thermometer.json.
 */
import { Decoder, Encoder } from 'cbor-x';

export type Field = {
  readonly name: string;
  /** The key in the record's map, or the place in its array. Default: the name in a map, the position in an array. */
  readonly key?: string | number;
  readonly type: 'int' | 'float' | 'text' | 'bool' | 'bytes';
  /** As in SenML (RFC 8428, 12.1): Cel, %RH, V, ... */
  readonly unit?: string;
  /** The value is what was sent times this. */
  readonly scale?: number;
  readonly min?: number;
  readonly max?: number;
  readonly optional?: boolean;
};
export type Description = { readonly kind: string; readonly version: number; readonly fields: readonly Field[] };

const TYPES = ['int', 'float', 'text', 'bool', 'bytes'];
const FIELD_KEYS = ['name', 'key', 'type', 'unit', 'scale', 'min', 'max', 'optional'];

const decoder = new Decoder({ mapsAsObjects: false, useRecords: false, int64AsType: 'number' } as never);
const encoder = new Encoder({ useRecords: false, variableMapSize: true, tagUint8Array: false } as never);

/** What the `units` header can hold. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const isPlain = (text: unknown): boolean => typeof text === 'string' && /^[^=;\x00-\x1f]+$/.test(text);

/** Checks a description; throws an Error that names what is wrong. */
export function parseDescription(text: string, where: string): Description {
  const value = JSON.parse(text) as Partial<Description>;
  const fail = (what: string): never => {
    throw new Error(`${where}: ${what}`);
  };
  if (typeof value.kind !== 'string' || !/^[A-Za-z0-9._-]{1,64}$/.test(value.kind))
    fail('kind: a name of 1 to 64 letters');
  if (!Number.isInteger(value.version)) fail('version: an integer');
  if (!Array.isArray(value.fields) || value.fields.length === 0) fail('fields: a list with at least one field');
  for (const [i, field] of (value.fields as Field[]).entries()) {
    const at = `fields[${i}]`;
    if (!isPlain(field.name)) fail(`${at}.name: a text without = ; and control characters`);
    if (field.unit !== undefined && !isPlain(field.unit)) {
      fail(`${at}.unit: a text without = ; and control characters`);
    }
    if (!TYPES.includes(field.type)) fail(`${at}.type: ${String(field.type)}, allowed is one of ${TYPES.join(', ')}`);
    for (const key of Object.keys(field)) if (!FIELD_KEYS.includes(key)) fail(`${at}.${key}: unknown`);
    for (const key of ['scale', 'min', 'max'] as const) {
      if (field[key] !== undefined && typeof field[key] !== 'number') fail(`${at}.${key}: a number`);
    }
  }
  return value as Description;
}

/** `temperature=Cel;humidity=%RH`. */
export function unitsOf({ fields }: Description): string {
  return fields
    .filter(({ unit }) => unit !== undefined)
    .map(({ name, unit }) => `${name}=${unit}`)
    .join(';');
}

/** Decodes one CBOR item. Maps become Map. Throws on what is not exactly one item. */
export function decodeRecord(record: Uint8Array): unknown {
  return decoder.decode(record);
}

function check(field: Field, value: unknown): unknown {
  const wrong = (allowed: string): never => {
    throw new Error(`${field.name}: ${String(value)}, allowed is ${allowed}`);
  };
  if (field.type === 'text') return typeof value === 'string' ? value : wrong('a text');
  if (field.type === 'bool') return typeof value === 'boolean' ? value : wrong('true or false');
  if (field.type === 'bytes') return value instanceof Uint8Array ? value : wrong('a byte string');
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number !== 'number') return wrong('a number');
  if (field.type === 'int' && !Number.isInteger(number)) return wrong('an integer');
  // Scaling by the reciprocal keeps decimal values what a person would write: 215 * 0.1 is 21.500000000000004.
  const scale = field.scale ?? 1;
  const scaled = scale < 1 && Number.isInteger(1 / scale) ? number / (1 / scale) : number * scale;
  if (field.min !== undefined && scaled < field.min) return wrong(`${field.min} or more`);
  if (field.max !== undefined && scaled > field.max) return wrong(`${field.max} or less`);
  return scaled;
}

/** The record with its fields named and scaled. Throws an Error that names the field, the value and what is allowed. */
export function describe(description: Description, record: Uint8Array): Record<string, unknown> {
  const value = decodeRecord(record);
  if (!Array.isArray(value) && !(value instanceof Map)) throw new Error('a record is an array or a map');
  const named: Record<string, unknown> = {};
  for (const [i, field] of description.fields.entries()) {
    const sent = Array.isArray(value) ? value[Number(field.key ?? i)] : value.get(field.key ?? field.name);
    if (sent !== undefined && sent !== null) named[field.name] = check(field, sent);
    else if (field.optional !== true) throw new Error(`${field.name}: missing`);
  }
  return named;
}

export function encodeNamed(named: Record<string, unknown>): Buffer {
  return Buffer.from(encoder.encode(named));
}
