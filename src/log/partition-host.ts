/** What a partition is given: what all partitions of a log share, and what recovery found of this one. */
import type { Clock } from '../env.ts';
import type { HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { AppendQueue } from './append-queue.ts';
import type { Cut } from './cuts.ts';
import type { EndStamps } from './end-stamps.ts';
import type { EpochStart } from './leader-epochs.ts';
import type { LogPartition } from './partition.ts';
import { ProducerState } from './producer-state.ts';
import type { ReadAhead } from './read-ahead.ts';
import type { LogReader } from './reader.ts';
import { Segments } from './segments.ts';
import type { TailCache } from './tail-cache.ts';
import type { TimeCorrections } from './time-corrections.ts';
import type { CommitListener } from './types.ts';

/** What all partitions of a log share. */
export interface PartitionHost {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly queue: AppendQueue;
  readonly reader: LogReader;
  readonly readAhead: ReadAhead;
  readonly tailCache: TailCache;
  readonly stamps: EndStamps;
  readonly corrections: TimeCorrections;
  readonly brokerId: number;
  readonly commitListeners: readonly CommitListener[];
  /** Why the disk's state refuses an append to the topic; null: it does not. */
  readonly diskRefusal: (topic: string, bytes: number) => HeadwaterError | null;
  /** Another broker leads all partitions: only it may write. */
  readonly follows: () => boolean;
  /** Makes log start and leader epochs durable. */
  savePartition(partition: LogPartition): Promise<void>;
}

/** What recovery found. */
export interface PartitionStart {
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  /** As it was known before the stop; at most the log end. */
  readonly highWatermark: number;
  readonly epochs: readonly EpochStart[];
  readonly cuts: readonly Cut[];
  readonly segments: Segments;
  readonly producers: ProducerState;
}

export function emptyStart(): PartitionStart {
  return {
    logStartOffset: 0,
    logEndOffset: 0,
    highWatermark: 0,
    epochs: [{ epoch: 0, startOffset: 0 }],
    cuts: [],
    segments: new Segments(),
    producers: new ProducerState(),
  };
}
