/** The states of one partition of a link, and which may follow which. */
export type PartitionState =
  /** Not started. */
  | 'idle'
  /** Waits for metadata and a connection to the leader upstream. */
  | 'connecting'
  /** Reads upstream what it has of ours. */
  | 'locating'
  /** Sends what there is and waits for more. */
  | 'sending'
  /** A batch failed: waits until all batches on their way are answered. */
  | 'settling'
  /** Pauses after an error that may pass. */
  | 'backing-off'
  /** Pauses after an error that will not pass by itself. */
  | 'blocked'
  | 'stopped';

export const PARTITION_TRANSITIONS: Readonly<Record<PartitionState, readonly PartitionState[]>> = {
  idle: ['connecting', 'stopped'],
  connecting: ['locating', 'sending', 'backing-off', 'blocked', 'stopped'],
  locating: ['sending', 'backing-off', 'blocked', 'stopped'],
  sending: ['settling', 'stopped'],
  settling: ['connecting', 'backing-off', 'blocked', 'stopped'],
  'backing-off': ['connecting', 'stopped'],
  blocked: ['connecting', 'stopped'],
  stopped: [],
};

export function mayMove(from: PartitionState, to: PartitionState): boolean {
  return PARTITION_TRANSITIONS[from].includes(to);
}
