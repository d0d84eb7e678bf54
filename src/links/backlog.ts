/** How far a reader of a partition is behind. */
import type { Partition } from '../log/types.ts';

/** A partition with less than this to send is at the end of its log. */
const LIVE_BYTES = 128 * 1024;

export function backlogRecords(partition: Partition, nextOffset: number): number {
  return Math.max(0, partition.logEndOffset - Math.max(nextOffset, partition.logStartOffset));
}

/** An estimate: the log's bytes in proportion. */
export function backlogBytes(partition: Partition, nextOffset: number): number {
  const stored = partition.logEndOffset - partition.logStartOffset;
  return stored <= 0 ? 0 : Math.round((partition.sizeBytes * backlogRecords(partition, nextOffset)) / stored);
}

export function isLive(partition: Partition, nextOffset: number): boolean {
  return backlogBytes(partition, nextOffset) <= LIVE_BYTES;
}
