/** Compiles the rows of schema.ts, for one version, into a pair of closures. */
import { HeadwaterError } from '../../errors.ts';
import type { Reader } from '../bytes/reader.ts';
import type { Writer } from '../bytes/writer.ts';
import { type Fields, parseVersions, type Row, type Versions, ZERO_UUID } from './schema.ts';

type Read = (reader: Reader) => unknown;
// biome-ignore lint/suspicious/noExplicitAny: the row that a closure is compiled from says what the value is
type Write = (writer: Writer, value: any) => void;

export interface Codec {
  readonly read: Read;
  readonly write: Write;
  /** The fewest bytes a value takes: an element count above remaining / minBytes is a lie. */
  readonly minBytes: number;
  /** What a field of this type is when nothing says otherwise. */
  readonly empty: unknown;
}

const EMPTY_BYTES = Buffer.alloc(0);

const FIXED: Readonly<Record<string, Codec>> = {
  bool: { read: (r) => r.bool(), write: (w, v) => w.bool(v), minBytes: 1, empty: false },
  int8: { read: (r) => r.int8(), write: (w, v) => w.int8(v), minBytes: 1, empty: 0 },
  int16: { read: (r) => r.int16(), write: (w, v) => w.int16(v), minBytes: 2, empty: 0 },
  uint16: { read: (r) => r.uint16(), write: (w, v) => w.int16(v), minBytes: 2, empty: 0 },
  int32: { read: (r) => r.int32(), write: (w, v) => w.int32(v), minBytes: 4, empty: 0 },
  int64: { read: (r) => r.int64(), write: (w, v) => w.int64(v), minBytes: 8, empty: 0 },
  float64: { read: (r) => r.float64(), write: (w, v) => w.float64(v), minBytes: 8, empty: 0 },
  uuid: { read: (r) => r.hex(16), write: (w, v) => w.hex(v, 16), minBytes: 16, empty: ZERO_UUID },
};

const within = (versions: Versions | undefined, version: number): boolean => {
  if (versions === undefined) return false;
  const [min, max] = parseVersions(versions);
  return version >= min && version <= max;
};

function unexpectedNull(what: string): never {
  throw new HeadwaterError('MALFORMED', `${what} is null where the version does not allow it`);
}

/** Length prefixes: uvarint of length + 1 in flexible versions (0 = null), otherwise int32 (int16 for strings). */
const readLength = (reader: Reader, flexible: boolean): number => (flexible ? reader.uvarint() - 1 : reader.int32());
function writeLength(writer: Writer, length: number, flexible: boolean): void {
  if (flexible) writer.uvarint(length + 1);
  else writer.int32(length);
}

export const nullableString: Codec = stringCodec('clientId', false, true);

function stringCodec(name: string, flexible: boolean, nullable: boolean): Codec {
  return {
    minBytes: flexible ? 1 : 2,
    empty: '',
    read: (reader) => {
      const length = flexible ? reader.uvarint() - 1 : reader.int16();
      if (length === -1) return nullable ? null : unexpectedNull(name);
      return reader.utf8(length);
    },
    write: (writer, value: string | null) => {
      if (value === null) {
        if (!nullable) unexpectedNull(name);
        if (flexible) writer.uvarint(0);
        else writer.int16(-1);
        return;
      }
      const length = Buffer.byteLength(value);
      if (flexible) writer.uvarint(length + 1);
      else if (length <= 0x7fff) writer.int16(length);
      else throw new HeadwaterError('INVALID_REQUEST', `${name}: ${length} bytes, a string holds at most 32767`);
      writer.utf8(value, length);
    },
  };
}

function bytesCodec(name: string, flexible: boolean, nullable: boolean): Codec {
  return {
    minBytes: flexible ? 1 : 4,
    empty: EMPTY_BYTES,
    read: (reader) => {
      const length = readLength(reader, flexible);
      if (length === -1) return nullable ? null : unexpectedNull(name);
      return reader.bytes(length);
    },
    write: (writer, value: Uint8Array | readonly Uint8Array[] | null) => {
      if (value === null) {
        if (!nullable) unexpectedNull(name);
        writeLength(writer, -1, flexible);
      } else if (value instanceof Uint8Array) {
        writeLength(writer, value.length, flexible);
        writer.bytes(value);
      } else {
        let length = 0;
        for (const chunk of value) length += chunk.length;
        writeLength(writer, length, flexible);
        for (const chunk of value) writer.bytes(chunk);
      }
    },
  };
}

function arrayCodec(name: string, element: Codec, flexible: boolean, nullable: boolean): Codec {
  // An element without bytes would make any count true; no message has one, but a table could by mistake.
  const minBytes = Math.max(1, element.minBytes);
  const { read, write } = element;
  return {
    minBytes: flexible ? 1 : 4,
    empty: Object.freeze([]),
    read: (reader) => {
      const length = readLength(reader, flexible);
      if (length === -1) return nullable ? null : unexpectedNull(name);
      const count = reader.count(length, minBytes);
      const values: unknown[] = [];
      for (let i = 0; i < count; i++) values.push(read(reader));
      return values;
    },
    write: (writer, value: readonly unknown[] | null) => {
      if (value === null) {
        if (!nullable) unexpectedNull(name);
        writeLength(writer, -1, flexible);
        return;
      }
      writeLength(writer, value.length, flexible);
      for (let i = 0; i < value.length; i++) write(writer, value[i]);
    },
  };
}

