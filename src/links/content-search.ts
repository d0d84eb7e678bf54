/**
 * How far the upstream partition is ours by its records alone, for when no cursor says it: the metadata was lost, or the
 * data directory put back from a copy older than what was sent since. What is ours comes first there and what is not
 * follows (unless others write to the partition too), so a binary search finds the end in some twenty small reads.
 */
import { baseOffsetOf, nextOffsetOf } from '../wire/batch/record-batch.ts';

export interface Matched {
  /** Upstream has our records below it. */
  readonly offset: number;
  /** The offset upstream behind the last batch that is wholly ours. */
  readonly upstreamNext: number;
}

/**
 * The last of upstream's batches, from `start` to `end`, that holds records of ours; `match` gives the offset here behind
 * those. Null when none is found.
 */
export async function lastMatch(
  range: { readonly start: number; readonly end: number },
  read: (offset: number) => Promise<Uint8Array | undefined>,
  match: (theirs: Uint8Array) => Promise<number | null>,
): Promise<Matched | null> {
  let low = range.start;
  let high = range.end;
  let best: Matched | null = null;
  while (low < high) {
    const theirs = await read(Math.floor((low + high) / 2));
    if (theirs === undefined) break;
    const offset = await match(theirs);
    if (offset === null) high = Math.min(high - 1, baseOffsetOf(theirs));
    else {
      low = nextOffsetOf(theirs);
      best = { offset, upstreamNext: low };
    }
  }
  return best;
}
