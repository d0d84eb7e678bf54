/**
 * Runs of small stored batches that go upstream as one batch: a device that publishes once a second makes batches of one
 * record, and a Produce request takes one batch of a partition, so round trips would limit a backlog of them.
 *
 * Where a run ends depends on the stored batches alone, never on what was read or is in memory: what is sent from an offset
 * is one of two things, the run that begins there or its first batch. Kafka knows a batch that comes twice by its first and
 * last sequence, so a resend must be able to be the same (partition-link.ts says when it is which).
 */
import { isMergeable } from '../wire/batch/merge.ts';
import type { Forwarded } from './outgoing.ts';

/** Stored bytes of a run at most: half a second of an uplink of 256 kbit/s, which a live record may have to wait. */
export const RUN_MAX_BYTES = 16 * 1024;
/** Larger batches go as they are. */
const SMALL_BYTES = 4 * 1024;

function isSmall({ batch }: Forwarded): boolean {
  return batch.length <= SMALL_BYTES && isMergeable(batch);
}

/**
 * Batches in the run that begins at `batches[from]`. While its end is not known (`open`: that takes more batches than
 * these) it is the first batch alone: a run is sent only when nothing can be added to it any more.
 */
export function runLength(
  batches: readonly Forwarded[],
  from = 0,
): { readonly length: number; readonly open: boolean } {
  let bytes = 0;
  for (let index = from; index < batches.length; index++) {
    const one = batches[index]!;
    bytes += one.batch.length;
    if (!isSmall(one) || bytes > RUN_MAX_BYTES) return { length: Math.max(1, index - from), open: false };
  }
  return { length: 1, open: true };
}
