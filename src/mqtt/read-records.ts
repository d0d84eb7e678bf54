/** Reads visible records of a partition one by one: no control records, none of aborted transactions. */
import { HeadwaterError } from '../errors.ts';
import type { AbortedTransaction, LabelQuery, LogRecord, Partition } from '../log/types.ts';
import { openBatch } from '../wire/batch/compression.ts';
import { baseOffsetOf, isControl, isTransactional, nextOffsetOf, producerIdOf } from '../wire/batch/record-batch.ts';
import type { RecordCursor } from '../wire/batch/record-cursor.ts';

/** How long a reader waits when the store does not answer now but may later. */
export const READ_RETRY_MS = 1_000;

/** The same read may succeed later: nothing may be skipped because of it. */
export function isPassing(error: unknown): boolean {
  return error instanceof HeadwaterError && (error.code === 'STORE_FAILED' || error.code === 'SHUTTING_DOWN');
}

/** False stops before this record: the read ends with its offset. */
export type EachRecord = (offset: number, record: LogRecord) => boolean;

function isAborted(batch: Uint8Array, aborted: readonly AbortedTransaction[]): boolean {
  if (!isTransactional(batch)) return false;
  const producer = producerIdOf(batch);
  const base = baseOffsetOf(batch);
  return aborted.some((one) => one.producerId === producer && one.firstOffset <= base && base < one.lastOffset);
}

/** Passes over records below `from`. The offset at which `each` stopped it, or null. */
function walk(cursor: RecordCursor, from: number, each: EachRecord): number | null {
  while (cursor.next()) {
    if (cursor.offset < from) continue;
    const { key, value, timestamp } = cursor;
    if (!each(cursor.offset, { key, value, timestamp, headers: cursor.headers() })) return cursor.offset;
  }
  return null;
}

/**
 * Reads about `maxBytes` from `from` (at or above the log start) and returns the offset to go on from; with `only` others
 * than those may be left out. Rejects as `Partition.read` does.
 */
export async function readRecords(
  partition: Partition,
  from: number,
  upTo: number,
  maxBytes: number,
  each: EachRecord,
  only: LabelQuery | null = null,
): Promise<number> {
  const { batches, nextOffset } = await partition.read({ from, upTo, maxBytes, ...(only === null ? {} : { only }) });
  const aborted = batches.some((batch) => isTransactional(batch))
    ? partition.abortedTransactions(from, nextOffset)
    : [];
  for (const batch of batches) {
    if (isControl(batch) || isAborted(batch, aborted)) continue;
    const opened = openBatch(batch);
    const cursor = opened instanceof Promise ? await opened : opened;
    const stopped = walk(cursor, from, each);
    if (stopped !== null) return stopped;
  }
  const last = batches[batches.length - 1];
  return Math.max(nextOffset, last === undefined ? from : nextOffsetOf(last));
}
