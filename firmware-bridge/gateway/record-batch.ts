/** Kafka's RecordBatch v2, as far as reading headers back needs it. Control batches are passed over. */
import * as zlib from 'node:zlib';

export type FoundRecord = { readonly offset: number; readonly headers: ReadonlyMap<string, string> };

const HEADER = 61;

class Cursor {
  at: number;
  readonly bytes: Buffer;

  constructor(bytes: Buffer, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  varint(): number {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = this.bytes.readUInt8(this.at++);
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
      factor *= 128;
      if (factor > 2 ** 63) throw new RangeError('a varint without an end');
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** A length and that many bytes; undefined for null. */
  slice(): Buffer | undefined {
    const size = this.varint();
    if (size < 0) return undefined;
    if (size > this.bytes.length - this.at) throw new RangeError(`a field of ${size} bytes in a shorter record`);
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }
}

type Inflate = (bytes: Buffer) => Buffer;
const zstd = (zlib as unknown as { zstdDecompressSync?: Inflate }).zstdDecompressSync;
const CODECS: Record<number, { readonly name: string; readonly inflate?: Inflate | undefined }> = {
  0: { name: 'none', inflate: (bytes) => bytes },
  1: { name: 'gzip', inflate: (bytes) => zlib.gunzipSync(bytes, { maxOutputLength: 64 << 20 }) },
  2: { name: 'snappy' },
  3: { name: 'lz4' },
  4: { name: 'zstd', inflate: zstd },
};

/** Calls `onRecord` for every record in the whole batches of `bytes`; returns the offset behind the last of them, or undefined
 *  when not even one batch is whole. Throws for a compression this Node.js cannot undo. */
export function eachRecord(bytes: Buffer, onRecord: (record: FoundRecord) => void): number | undefined {
  let next: number | undefined;
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const end = at + 12 + bytes.readInt32BE(at + 8);
    if (end > bytes.length || end < at + HEADER) break;
    if (bytes[at + 16] !== 2) throw new Error(`a record batch of version ${bytes[at + 16]}: only version 2 is read`);
    const base = Number(bytes.readBigInt64BE(at));
    const attributes = bytes.readInt16BE(at + 21);
    next = base + bytes.readInt32BE(at + 23) + 1;
    const isControl = (attributes & 0x20) !== 0;
    if (!isControl)
      readRecords(bytes.subarray(at + HEADER, end), attributes & 7, base, bytes.readInt32BE(at + 57), onRecord);
    at = end;
  }
  return next;
}

function readRecords(
  body: Buffer,
  codecId: number,
  base: number,
  count: number,
  onRecord: (record: FoundRecord) => void,
): void {
  const codec = CODECS[codecId];
  if (codec?.inflate === undefined) {
    const name = codec?.name ?? `codec ${codecId}`;
    throw new Error(`a record batch compressed with ${name}: set compression.type of the topic to none or gzip`);
  }
  const cursor = new Cursor(codec.inflate(body), 0);
  for (let i = 0; i < count; i++) {
    const size = cursor.varint();
    const end = cursor.at + size;
    cursor.at++; // attributes
    cursor.varint(); // timestamp
    const offset = base + cursor.varint();
    cursor.slice(); // key
    cursor.slice(); // value
    const headers = new Map<string, string>();
    for (let left = cursor.varint(); left > 0; left--) {
      const key = cursor.slice()?.toString('utf8') ?? '';
      headers.set(key, cursor.slice()?.toString('utf8') ?? '');
    }
    onRecord({ offset, headers });
    cursor.at = end;
  }
}
