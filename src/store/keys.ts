/**
 * The whole keyspace, as make/parse pairs. Grammar and a worked example: FORMAT.md. Everything here is permanent: a
 * change needs a new STORE_FORMAT_VERSION and a way to read the old one.
 *
 * Two kinds of database: `meta` (one) and slices (`slice-<id>`). In `meta` the first byte of a key is its prefix, and each
 * prefix has exactly one writer.
 */

export const META_DATABASE = 'meta';

/** Writers: catalog, compaction, partition, slice, producer, producer id, epoch and ledger: log; group and transaction: groups; session and retained: mqtt; link: links; quota: quotas; source: sources; boot: broker and time, a key each. */
export const META_PREFIX = {
  boot: 0x62, // b
  catalog: 0x63, // c
  epoch: 0x65, // e
  source: 0x66, // f
  group: 0x67, // g
  slice: 0x69, // i
  compaction: 0x6b, // k
  link: 0x6c, // l
  producerId: 0x6e, // n
  partition: 0x6f, // o
  producer: 0x70, // p
  quota: 0x71, // q
  retained: 0x72, // r
  session: 0x73, // s
  transaction: 0x74, // t
  ledger: 0x78, // x
} as const;

export type MetaPrefix = keyof typeof META_PREFIX;

/** A text or a number (0 to 2^53-1) inside a key. */
export type KeyPart = string | number;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });
const TEXT = 0x01;
const NUMBER = 0x02;

/**
 * `prefix | part*`; a text part is `0x01 length-u16 utf-8`, a number part `0x02 u64`. Parts are self-delimiting, so a key
 * with fewer parts is a prefix of those that go on: `metaRange` scans them. Throws RangeError on a text above 65,535 bytes.
 */
export function metaKey(prefix: MetaPrefix, ...parts: readonly KeyPart[]): Uint8Array {
  const texts = parts.map((part) => (typeof part === 'string' ? encoder.encode(part) : null));
  let length = 1;
  for (const text of texts) length += text === null ? 9 : 3 + text.length;
  const key = Buffer.allocUnsafe(length);
  key[0] = META_PREFIX[prefix];
  let at = 1;
  parts.forEach((part, i) => {
    const text = texts[i]!;
    if (text === null) {
      key[at] = NUMBER;
      key.writeBigUInt64BE(BigInt(part), at + 1);
      at += 9;
    } else {
      key[at] = TEXT;
      key.writeUInt16BE(text.length, at + 1);
      key.set(text, at + 3);
      at += 3 + text.length;
    }
  });
  return key;
}

/** The parts of a key that `metaKey` made. Throws RangeError when it did not. */
export function parseMetaKey(key: Uint8Array): KeyPart[] {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  const parts: KeyPart[] = [];
  let at = 1;
  while (at < bytes.length) {
    const kind = bytes[at];
    if (kind === NUMBER) {
      parts.push(Number(bytes.readBigUInt64BE(at + 1)));
      at += 9;
    } else if (kind === TEXT) {
      const end = at + 3 + bytes.readUInt16BE(at + 1);
      if (end > bytes.length) throw new RangeError(`key ${bytes.toString('hex')}: a part ends beyond the key`);
      parts.push(decoder.decode(bytes.subarray(at + 3, end)));
      at = end;
    } else {
      throw new RangeError(`key ${bytes.toString('hex')}: unknown part 0x${kind!.toString(16)} at ${at}`);
    }
  }
  return parts;
}

/** Bounds of all keys that begin with these parts. */
export function metaRange(prefix: MetaPrefix, ...parts: readonly KeyPart[]): { gte: Uint8Array; lt: Uint8Array } {
  const gte = metaKey(prefix, ...parts);
  // Part kinds are 0x01 and 0x02: 0xff follows every continuation.
  const lt = Buffer.concat([gte, Buffer.of(0xff)]);
  return { gte, lt };
}

// Slices

const SLICE_NAME = /^slice-(\d{10})$/;

/** Ids ascend from 1 and are never used again. */
export function sliceName(sliceId: number): string {
  return `slice-${String(sliceId).padStart(10, '0')}`;
}

/** null when the name is not that of a slice. */
export function parseSliceName(name: string): number | null {
  const match = SLICE_NAME.exec(name);
  return match === null ? null : Number(match[1]);
}

/** The partition id that stands for the chunk's own metadata record: it sorts behind every real one. */
export const CHUNK_RECORD_PARTITION = 0xffff_ffff;
export const PARTITION_ID_MAX = 0xffff_fffe;
export const CHUNK_ID_MAX = 0xffff_fffe;
export const BATCH_KEY_BYTES = 16;
const U32 = 0x1_0000_0000;

/** `chunkId u32 | partitionId u32 | lastOffset u64`, big-endian, into `key` (16 bytes): no allocation on the append path. */
export function writeBatchKey(key: Buffer, chunkId: number, partitionId: number, lastOffset: number): void {
  key.writeUInt32BE(chunkId, 0);
  key.writeUInt32BE(partitionId, 4);
  key.writeUInt32BE(Math.floor(lastOffset / U32), 8);
  key.writeUInt32BE(lastOffset % U32, 12);
}

export function batchKey(chunkId: number, partitionId: number, lastOffset: number): Buffer {
  const key = Buffer.allocUnsafe(BATCH_KEY_BYTES);
  writeBatchKey(key, chunkId, partitionId, lastOffset);
  return key;
}

export interface BatchKey {
  readonly chunkId: number;
  readonly partitionId: number;
  readonly lastOffset: number;
}

/** null when the key is not one of a batch or chunk record. */
export function parseBatchKey(key: Uint8Array): BatchKey | null {
  if (key.byteLength !== BATCH_KEY_BYTES) return null;
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  const lastOffset = bytes.readUInt32BE(8) * U32 + bytes.readUInt32BE(12);
  if (!Number.isSafeInteger(lastOffset)) return null;
  return { chunkId: bytes.readUInt32BE(0), partitionId: bytes.readUInt32BE(4), lastOffset };
}

/** The metadata record of a chunk, behind its batches. */
export function chunkRecordKey(chunkId: number): Buffer {
  return batchKey(chunkId, CHUNK_RECORD_PARTITION, 0);
}

/** The key filter of a chunk (log/key-filter.ts), behind its metadata record; optional. */
export function chunkFilterKey(chunkId: number): Buffer {
  return batchKey(chunkId, CHUNK_RECORD_PARTITION, 1);
}

/** A key outside all data: compacting it forces the memtable out without touching a table. */
export const OUTSIDE_DATA = Buffer.alloc(BATCH_KEY_BYTES + 1, 0xff);
