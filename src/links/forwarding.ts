/** Which stored batches of a partition go upstream, and in what form. */
import type { Partition } from '../log/types.ts';
import {
  baseOffsetOf,
  isControl,
  isTransactional,
  lastOffsetDeltaOf,
  nextOffsetOf,
  producerIdOf,
} from '../wire/batch/record-batch.ts';
import type { EdgeLog } from './evidence.ts';
import { encodeAgain, type Forwarded, needsEncoding } from './outgoing.ts';

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

/** Without control batches and aborted transactions; those that Kafka would not take are encoded again. */
export async function forwardable(partition: Partition, batches: readonly Uint8Array[]): Promise<Forwarded[]> {
  const forwarded: Forwarded[] = [];
  for (const source of batches) {
    if (isControl(source) || isAborted(partition, source)) continue;
    const batch = needsEncoding(source) ? await encodeAgain(source) : source;
    if (batch !== null) forwarded.push({ source, batch, count: lastOffsetDeltaOf(batch) + 1 });
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
export function edgeLogOf(partition: Partition, isReplica: boolean): EdgeLog {
  return {
    start: partition.logStartOffset,
    end: sendableEnd(partition, isReplica),
    read: async (from, maxBytes) => {
      const found = await partition.read({ from, upTo: sendableEnd(partition, isReplica), maxBytes });
      const { batches, nextOffset } = decided(partition, found);
      return { batches: await forwardable(partition, batches), nextOffset };
    },
    offsetForTimestamp: async (timestamp) => (await partition.offsetForTimestamp(timestamp))?.offset ?? null,
  };
}