/** A struct that may be null has an int8 in front: -1 or 1. */
function nullableStruct(codec: Codec): Codec {
  return {
    minBytes: 1,
    empty: null,
    read: (reader) => (reader.int8() < 0 ? null : codec.read(reader)),
    write: (writer, value) => {
      writer.int8(value === null ? -1 : 1);
      if (value !== null) codec.write(writer, value);
    },
  };
}

function compileRow(name: string, row: Row, version: number, flexible: boolean): Codec {
  const nullable = within(row.options.nullable, version);
  switch (row.type) {
    case 'string':
      return stringCodec(name, flexible, nullable);
    case 'bytes':
    case 'records':
      return bytesCodec(name, flexible, nullable);
    case 'array': {
      const element =
        row.fields === undefined
          ? compileRow(name, row.element!, version, flexible)
          : compileStruct(row.fields, version, flexible);
      return arrayCodec(name, element, flexible, nullable);
    }
    case 'struct': {
      const codec = compileStruct(row.fields!, version, flexible);
      return nullable ? nullableStruct(codec) : codec;
    }
    default:
      return FIXED[row.type]!;
  }
}

interface Field {
  readonly name: string;
  readonly codec: Codec;
  readonly fallback: unknown;
}

interface TaggedField extends Field {
  readonly tag: number;
}

const isDefault = (value: unknown, fallback: unknown): boolean => {
  if (value === fallback || value === undefined) return true;
  if (Array.isArray(value)) return Array.isArray(fallback) && value.length === 0;
  if (typeof value !== 'object' || value === null || typeof fallback !== 'object' || fallback === null) return false;
  return Object.entries(fallback).every(([key, inner]) => isDefault((value as Record<string, unknown>)[key], inner));
};

/** Unknown tags are skipped; tags ascend (KIP-482), a tag that comes twice would overwrite: refused. */
function readTagged(reader: Reader, tagged: readonly TaggedField[], into: Record<string, unknown>): void {
  const count = reader.count(reader.uvarint(), 2);
  let previous = -1;
  for (let i = 0; i < count; i++) {
    const tag = reader.uvarint();
    if (tag <= previous) throw new HeadwaterError('MALFORMED', `tag ${tag} after tag ${previous}: tags must ascend`);
    previous = tag;
    const size = reader.uvarint();
    const field = tagged.find((candidate) => candidate.tag === tag);
    if (field === undefined) {
      reader.skip(size);
      continue;
    }
    const end = reader.position + size;
    into[field.name] = field.codec.read(reader);
    if (reader.position !== end) {
      throw new HeadwaterError('MALFORMED', `tag ${tag} (${field.name}) does not fill its ${size} bytes`);
    }
  }
}

function writeTagged(writer: Writer, tagged: readonly TaggedField[], value: Record<string, unknown>): void {
  let present = 0;
  for (const field of tagged) if (!isDefault(value[field.name], field.fallback)) present++;
  writer.uvarint(present);
  if (present === 0) return;
  for (const { name, tag, codec, fallback } of tagged) {
    const inner = value[name];
    if (isDefault(inner, fallback)) continue;
    writer.uvarint(tag);
    writer.sized((sized) => codec.write(sized, inner));
  }
}

/** Compiles `fields` as `version` carries them. */
export function compileStruct(fields: Fields, version: number, flexible: boolean): Codec {
  const inline: Field[] = [];
  const tagged: TaggedField[] = [];
  const template: Record<string, unknown> = {};
  let minBytes = flexible ? 1 : 0;
  for (const [name, row] of Object.entries(fields)) {
    const carried = within(row.versions, version);
    const codec = compileRow(name, row, version, flexible);
    const fallback = row.options.default === undefined ? codec.empty : row.options.default;
    template[name] = fallback;
    if (!carried) continue;
    if (row.options.tagged !== undefined && within(row.options.tagged[0], version)) {
      tagged.push({ name, codec, fallback, tag: row.options.tagged[1] });
    } else {
      inline.push({ name, codec, fallback });
      minBytes += codec.minBytes;
    }
  }
  tagged.sort((a, b) => a.tag - b.tag);
  Object.freeze(template);
  const names = inline.map((field) => field.name);
  const reads = inline.map((field) => field.codec.read);
  const writes = inline.map((field) => field.codec.write);
  const fallbacks = inline.map((field) => field.fallback);
  return {
    minBytes,
    empty: template,
    read: (reader) => {
      // Copying a template gives every decoded object the same shape.
      const value: Record<string, unknown> = { ...template };
      for (let i = 0; i < names.length; i++) value[names[i]!] = reads[i]!(reader);
      if (flexible) readTagged(reader, tagged, value);
      return value;
    },
    write: (writer, value: Record<string, unknown>) => {
      for (let i = 0; i < names.length; i++) {
        const inner = value[names[i]!];
        writes[i]!(writer, inner === undefined ? fallbacks[i] : inner);
      }
      if (flexible) writeTagged(writer, tagged, value);
    },
  };
}
