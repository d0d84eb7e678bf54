/**
 * Copies the live batches of an old slice forward, as they are, offsets unchanged, in the stream of commits: so that a
 * long-lived small topic does not pin a big slice. Small steps; a crash in between leaves two equal copies, and the newer
 * one serves.
 */
import { baseOffsetOf, lastOffsetOf, maxTimestampOf } from '../wire/batch/record-batch.ts';
import type { AppendQueue } from './append-queue.ts';
import type { LogPartition } from './partition.ts';
import type { LogReader } from './reader.ts';
import type { Slice } from './slice.ts';
import type { StoredBatch } from './slice-writer.ts';

/** One step: read, committed and re-pointed as a whole. */
export const MOVE_STEP_BYTES = 256 * 1024;

export class Mover {
  readonly #queue: AppendQueue;
  readonly #reader: LogReader;
  movedBytes = 0;

  constructor(queue: AppendQueue, reader: LogReader) {
    this.#queue = queue;
    this.#reader = reader;
  }

  /**
   * Moves at most about `budget` bytes out of `slice`. Returns the bytes moved; less than the budget means that nothing
   * live is left in it (or that a partition was deleted meanwhile: the next pass sees).
   */
  async move(slice: Slice, partitions: Iterable<LogPartition>, budget: number): Promise<number> {
    let moved = 0;
    for (const partition of partitions) {
      for (;;) {
        const segment = partition.segments.in(slice);
        if (segment === undefined) break;
        if (moved >= budget) return moved;
        const bytes = await this.#step(partition, segment.baseOffset, segment.lastOffset);
        moved += bytes;
      }
    }
    return moved;
  }

  async #step(partition: LogPartition, firstOffset: number, lastOffset: number): Promise<number> {
    const from = Math.max(firstOffset, partition.logStartOffset);
    const { batches, nextOffset } = await this.#reader.read(
      partition.id,
      partition.segments,
      from,
      lastOffset + 1,
      MOVE_STEP_BYTES,
    );
    const stored: StoredBatch[] = [];
    let bytes = 0;
    let maxTimestamp = -1;
    for (const batch of batches) {
      const timestamp = maxTimestampOf(batch);
      if (timestamp > maxTimestamp) maxTimestamp = timestamp;
      bytes += batch.byteLength;
      stored.push({
        partitionId: partition.id,
        baseOffset: baseOffsetOf(batch),
        lastOffset: lastOffsetOf(batch),
        maxTimestamp: timestamp,
        batch,
        moved: true,
      });
    }
    if (stored.length === 0) {
      // Damaged or compacted away: there is nothing to carry.
      partition.segments.forget(firstOffset, lastOffset);
      return 0;
    }
    const at = await new Promise<{ slice: Slice; chunkId: number }>((resolve, reject) => {
      this.#queue.move({ batches: stored, bytes, resolve, reject });
    });
    partition.movedTo(at.slice, {
      partitionId: partition.id,
      baseOffset: stored[0]!.baseOffset,
      lastOffset: Math.min(nextOffset - 1, lastOffset),
      bytes,
      maxTimestamp,
      firstChunk: at.chunkId,
      lastChunk: at.chunkId,
    });
    this.movedBytes += bytes;
    return bytes;
  }
}
