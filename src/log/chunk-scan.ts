/** Walks the batches of one chunk and finds its runs from them: when its record is not there yet, or damaged. */
import { asHeadwaterError } from '../errors.ts';
import { batchKey, CHUNK_RECORD_PARTITION, parseBatchKey } from '../store/keys.ts';
import type { Database } from '../store/store.ts';
import {
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  batchSizeOf,
  computeCrc,
  crcOf,
  lastOffsetOf,
  magicOf,
  maxTimestampOf,
} from '../wire/batch/record-batch.ts';
import type { Run } from './run-table.ts';

const STEP_ENTRIES = 256;
const STEP_BYTES = 1024 * 1024;

/** A stretch that could not be read: damaged batches between two that are sound. */
export interface DamagedRange {
  readonly partitionId: number;
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly reason: string;
}

/** What is wrong with stored bytes that should be one batch ending at `lastOffset`; null when nothing is. */
export function batchDamage(batch: Uint8Array, lastOffset: number): string | null {
  if (batch.length < BATCH_HEADER_BYTES) return `${batch.length} bytes are no batch`;
  if (batchSizeOf(batch) !== batch.length)
    return `the batch says ${batchSizeOf(batch)} bytes, ${batch.length} are there`;
  if (magicOf(batch) !== 2) return `magic ${magicOf(batch)}`;
  if (computeCrc(batch) !== crcOf(batch)) return 'the CRC does not match';
  // Base offset and epoch are outside the CRC; the key vouches for them.
  if (lastOffsetOf(batch) !== lastOffset) return `its offsets end at ${lastOffsetOf(batch)}, its key at ${lastOffset}`;
  return null;
}

/** The store found bytes or files that cannot be what was written; any other failure may pass by itself. */
export function isCorruption(error: unknown): boolean {
  const known = asHeadwaterError(error);
  if (known.code !== 'STORE_FAILED') return false;
  return /corrupt|checksum|bad block|truncated|missing|does not exist|not an sstable|invalid argument|no such file/i.test(
    known.message,
  );
}

export async function eachBatch(
  database: Database,
  chunkId: number,
  visit: (partitionId: number, lastOffset: number, batch: Uint8Array) => void,
): Promise<void> {
  const scanner = database.scan({ gte: batchKey(chunkId, 0, 0), lt: batchKey(chunkId, CHUNK_RECORD_PARTITION, 0) });
  try {
    for (;;) {
      const entries = await scanner.next(STEP_ENTRIES, STEP_BYTES);
      if (entries.length === 0) return;
      for (const { key, value } of entries) {
        const parsed = parseBatchKey(key);
        if (parsed !== null) visit(parsed.partitionId, parsed.lastOffset, value);
      }
    }
  } finally {
    await scanner.close();
  }
}

/** The runs of a chunk, from its batches. A damaged batch counts by its key; what it was is told to `onDamage`. */
export async function readRuns(
  database: Database,
  chunkId: number,
  onDamage: (range: DamagedRange) => void,
): Promise<Run[]> {
  const runs: { -readonly [K in keyof Run]: Run[K] }[] = [];
  await eachBatch(database, chunkId, (partitionId, lastOffset, batch) => {
    const damage = batchDamage(batch, lastOffset);
    const last = runs[runs.length - 1];
    const joins = last !== undefined && last.partitionId === partitionId;
    const baseOffset = damage === null ? baseOffsetOf(batch) : joins ? last.lastOffset + 1 : lastOffset;
    if (damage !== null) onDamage({ partitionId, firstOffset: baseOffset, lastOffset, reason: damage });
    const maxTimestamp = damage === null ? maxTimestampOf(batch) : -1;
    const bytes = batch.byteLength;
    if (joins && last.lastOffset + 1 === baseOffset) {
      last.lastOffset = lastOffset;
      last.bytes += bytes;
      last.maxTimestamp = Math.max(last.maxTimestamp, maxTimestamp);
    } else {
      runs.push({ partitionId, baseOffset, lastOffset, bytes, maxTimestamp, firstChunk: chunkId, lastChunk: chunkId });
    }
  });
  return runs;
}
