/**
 * What a clock that was wrong has stamped: when it is stepped forward, everything it said since the boot was early by the
 * step. Ages take that into account; the stored timestamps stay as they are.
 */

/** Wall-clock times, ms, that were early. */
export interface Span {
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
  /** By how much, ms. */
  readonly by: number;
  readonly bootId: string;
}

/** The oldest go: one step a boot is normal. */
export const SPANS_MAX = 16;

export interface Step {
  /** What the clock would have said now without it. */
  readonly wall: number;
  /** Milliseconds, positive. */
  readonly by: number;
  /** How long the clock had run undisturbed before, ms. */
  readonly ranFor: number;
  readonly bootId: string;
}

/** The spans after a step forward. What was stamped earlier in the same boot was early by this step as well. */
export function spansAfter(spans: readonly Span[], { wall, by, ranFor, bootId }: Step): Span[] {
  const earlier = spans.map((span) => (span.bootId === bootId ? { ...span, by: span.by + by } : span));
  return [...earlier, { from: wall - ranFor, to: wall, by, bootId }].slice(-SPANS_MAX);
}

/**
 * When a record with this timestamp was truly written, ms; null when no span holds it. Where several do (two boots in 1970),
 * the latest: what is uncertain is younger.
 */
export function correctedBy(spans: readonly Span[], timestamp: number): number | null {
  let latest: number | null = null;
  for (const { from, to, by } of spans) {
    if (timestamp < from || timestamp > to) continue;
    if (latest === null || timestamp + by > latest) latest = timestamp + by;
  }
  return latest;
}
