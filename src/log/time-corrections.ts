/**
 * Batches that a wrong clock stamped, by offsets: reads give them the time at which they were written (docs/time.md). What is
 * stored stays as it is; a read of such a batch is a copy with 16 header bytes and the CRC made anew. Who knows what was wrong
 * and by how much: src/time/stretches.ts.
 */
import { openBatch } from '../wire/batch/compression.ts';
import {
  baseOffsetOf,
  baseTimestampOf,
  hasLogAppendTime,
  maxTimestampOf,
  shiftTimestamps,
} from '../wire/batch/record-batch.ts';
import type { Partition, ReadResult } from './types.ts';

export interface Correction {
  /** Offsets from `start` to below `end` ... */
  readonly start: number;
  readonly end: number;
  /** ... with timestamps from `from` to `to`, ms, inclusive: what a client stamped by a clock of its own is not among them ... */
  readonly from: number;
  readonly to: number;
  /** ... are early by so much, ms. */
  readonly by: number;
}

export class TimeCorrections {
  #all: ReadonlyMap<number, readonly Correction[]> = new Map();

  /** By partition id. */
  replace(all: ReadonlyMap<number, readonly Correction[]>): void {
    this.#all = all;
  }

  of(partitionId: number): readonly Correction[] | undefined {
    return this.#all.size === 0 ? undefined : this.#all.get(partitionId);
  }

  /** A record's time as reads give it, ms. */
  time(partitionId: number, offset: number, timestamp: number): number {
    return timestamp + shift(this.of(partitionId), offset, timestamp, timestamp);
  }
}

function shift(
  corrections: readonly Correction[] | undefined,
  offset: number,
  earliest: number,
  latest: number,
): number {
  for (const { start, end, from, to, by } of corrections ?? []) {
    if (offset >= start && offset < end && earliest >= from && latest <= to) return by;
  }
  return 0;
}

/** `batch` itself where nothing is to be corrected, else a copy. */
function correctedBatch(corrections: readonly Correction[], batch: Uint8Array): Uint8Array {
  const latest = maxTimestampOf(batch);
  const earliest = hasLogAppendTime(batch) ? latest : Math.min(latest, baseTimestampOf(batch));
  const by = shift(corrections, baseOffsetOf(batch), earliest, latest);
  if (by === 0) return batch;
  const copy = Buffer.from(batch);
  shiftTimestamps(copy, by);
  return copy;
}

export function correctedResult(corrections: readonly Correction[], result: ReadResult): ReadResult {
  return { ...result, batches: result.batches.map((batch) => correctedBatch(corrections, batch)) };
}

interface Found {
  readonly offset: number;
  readonly timestamp: number;
}

export function earlierOf(a: Found | null, b: Found | null): Found | null {
  return a === null || (b !== null && b.offset < a.offset) ? b : a;
}

const SCAN_BYTES = 256 * 1024;

/** The first record that is corrected to `timestamp` or later; the index knows the times that were stored. */
export async function firstCorrected(
  partition: Pick<Partition, 'logStartOffset' | 'highWatermark' | 'read'>,
  corrections: readonly Correction[],
  timestamp: number,
): Promise<Found | null> {
  const reaching = corrections.filter(({ to, by }) => to + by >= timestamp).sort((a, b) => a.start - b.start);
  for (const { start, end } of reaching) {
    const upTo = Math.min(end, partition.highWatermark);
    for (let from = Math.max(start, partition.logStartOffset); from < upTo; ) {
      const { batches, nextOffset } = await partition.read({ from, upTo, maxBytes: SCAN_BYTES });
      for (const batch of batches) {
        if (maxTimestampOf(batch) < timestamp) continue;
        const cursor = await openBatch(batch);
        while (cursor.next()) {
          const { offset, timestamp: time } = cursor;
          if (offset >= from && offset < upTo && time >= timestamp) return { offset, timestamp: time };
        }
      }
      if (nextOffset <= from) break;
      from = nextOffset;
    }
  }
  return null;
}
