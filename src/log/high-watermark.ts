/** The high watermark and the in-sync rule, numbers in, numbers out (Kafka's replica set rules). */

/** The smallest log end among the in-sync replicas; it never moves back. */
export function nextHighWatermark(current: number, localEnd: number, inSyncEnds: Iterable<number>): number {
  let smallest = localEnd;
  for (const end of inSyncEnds) if (end < smallest) smallest = end;
  return Math.max(current, smallest);
}

/** A member stays in sync while it has the whole log, or had it within the last `maxLagMs` (replica.lag.time.max.ms). */
export function staysInSync(end: number, localEnd: number, now: number, caughtUpAt: number, maxLagMs: number): boolean {
  return end >= localEnd || now - caughtUpAt <= maxLagMs;
}

/** A replica joins when nothing that consumers may have seen is missing on it. */
export function mayJoin(end: number, highWatermark: number): boolean {
  return end >= highWatermark;
}

/**
 * When a replica last had everything, after it confirmed `end` at `now`: now, when it has the whole log; the time of its
 * previous confirmation, when it has what the log held then (it keeps up with a log that grows all the time).
 */
export function caughtUpTime(
  end: number,
  localEnd: number,
  now: number,
  previous: { readonly at: number; readonly localEnd: number },
  caughtUpAt: number,
): number {
  if (end >= localEnd) return now;
  if (end >= previous.localEnd) return Math.max(caughtUpAt, previous.at);
  return caughtUpAt;
}
