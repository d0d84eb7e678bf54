/**
 * Batches without the records that compaction takes. Offsets stay: base offset and lastOffsetDelta are those of before,
 * the records keep their bytes. What is empty becomes a header without records that stands for its offsets, so that a
 * partition's stored offsets stay dense (a gap is always damage) and an older copy below never comes to light.
 */
import { loadCodec } from '../wire/batch/compression.ts';
import {
  attributesOf,
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_END,
  baseOffsetOf,
  CODEC_MASK,
  codecOf,
  hasLogAppendTime,
  lastOffsetOf,
  leaderEpochOf,
  patchCrc,
  writeInt16,
  writeInt32,
  writeInt64,
} from '../wire/batch/record-batch.ts';
import type { RecordCursor } from '../wire/batch/record-cursor.ts';
import { compressBatch } from '../wire/batch/record-encoder.ts';
import { recordsOf } from './reader.ts';

/** lastOffsetDelta is an int32. */
const EMPTY_SPAN_MAX = 2_147_483_647;

/** A batch of no records that covers [baseOffset, lastOffset]. No producer: its sequences are in the snapshots. */
export function emptyBatch(baseOffset: number, lastOffset: number, leaderEpoch: number): Buffer {
  const batch = Buffer.alloc(BATCH_HEADER_BYTES);
  writeInt64(batch, 0, baseOffset);
  writeInt32(batch, 8, BATCH_HEADER_BYTES - BATCH_LENGTH_END);
  writeInt32(batch, 12, leaderEpoch);
  batch[16] = 2;
  writeInt32(batch, 23, lastOffset - baseOffset);
  // Times, producer id and epoch, sequence: -1.
  batch.fill(0xff, 27, 57);
  patchCrc(batch);
  return batch;
}

/** The batch with the records that `keep` wants: itself when all are, null when none is. Throws what its records throw. */
export async function keepRecords(
  batch: Uint8Array,
  keep: (record: RecordCursor) => boolean,
): Promise<Uint8Array | null> {
  const cursor = await recordsOf(batch);
  const kept: Buffer[] = [];
  let removed = 0;
  let maxTimestamp = -1;
  while (cursor.next()) {
    if (!keep(cursor)) {
      removed++;
      continue;
    }
    kept.push(cursor.raw);
    if (cursor.timestamp > maxTimestamp) maxTimestamp = cursor.timestamp;
  }
  if (removed === 0) return batch;
  if (kept.length === 0) return null;
  const plain = Buffer.concat([batch.subarray(0, BATCH_HEADER_BYTES), ...kept]);
  writeInt32(plain, 8, plain.length - BATCH_LENGTH_END);
  writeInt16(plain, 21, attributesOf(batch) & ~CODEC_MASK);
  if (!hasLogAppendTime(batch)) writeInt64(plain, 35, maxTimestamp);
  writeInt32(plain, 57, kept.length);
  patchCrc(plain);
  const name = codecOf(batch);
  return name === 'none' ? plain : compressBatch(plain, await loadCodec(name, { compress: true }));
}

/** Gathers kept batches, and one empty batch for each stretch of offsets that nothing is left of. */
export class CompactedBatches {
  readonly batches: Uint8Array[] = [];
  changed = false;
  #empty: { readonly base: number; last: number; readonly epoch: number; readonly only: Uint8Array | null } | null =
    null;

  keep(batch: Uint8Array, changed: boolean): void {
    this.flush();
    this.batches.push(batch);
    if (changed) this.changed = true;
  }

  /** Nothing is left of the batch; `wasEmpty`: and nothing was before. */
  drop(batch: Uint8Array, wasEmpty: boolean): void {
    const last = lastOffsetOf(batch);
    if (!wasEmpty) this.changed = true;
    if (this.#empty !== null && last - this.#empty.base <= EMPTY_SPAN_MAX) {
      this.#empty = { ...this.#empty, last, only: null };
      this.changed = true;
      return;
    }
    this.flush();
    this.#empty = { base: baseOffsetOf(batch), last, epoch: leaderEpochOf(batch), only: wasEmpty ? batch : null };
  }

  flush(): void {
    const empty = this.#empty;
    this.#empty = null;
    if (empty !== null) this.batches.push(empty.only ?? emptyBatch(empty.base, empty.last, empty.epoch));
  }
}
