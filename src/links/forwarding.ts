/** Which stored batches of a partition go upstream, and in what form. */
import type { Partition } from '../log/types.ts';
import { loadCodec, openBatch } from '../wire/batch/compression.ts';
import {
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  codecOf,
  hasLogAppendTime,
  isControl,
  isTransactional,
  lastOffsetDeltaOf,
  maxTimestampOf,
  nextOffsetOf,
  producerIdOf,
  recordCountOf,
} from '../wire/batch/record-batch.ts';
import { compressBatch, encodeBatch, type RecordInput, recordSizeBound } from '../wire/batch/record-encoder.ts';
import type { EdgeLog } from './evidence.ts';
import type { Forwarded } from './outgoing.ts';
import { EVERYTHING, type Selection } from './selection.ts';

/** Whether the transaction that the batch belongs to was aborted. */
export function isAborted(partition: Partition, batch: Uint8Array): boolean {
  if (!isTransactional(batch)) return false;
  const base = baseOffsetOf(batch);
  return partition
    .abortedTransactions(base, nextOffsetOf(batch))
    .some((one) => one.producerId === producerIdOf(batch) && one.firstOffset <= base && base < one.lastOffset);
}

export interface Readable {
  readonly batches: readonly Uint8Array[];
  readonly nextOffset: number;
}

/**
 * A replica reads beyond the last stable offset: what it read is cut before a transaction that is not decided yet. The
 * link then waits there (and leaves the ISR if that takes too long, which lets the high watermark pass).
 */
export function decided(partition: Partition, { batches, nextOffset }: Readable): Readable {
  const stable = partition.lastStableOffset;
  const open = batches.findIndex(
    (batch) => isTransactional(batch) && !isControl(batch) && baseOffsetOf(batch) >= stable,
  );
  if (open < 0) return { batches, nextOffset };
  return { batches: batches.slice(0, open), nextOffset: baseOffsetOf(batches[open]!) };
}

/** How the records of a partition go upstream. */
export interface Forwarding {
  readonly selection: Selection;
  /** The largest batch that upstream takes; Infinity as long as it has refused none. */
  readonly maxBatchBytes: number;
}

/** Everything, as it is stored. */
export const AS_STORED: Forwarding = { selection: EVERYTHING, maxBatchBytes: Number.POSITIVE_INFINITY };

/** Whether the records must be encoded again before Kafka takes them from a producer: holes (compaction), append times. */
function needsEncoding(batch: Uint8Array): boolean {
  return recordCountOf(batch) !== lastOffsetDeltaOf(batch) + 1 || hasLogAppendTime(batch);
}

/**
 * Dense offsets, create times, the codec as before; in as many batches as upstream's limit asks for. Where a batch is cut
 * depends on its first record, its records and the limit: a part that is sent again is the same.
 */
async function encodeAgain(batch: Uint8Array, from: number, how: Forwarding): Promise<Forwarded[]> {
  const codecName = codecOf(batch);
  const codec = await loadCodec(codecName, { compress: true });
  const cursor = await openBatch(batch);
  const { apply } = how.selection;
  const parts: Forwarded[] = [];
  let records: RecordInput[] = [];
  let offsets: number[] = [];
  let bytes = BATCH_HEADER_BYTES;
  const close = (next: number): void => {
    if (records.length > 0) {
      const plain = encodeBatch(records, { now: maxTimestampOf(batch) });
      const packed = codecName === 'none' ? plain : compressBatch(plain, codec);
      parts.push({ batch: packed, count: records.length, first: offsets[0]!, next, offsets });
    }
    records = [];
    offsets = [];
    bytes = BATCH_HEADER_BYTES;
  };
  while (cursor.next()) {
    const { offset, key, value, timestamp } = cursor;
    if (offset < from) continue;
    const record = { key, value, timestamp, headers: cursor.headers() };
    const sent = apply === null ? record : apply(record);
    if (sent === null) continue;
    const size = recordSizeBound(sent);
    if (bytes + size > how.maxBatchBytes && records.length > 0) close(offsets.at(-1)! + 1);
    records.push(sent);
    offsets.push(offset);
    bytes += size;
  }
  close(nextOffsetOf(batch));
  return parts;
}

/**
 * What goes upstream of these batches, from the record at `from` on: without control batches and aborted transactions; what
 * Kafka would not take as it is, or is not all sent, is encoded again.
 */
export async function forwardable(
  partition: Partition,
  batches: readonly Uint8Array[],
  from: number,
  how: Forwarding,
): Promise<Forwarded[]> {
  const forwarded: Forwarded[] = [];
  for (const batch of batches) {
    if (isControl(batch) || isAborted(partition, batch) || recordCountOf(batch) === 0) continue;
    const first = baseOffsetOf(batch);
    const asStored = how.selection.apply === null && first >= from && batch.length <= how.maxBatchBytes;
    if (asStored && !needsEncoding(batch)) {
      forwarded.push({ batch, count: lastOffsetDeltaOf(batch) + 1, first, next: nextOffsetOf(batch), offsets: null });
    } else forwarded.push(...(await encodeAgain(batch, from, how)));
  }
  return forwarded;
}

/**
 * Where sending must stop. A replica (a sync link) is what the high watermark waits for, so it reads beyond it;
 * transactions that are still open stay here.
 */
export function sendableEnd(partition: Partition, isReplica: boolean): number {
  const { lastStableOffset, highWatermark, logEndOffset } = partition;
  return isReplica && lastStableOffset >= highWatermark ? logEndOffset : lastStableOffset;
}

/** The partition as evidence reads it. */
export function edgeLogOf(partition: Partition, isReplica: boolean, selection: Selection): EdgeLog {
  const how = { ...AS_STORED, selection };
  return {
    start: partition.logStartOffset,
    end: sendableEnd(partition, isReplica),
    read: async (from, maxBytes) => {
      const found = await partition.read({ from, upTo: sendableEnd(partition, isReplica), maxBytes });
      const { batches, nextOffset } = decided(partition, found);
      return { batches: await forwardable(partition, batches, from, how), nextOffset };
    },
    correctedTime: (offset, timestamp) => partition.correctedTime(offset, timestamp),
    offsetForTimestamp: async (timestamp) => (await partition.offsetForTimestamp(timestamp))?.offset ?? null,
  };
}
