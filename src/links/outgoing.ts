/**
 * A stored batch as it goes upstream. Its record bytes are sent as they are: only a new header is made (producer, epoch,
 * sequence, CRC). What Kafka would refuse from a producer is repaired by encoding the records again, the same way each
 * time: batches with holes (compaction) and batches stamped with append time.
 */
import { decompressRecords, loadCodec } from '../wire/batch/compression.ts';
import { crc32c } from '../wire/batch/crc32c.ts';
import {
  attributesOf,
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  baseTimestampOf,
  codecNumberOf,
  codecOf,
  hasLogAppendTime,
  lastOffsetDeltaOf,
  maxTimestampOf,
  nextOffsetOf,
  recordCountOf,
  TRANSACTIONAL,
  writeInt16,
  writeInt32,
  writeInt64,
} from '../wire/batch/record-batch.ts';
import { RecordCursor } from '../wire/batch/record-cursor.ts';
import { compressBatch, encodeBatch, type RecordInput } from '../wire/batch/record-encoder.ts';

/** A batch that goes upstream: as stored, and as it is sent. */
export interface Forwarded {
  readonly source: Uint8Array;
  readonly batch: Uint8Array;
  /** Records that are sent. */
  readonly count: number;
}

/** A batch on its way. Offsets are those of this broker. */
export interface Outgoing {
  readonly baseOffset: number;
  /** The offset after the batch. */
  readonly nextOffset: number;
  /** Several stored batches (runs.ts). */
  readonly merged: boolean;
  readonly sequence: number;
  /** Records, as upstream counts sequences. */
  readonly count: number;
  /** Header and records. */
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
}

export interface ProducerIdentity {
  readonly id: number;
  readonly epoch: number;
}

/** Whether the records must be encoded again before Kafka takes them from a producer. */
export function needsEncoding(batch: Uint8Array): boolean {
  return recordCountOf(batch) !== lastOffsetDeltaOf(batch) + 1 || hasLogAppendTime(batch);
}

/** Dense offsets, create times, the same codec; null when no record is left in the batch. */
export async function encodeAgain(batch: Uint8Array): Promise<Uint8Array | null> {
  if (recordCountOf(batch) === 0) return null;
  const name = codecOf(batch);
  const codec = await loadCodec(name, { compress: true });
  const cursor = new RecordCursor(batch, name === 'none' ? undefined : decompressRecords(batch, codec));
  const records: RecordInput[] = [];
  while (cursor.next()) {
    const { key, value, timestamp } = cursor;
    records.push({ key, value, timestamp, headers: cursor.headers() });
  }
  const plain = encodeBatch(records, { now: maxTimestampOf(batch) });
  return name === 'none' ? plain : compressBatch(plain, codec);
}

/**
 * `first` to `last` are the stored batches that go out as `batch` (their offsets count): one, which is the batch itself
 * unless it was encoded again, or a run that was merged.
 */
export function toOutgoing(
  first: Uint8Array,
  last: Uint8Array,
  batch: Uint8Array,
  producer: ProducerIdentity,
  sequence: number,
): Outgoing {
  const header = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES);
  header.set(batch.subarray(0, BATCH_HEADER_BYTES));
  writeInt64(header, 0, 0);
  writeInt32(header, 12, -1);
  writeInt16(header, 21, attributesOf(batch) & ~TRANSACTIONAL);
  writeInt64(header, 43, producer.id);
  writeInt16(header, 51, producer.epoch);
  writeInt32(header, 53, sequence);
  const records = batch.subarray(BATCH_HEADER_BYTES);
  writeInt32(header, 17, crc32c(records, 0, records.length, crc32c(header, 21, BATCH_HEADER_BYTES)));
  return {
    baseOffset: baseOffsetOf(first),
    nextOffset: nextOffsetOf(last),
    merged: first !== last,
    sequence,
    count: lastOffsetDeltaOf(batch) + 1,
    chunks: [header, records],
    bytes: batch.length,
    timestamp: maxTimestampOf(first),
  };
}

/**
 * Whether `theirs` (read upstream) holds the records of `ours`. Upstream may have stamped or recompressed them: then the
 * header has to do (times and counts).
 */
export function sameRecords(ours: Uint8Array, theirs: Uint8Array): boolean {
  if (recordCountOf(ours) !== recordCountOf(theirs)) return false;
  if (lastOffsetDeltaOf(ours) !== lastOffsetDeltaOf(theirs)) return false;
  if (baseTimestampOf(ours) !== baseTimestampOf(theirs)) return false;
  if (codecNumberOf(ours) !== codecNumberOf(theirs)) return true;
  const a = ours.subarray(BATCH_HEADER_BYTES);
  return (
    a.length === theirs.length - BATCH_HEADER_BYTES && Buffer.compare(a, theirs.subarray(BATCH_HEADER_BYTES)) === 0
  );
}
