/** The end of a transaction in the logs: one control batch per partition (KIP-98). */
import type { Clock } from '../env.ts';
import type { HeadwaterError } from '../errors.ts';
import type { Log, Partition } from '../log/types.ts';
import { encodeMarker } from '../wire/batch/control-batch.ts';
import type { TxnPartition, TxnValue } from './step.ts';

/** There is one coordinator, and it never moves. */
const COORDINATOR_EPOCH = 0;

/**
 * Appends the markers of a prepared transaction. Resolves with the partitions that could not be written (to be tried
 * again); those that were deleted meanwhile need none. A marker that comes twice (after a crash) changes nothing.
 */
export async function appendMarkers(
  log: Log,
  clock: Clock,
  value: TxnValue,
  partitions: readonly TxnPartition[],
): Promise<{ failed: TxnPartition[]; error: HeadwaterError | null }> {
  const failed: TxnPartition[] = [];
  let first: HeadwaterError | null = null;
  const appends = partitions.map(async (named) => {
    const topic = log.topic(named.topic);
    const partition = topic?.id === named.topicId ? topic.partitions[named.partition] : undefined;
    if (partition === undefined) return;
    let error = await appendMarker(partition, clock.now(), value);
    while (error?.code === 'QUOTA_EXCEEDED') {
      // The append queue is full for a moment: nobody but this transaction waits for the marker.
      await new Promise<void>((resolve) => log.whenDrained(resolve));
      error = await appendMarker(partition, clock.now(), value);
    }
    if (error === null || error.code === 'UNKNOWN_TOPIC') return;
    failed.push(named);
    first ??= error;
  });
  await Promise.all(appends);
  return { failed, error: first };
}

function appendMarker(partition: Partition, timestamp: number, value: TxnValue): Promise<HeadwaterError | null> {
  const batch = encodeMarker({
    type: value.state === 'PrepareCommit' ? 'commit' : 'abort',
    coordinatorEpoch: COORDINATOR_EPOCH,
    producerId: value.producerId,
    producerEpoch: value.epoch,
    timestamp: Math.max(timestamp, 0),
  });
  return new Promise((resolve) => {
    partition.appendBatch(batch, { acks: 1, origin: 'coordinator', transactional: true }, (error) => resolve(error));
  });
}
