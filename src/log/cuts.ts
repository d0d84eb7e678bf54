/**
 * Truncation (a follower whose log went another way than its leader's): batches are not erased from the slices that hold
 * them. The partition's row says instead that slices before a certain one count only up to an offset; they go with the slices.
 */
import type { Run } from './run-table.ts';

export interface Cut {
  /** Offsets from here on... */
  readonly offset: number;
  /** ...do not count in slices with ids below this. */
  readonly beforeSlice: number;
}

/** What is left of a run found in a slice; null: nothing. Its bytes are an estimate then. */
export function cutRun(cuts: readonly Cut[], sliceId: number, run: Run): Run | null {
  let { lastOffset } = run;
  for (const { offset, beforeSlice } of cuts) if (sliceId < beforeSlice) lastOffset = Math.min(lastOffset, offset - 1);
  if (lastOffset === run.lastOffset) return run;
  if (lastOffset < run.baseOffset) return null;
  const share = (lastOffset - run.baseOffset + 1) / (run.lastOffset - run.baseOffset + 1);
  return { ...run, lastOffset, bytes: Math.round(run.bytes * share) };
}

/** Tells which truncation was the last: slice ids ascend. 0: there was none. */
export function cutBeforeOf(cuts: readonly Cut[]): number {
  return cuts.reduce((latest, { beforeSlice }) => Math.max(latest, beforeSlice), 0);
}
