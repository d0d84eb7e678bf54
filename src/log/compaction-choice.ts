/** What compaction looks at and when it is worth it: numbers in, numbers out. */

export interface CleanableStretch {
  readonly lastOffset: number;
  readonly bytes: number;
  readonly maxTimestamp: number;
  /** In a sealed slice, its producers in a durable snapshot. */
  readonly settled: boolean;
}

export interface CleanableLimits {
  /** Everything below it is as the last pass left it. */
  readonly dirtyFrom: number;
  /** min(high watermark, last stable offset): above it transactions are not decided. */
  readonly stableBelow: number;
  /** min.compaction.lag.ms. */
  readonly lagMs: number;
  /** Trusted wall clock, ms; null: nothing is known to be old enough. */
  readonly now: number | null;
}

export interface Cleanable {
  /** A pass may read and copy what is below it. */
  readonly end: number;
  readonly dirtyBytes: number;
  readonly cleanBytes: number;
}

/**
 * From the front, what is settled, decided and old enough. Never the partition's last stretch: it is what is being
 * written, and its last record tells readers where the log ends.
 */
export function cleanable(stretches: readonly CleanableStretch[], limits: CleanableLimits): Cleanable {
  let end = 0;
  let dirtyBytes = 0;
  let cleanBytes = 0;
  for (let i = 0; i < stretches.length - 1; i++) {
    const stretch = stretches[i]!;
    if (!stretch.settled || stretch.lastOffset >= limits.stableBelow) break;
    if (stretch.lastOffset < limits.dirtyFrom) cleanBytes += stretch.bytes;
    else {
      const young = limits.now === null || stretch.maxTimestamp > limits.now - limits.lagMs;
      if (limits.lagMs > 0 && young) break;
      dirtyBytes += stretch.bytes;
    }
    end = stretch.lastOffset + 1;
  }
  return { end, dirtyBytes, cleanBytes };
}

/** Share of what no pass has seen, of all that a pass would read (min.cleanable.dirty.ratio). 0: nothing to do. */
export function dirtyShare({ dirtyBytes, cleanBytes }: Cleanable): number {
  return dirtyBytes === 0 ? 0 : dirtyBytes / (dirtyBytes + cleanBytes);
}
