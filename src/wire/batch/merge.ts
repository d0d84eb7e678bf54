/**
 * Several uncompressed batches as one: the records keep their bytes but for the length and the two deltas that say where
 * they stand in their batch. No record object is made.
 */
import { crc32c } from './crc32c.ts';
import {
  attributesOf,
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_END,
  baseTimestampOf,
  lastOffsetDeltaOf,
  maxTimestampOf,
  recordCountOf,
  writeInt16,
  writeInt32,
  writeInt64,
} from './record-batch.ts';
import { varintSize, varlongSize, writeVarint, writeVarlong } from './varint.ts';

/** What a record can grow by: a longer length, timestamp delta and offset delta. */
const GROWTH_MAX_BYTES = 4 + 9 + 4;

/** Whether `batch` may be part of a merged one: plain records with times of their own, and dense offsets. */
export function isMergeable(batch: Uint8Array): boolean {
  const count = recordCountOf(batch);
  return (
    attributesOf(batch) === 0 && count > 0 && count === lastOffsetDeltaOf(batch) + 1 && baseTimestampOf(batch) >= 0
  );
}

class Reader {
  readonly #bytes: Uint8Array;
  at = BATCH_HEADER_BYTES;
  sound = true;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** A zigzag integer up to 2^52 in magnitude; anything else makes it unsound. */
  integer(): number {
    let zigzag = 0;
    for (let unit = 1; unit <= 2 ** 49; unit *= 128) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) break;
      zigzag += (byte & 0x7f) * unit;
      if (byte < 0x80) {
        if (zigzag > Number.MAX_SAFE_INTEGER) break;
        return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
      }
    }
    this.sound = false;
    return 0;
  }
}

/** Appends the records of `batch` at `at`; the position after them, or -1 when they are not sound. */
function appendRecords(batch: Uint8Array, into: Buffer, start: number, first: number, shiftMs: number): number {
  const reader = new Reader(batch);
  const count = recordCountOf(batch);
  let at = start;
  for (let index = 0; index < count; index++) {
    const length = reader.integer();
    const end = reader.at + length;
    if (!reader.sound || length < 1 || end > batch.length) return -1;
    const attributes = batch[reader.at++]!;
    const timestampDelta = reader.integer() + shiftMs;
    if (reader.integer() !== index || !reader.sound || reader.at > end) return -1;
    const rest = end - reader.at;
    at = writeVarint(into, at, 1 + varlongSize(timestampDelta) + varintSize(first + index) + rest);
    into[at++] = attributes;
    at = writeVarlong(into, at, timestampDelta);
    at = writeVarint(into, at, first + index);
    into.set(batch.subarray(reader.at, end), at);
    at += rest;
    reader.at = end;
  }
  return reader.at === batch.length ? at : -1;
}

/**
 * One batch with the records of all of `batches` (each `isMergeable`), base offset 0, without a producer; the CRC is right.
 * Null when the records of one are not what its header says: then each has to stand for itself.
 */
export function mergeBatches(batches: readonly Uint8Array[]): Buffer | null {
  let count = 0;
  let most = BATCH_HEADER_BYTES;
  for (const batch of batches) {
    count += recordCountOf(batch);
    most += batch.length - BATCH_HEADER_BYTES;
  }
  const merged = Buffer.allocUnsafeSlow(most + count * GROWTH_MAX_BYTES);
  const base = baseTimestampOf(batches[0]!);
  let maxTimestamp = -1;
  let at = BATCH_HEADER_BYTES;
  let first = 0;
  for (const batch of batches) {
    at = appendRecords(batch, merged, at, first, baseTimestampOf(batch) - base);
    if (at < 0) return null;
    first += recordCountOf(batch);
    maxTimestamp = Math.max(maxTimestamp, maxTimestampOf(batch));
  }
  writeInt64(merged, 0, 0);
  writeInt32(merged, 8, at - BATCH_LENGTH_END);
  writeInt32(merged, 12, -1);
  merged[16] = 2;
  writeInt16(merged, 21, 0);
  writeInt32(merged, 23, count - 1);
  writeInt64(merged, 27, base);
  writeInt64(merged, 35, maxTimestamp);
  writeInt64(merged, 43, -1);
  writeInt16(merged, 51, -1);
  writeInt32(merged, 53, -1);
  writeInt32(merged, 57, count);
  writeInt32(merged, 17, crc32c(merged, 21, at));
  return merged.subarray(0, at);
}
