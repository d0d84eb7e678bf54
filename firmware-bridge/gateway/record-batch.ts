/** Kafka's RecordBatch v2, as far as reading headers back needs it. Control batches are passed over. */

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

/** A small batch cannot take all memory. */
const MAX_INFLATED = 64 << 20;
const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;

/** The records section as it was before its compression. The codecs are the broker's, loaded when the first such batch is met. */
async function inflate(body: Buffer, codecId: number): Promise<Buffer> {
  const name = CODECS[codecId];
  if (name === 'none') return body;
  if (name === undefined) throw new Error(`a record batch compressed with codec ${codecId}: only 0 to 4 are known`);
  const { loadCodec } = await import('../../src/wire/batch/compression.ts');
  const bytes = (await loadCodec(name)).decompress(body, MAX_INFLATED);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Calls `onRecord` for every record in the whole batches of `bytes`; returns the offset behind the last of them, or undefined
 *  when not even one batch is whole. Throws for damaged batches. */
export async function eachRecord(bytes: Buffer, onRecord: (record: FoundRecord) => void): Promise<number | undefined> {
  let next: number | undefined;
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const end = at + 12 + bytes.readInt32BE(at + 8);
    if (end > bytes.length || end < at + HEADER) break;
    if (bytes[at + 16] !== 2) throw new Error(`a record batch of version ${bytes[at + 16]}: only version 2 is read`);
    const base = Number(bytes.readBigInt64BE(at));
    const attributes = bytes.readInt16BE(at + 21);
    next = base + bytes.readInt32BE(at + 23) + 1;
    const isControl = (attributes & 0x20) !== 0;
    if (!isControl) {
      const body = await inflate(bytes.subarray(at + HEADER, end), attributes & 7);
      readRecords(body, base, bytes.readInt32BE(at + 57), onRecord);
    }
    at = end;
  }
  return next;
}

function readRecords(body: Buffer, base: number, count: number, onRecord: (record: FoundRecord) => void): void {
  const cursor = new Cursor(body, 0);
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
