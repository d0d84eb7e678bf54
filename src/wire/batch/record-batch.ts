/**
 * RecordBatch v2 as bytes: header fields at their fixed offsets, read and patched in place. Nothing here decodes a record.
 * Every accessor takes `at`, the position of the batch in `bytes`, so that a run of batches needs no slicing. Accessors
 * trust that 61 bytes are there: `validateBatch` or `splitBatches` has checked.
 *
 *  0 baseOffset i64 | 8 batchLength i32 (bytes after it) | 12 partitionLeaderEpoch i32 | 16 magic i8 = 2 | 17 crc u32 |
 * 21 attributes i16 | 23 lastOffsetDelta i32 | 27 baseTimestamp i64 | 35 maxTimestamp i64 | 43 producerId i64 |
 * 51 producerEpoch i16 | 53 baseSequence i32 | 57 recordCount i32 | 61 records
 *
 * The CRC-32C covers everything from the attributes on: base offset and leader epoch may change without it.
 */
import { HeadwaterError } from '../../errors.ts';
import { crc32c } from './crc32c.ts';

export const BATCH_HEADER_BYTES = 61;
/** Base offset and length: what stands before the bytes that batchLength counts. */
export const BATCH_LENGTH_END = 12;
const CRC_START = 21;
const TWO_32 = 4_294_967_296;
const SEQUENCES = 2_147_483_648;

export const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
export type CodecName = (typeof CODECS)[number];

/** Attribute bits. */
export const CODEC_MASK = 0x07;
export const LOG_APPEND_TIME = 0x08;
export const TRANSACTIONAL = 0x10;
export const CONTROL = 0x20;

export function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

/** Exact up to 2^53, nearest beyond. */
export function readInt64(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at) * TWO_32 + (readInt32(bytes, at + 4) >>> 0);
}

function readInt16(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) >> 16) | bytes[at + 1]!;
}

export function writeInt16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function writeInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

export function writeInt64(bytes: Uint8Array, at: number, value: number): void {
  writeInt32(bytes, at, Math.floor(value / TWO_32));
  writeInt32(bytes, at + 4, value >>> 0 === value ? value : value % TWO_32);
}

export const baseOffsetOf = (batch: Uint8Array, at = 0): number => readInt64(batch, at);
/** Bytes of the whole batch, its first 12 included. */
export const batchSizeOf = (batch: Uint8Array, at = 0): number => BATCH_LENGTH_END + readInt32(batch, at + 8);
export const leaderEpochOf = (batch: Uint8Array, at = 0): number => readInt32(batch, at + 12);
export const magicOf = (batch: Uint8Array, at = 0): number => (batch[at + 16]! << 24) >> 24;
export const crcOf = (batch: Uint8Array, at = 0): number => readInt32(batch, at + 17) >>> 0;
export const attributesOf = (batch: Uint8Array, at = 0): number => readInt16(batch, at + 21);
export const lastOffsetDeltaOf = (batch: Uint8Array, at = 0): number => readInt32(batch, at + 23);
export const lastOffsetOf = (batch: Uint8Array, at = 0): number => readInt64(batch, at) + readInt32(batch, at + 23);
/** The offset that follows the batch; records missing inside it (compaction) do not change it. */
export const nextOffsetOf = (batch: Uint8Array, at = 0): number => lastOffsetOf(batch, at) + 1;
export const baseTimestampOf = (batch: Uint8Array, at = 0): number => readInt64(batch, at + 27);
export const maxTimestampOf = (batch: Uint8Array, at = 0): number => readInt64(batch, at + 35);
export const producerIdOf = (batch: Uint8Array, at = 0): number => readInt64(batch, at + 43);
export const producerEpochOf = (batch: Uint8Array, at = 0): number => readInt16(batch, at + 51);
export const baseSequenceOf = (batch: Uint8Array, at = 0): number => readInt32(batch, at + 53);
export const recordCountOf = (batch: Uint8Array, at = 0): number => readInt32(batch, at + 57);
/** Number of the codec, 0 to 7; above 4 there is none. */
export const codecNumberOf = (batch: Uint8Array, at = 0): number => batch[at + 22]! & CODEC_MASK;
export const isTransactional = (batch: Uint8Array, at = 0): boolean => (batch[at + 22]! & TRANSACTIONAL) !== 0;
export const isControl = (batch: Uint8Array, at = 0): boolean => (batch[at + 22]! & CONTROL) !== 0;
export const hasLogAppendTime = (batch: Uint8Array, at = 0): boolean => (batch[at + 22]! & LOG_APPEND_TIME) !== 0;

/** Sequences count records and wrap from 2147483647 to 0. `count` may be negative. */
export function addToSequence(sequence: number, count: number): number {
  const sum = (sequence + count) % SEQUENCES;
  return sum < 0 ? sum + SEQUENCES : sum;
}

/** Sequence of the last record; -1 when the producer is not idempotent. */
export function lastSequenceOf(batch: Uint8Array, at = 0): number {
  const first = baseSequenceOf(batch, at);
  return first < 0 ? first : addToSequence(first, lastOffsetDeltaOf(batch, at));
}

