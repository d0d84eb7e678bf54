import type { DiskOptions } from './disk-ladder.ts';
import type { TimeCorrections } from './time-corrections.ts';

/** What the broker's settings say about the log. */
export interface LogOptions {
  /** This broker's numeric id in replica lists. Default 1. */
  readonly brokerId?: number;
  /** num.partitions: of topics created without a number. Default 1. */
  readonly numPartitions?: number;
  /** Broker-wide defaults under topic names (`retention.ms`, ...), as text. */
  readonly topicDefaults?: ReadonlyMap<string, string>;
  /** flush.ms: least time between two commits. Default 0: as fast as the disk. */
  readonly flushMs?: number;
  /** flush.wear.bytes.per.day: above it commits are held back. Default 0: no budget. */
  readonly wearBytesPerDay?: number;
  /** flush.wear.max.ms: how long at most, from one commit to the next. */
  readonly wearMaxMs?: number;
  /** log.retention.total.bytes: what all topics together may keep. Default: no bound. */
  readonly retentionTotalBytes?: number;
  /** LevelDB's memtable of the slice that is written, bytes. Default 2 MiB. */
  readonly writeBufferBytes?: number;
  /** Size of a slice, bytes. Default: `sliceBytes` (slice-size.ts) of retentionTotalBytes and of what is stored. */
  readonly sliceBytes?: number;
  /** Whether the wall clock may be believed now; retention by age waits until it is. Default: always. */
  readonly timeTrusted?: () => boolean;
  /**
   * When what has a timestamp was written, ms, where the clock was wrong; null: nobody knows, and retention takes the age
   * of what came after. Default: the timestamp.
   */
  readonly writtenAt?: (timestamp: number) => number | null;
  /** What reads correct of timestamps. Default: nothing. */
  readonly corrections?: TimeCorrections;
  /** Topics that give way first under retentionTotalBytes have the smaller number. Default: all 0. */
  readonly topicPriority?: (topic: string) => number;
  /** Watermarks, reserve and policy of the disk ladder (disk-ladder.ts). Default: it is not watched. */
  readonly disk?: DiskOptions;
  /** Memory for the keys of one pass of compaction, bytes. Default and bound: COMPACTION_MAP_MAX_BYTES. */
  readonly compactionMapBytes?: number;
  /** How often retention looks, ms; null: only when `runRetention` is called. Default: every 10 s. */
  readonly retentionSchedule?: number | null;
}
