/**
 * What retention lets go: numbers in, offsets out. The unit is a run: one partition's share of a chunk (a few MB of all
 * partitions together), so a topic keeps at most one run more than its limits say.
 */
export interface Stretches {
  /** They are in offset order. */
  readonly length: number;
  /** Of all of them. */
  readonly bytes: number;
  lastOffset(i: number): number;
  bytesOf(i: number): number;
  /** Largest record timestamp in it, ms. */
  maxTimestamp(i: number): number;
}

export interface RetentionLimits {
  /** retention.ms; -1: no limit. */
  readonly ms: number;
  /** retention.bytes of a partition; -1: no limit. */
  readonly bytes: number;
  /** Trusted wall clock, ms; null: the clock is not trusted and nothing is too old. */
  readonly now: number | null;
  /** When what has a timestamp was written, ms; null: its clock was not set, and nobody knows. Default: the timestamp. */
  readonly writtenAt?: (timestamp: number) => number | null;
  /** Nothing at or above it goes: replicas and consumers may still need it. */
  readonly highWatermark: number;
}

/**
 * The new log start: the first stretch that is young enough, and needed to keep `bytes` (Kafka's rule: a stretch goes
 * when what remains without it is still that much). Only from the front: a log has no holes. What has no believable
 * timestamp is as old as what came after it.
 */
export function retainedFrom(stretches: Stretches, logStart: number, limits: RetentionLimits): number {
  let total = limits.bytes >= 0 ? stretches.bytes : 0;
  const cutoff = limits.ms >= 0 && limits.now !== null ? limits.now - limits.ms : null;
  const writtenAt = limits.writtenAt ?? ((timestamp) => timestamp);
  let start = logStart;
  let dated = 0;
  for (let i = 0; i < stretches.length; i++) {
    const lastOffset = stretches.lastOffset(i);
    if (lastOffset >= limits.highWatermark) break;
    let tooOld = false;
    if (cutoff !== null) {
      if (dated < i) dated = i;
      while (dated < stretches.length && writtenAt(stretches.maxTimestamp(dated)) === null) dated++;
      const written = dated < stretches.length ? writtenAt(stretches.maxTimestamp(dated)) : null;
      tooOld = written !== null && written < cutoff;
    }
    const bytes = stretches.bytesOf(i);
    const tooMuch = limits.bytes >= 0 && total - bytes >= limits.bytes;
    if (!tooOld && !tooMuch) break;
    start = Math.max(start, lastOffset + 1);
    total -= bytes;
  }
  return start;
}

export interface Candidate {
  /** Smaller gives way first. */
  readonly priority: number;
  /** Arrival order of its oldest data: the slice id. */
  readonly oldest: number;
  readonly bytes: number;
}

/**
 * Who gives way when all topics together keep too much (log.retention.total.bytes): the lowest priority first, among
 * equals the oldest data, among those the larger share. Index into `candidates`, -1 when there is none.
 */
export function givesWay(candidates: readonly Candidate[]): number {
  let best = -1;
  for (let i = 0; i < candidates.length; i++) {
    if (best < 0) {
      best = i;
      continue;
    }
    const a = candidates[i]!;
    const b = candidates[best]!;
    const order = a.priority - b.priority || a.oldest - b.oldest || b.bytes - a.bytes;
    if (order < 0) best = i;
  }
  return best;
}

/** Live share below which a slice is emptied by copying: at least three bytes come back for one that is written. */
export const MOVE_SHARE = 0.25;
/** The same while all slices together take more than log.retention.total.bytes: space is worth more than writes. */
export const MOVE_SHARE_PRESSED = 0.75;

/** Whether a sealed slice's live batches are worth copying forward. */
export function worthMoving(liveBytes: number, sliceBytes: number, pressed: boolean): boolean {
  return liveBytes > 0 && liveBytes < sliceBytes * (pressed ? MOVE_SHARE_PRESSED : MOVE_SHARE);
}

/** What a sealed slice gives back once its live batches are copied out of it; 0: they are too many. */
export function reclaimable(liveBytes: number, sliceBytes: number): number {
  return liveBytes <= 0 || worthMoving(liveBytes, sliceBytes, true) ? sliceBytes - Math.max(0, liveBytes) : 0;
}

/** How long a slice is written at most, ms: an eighth of the shortest retention, at least ten seconds. */
export function sliceAgeLimit(retentionMs: Iterable<number>): number {
  let shortest = Number.POSITIVE_INFINITY;
  for (const ms of retentionMs) if (ms >= 0 && ms < shortest) shortest = ms;
  return Math.max(10_000, shortest / 8);
}