export function codecOf(batch: Uint8Array, at = 0): CodecName {
  const codec = CODECS[codecNumberOf(batch, at)];
  if (codec === undefined) {
    const number = codecNumberOf(batch, at);
    throw new HeadwaterError('UNSUPPORTED_COMPRESSION', `compression codec ${number} is not known; known are 0 to 4`);
  }
  return codec;
}

/** Outside the CRC. */
export function patchBaseOffset(batch: Uint8Array, offset: number, at = 0): void {
  writeInt64(batch, at, offset);
}

/** Outside the CRC. */
export function patchLeaderEpoch(batch: Uint8Array, epoch: number, at = 0): void {
  writeInt32(batch, at + 12, epoch);
}

export function computeCrc(batch: Uint8Array, at = 0): number {
  return crc32c(batch, at + CRC_START, at + batchSizeOf(batch, at));
}

export function patchCrc(batch: Uint8Array, at = 0): void {
  writeInt32(batch, at + 17, computeCrc(batch, at));
}

/** A link's own producer in place of the stored one; the CRC follows. */
export function patchProducer(batch: Uint8Array, id: number, epoch: number, baseSequence: number, at = 0): void {
  writeInt64(batch, at + 43, id);
  writeInt16(batch, at + 51, epoch);
  writeInt32(batch, at + 53, baseSequence);
  patchCrc(batch, at);
}

/** message.timestamp.type=LogAppendTime: every record bears the broker's time; the CRC follows. */
export function patchLogAppendTime(batch: Uint8Array, timestamp: number, at = 0): void {
  batch[at + 22]! |= LOG_APPEND_TIME;
  writeInt64(batch, at + 35, timestamp);
  patchCrc(batch, at);
}

/** Moves all timestamps of the batch by `ms` (a clock that was wrong when they were taken); the CRC follows. */
export function shiftTimestamps(batch: Uint8Array, ms: number, at = 0): void {
  writeInt64(batch, at + 27, baseTimestampOf(batch, at) + ms);
  writeInt64(batch, at + 35, maxTimestampOf(batch, at) + ms);
  patchCrc(batch, at);
}

function corrupt(message: string): never {
  throw new HeadwaterError('CORRUPT_BATCH', message);
}

/**
 * Checks that `batch` is exactly one RecordBatch v2: lengths, magic, codec, counts, CRC. Holds for any stored batch, also
 * a compacted or control one. Throws CORRUPT_BATCH, INVALID_RECORD (another magic) or UNSUPPORTED_COMPRESSION.
 */
export function validateBatch(batch: Uint8Array): void {
  if (batch.length < BATCH_HEADER_BYTES) {
    corrupt(`record batch of ${batch.length} bytes; the header alone takes ${BATCH_HEADER_BYTES}`);
  }
  const size = batchSizeOf(batch);
  if (magicOf(batch) !== 2) {
    throw new HeadwaterError('INVALID_RECORD', `record batch with magic ${magicOf(batch)}; only magic 2 is supported`);
  }
  if (size !== batch.length) corrupt(`record batch says it has ${size} bytes; ${batch.length} are there`);
  const crc = computeCrc(batch);
  if (crc !== crcOf(batch)) {
    corrupt(`record batch with CRC ${crcOf(batch).toString(16)}; its bytes have ${crc.toString(16)}`);
  }
  codecOf(batch);
  const count = recordCountOf(batch);
  const delta = lastOffsetDeltaOf(batch);
  if (count < 0 || delta < 0 || count > delta + 1)
    corrupt(`record batch with ${count} records over ${delta + 1} offsets`);
}

/**
 * What a producer may send (the rules of Kafka's LogValidator): dense offsets, no control batch, a sequence when it is
 * idempotent. Throws INVALID_RECORD, and what `validateBatch` throws.
 */
export function validateProducedBatch(batch: Uint8Array): void {
  validateBatch(batch);
  const refuse = (message: string): never => {
    throw new HeadwaterError('INVALID_RECORD', message);
  };
  const count = recordCountOf(batch);
  if (count !== lastOffsetDeltaOf(batch) + 1 || count === 0) {
    refuse(`record batch with ${count} records and a last offset delta of ${lastOffsetDeltaOf(batch)}`);
  }
  if (isControl(batch)) refuse('control batches may not be produced');
  if (producerIdOf(batch) >= 0) {
    if (baseSequenceOf(batch) < 0) refuse(`producer ${producerIdOf(batch)} sent sequence ${baseSequenceOf(batch)}`);
    if (producerEpochOf(batch) < 0) refuse(`producer ${producerIdOf(batch)} sent epoch ${producerEpochOf(batch)}`);
  } else if (isTransactional(batch)) refuse('transactional batch without a producer id');
}

/**
 * Views of the whole batches in a record set (Produce, Fetch). An incomplete batch at the end (a Fetch cut by its byte
 * limit) is left out. Throws CORRUPT_BATCH at a length that cannot be.
 */
export function splitBatches(records: Uint8Array): Uint8Array[] {
  const batches: Uint8Array[] = [];
  for (let at = 0; at + BATCH_LENGTH_END <= records.length; ) {
    const size = batchSizeOf(records, at);
    if (size < BATCH_HEADER_BYTES) corrupt(`record batch at byte ${at} says it has ${size} bytes`);
    if (at + size > records.length) break;
    batches.push(records.subarray(at, at + size));
    at += size;
  }
  return batches;
}
