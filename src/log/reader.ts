/**
 * Reads of one partition from the slices: whole batches from an offset on, and by time. Steps are bounded by the bytes
 * asked for; nothing is read ahead. Every batch is checked against its CRC before anybody sees it (LevelDB's own
 * checksums are not verified on this path).
 */
import { HeadwaterError } from '../errors.ts';
import { batchKey } from '../store/keys.ts';
import type { Database } from '../store/store.ts';
import { decompressRecords, loadCodec } from '../wire/batch/compression.ts';
import {
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  batchSizeOf,
  codecNumberOf,
  codecOf,
  computeCrc,
  crcOf,
  lastOffsetOf,
  magicOf,
  maxTimestampOf,
} from '../wire/batch/record-batch.ts';
import { RecordCursor } from '../wire/batch/record-cursor.ts';
import type { Run } from './run-table.ts';
import type { Segment, Segments } from './segments.ts';
import type { Slices } from './slice.ts';
import type { SliceWriter } from './slice-writer.ts';
import type { ReadResult } from './types.ts';

/** Entries of one step: small batches make many of them. */
const STEP_ENTRIES = 512;
/** One step of a search by time. */
const SEARCH_STEP_BYTES = 256 * 1024;

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

export class LogReader {
  readonly #slices: Slices;
  readonly #writer: () => SliceWriter;
  readonly #onDamage: (range: DamagedRange) => void;

  constructor(slices: Slices, writer: () => SliceWriter, onDamage: (range: DamagedRange) => void) {
    this.#slices = slices;
    this.#writer = writer;
    this.#onDamage = onDamage;
  }

  /** Runs of the segment's partition, in offset order, that end at or behind `from` and lie inside the segment. */
  async #runs(partitionId: number, segment: Segment, database: Database, from: number): Promise<Run[]> {
    const tables = await this.#slices.tables(segment.slice, database);
    const runs: Run[] = [];
    const add = (run: Run) => {
      if (run.lastOffset >= from && run.baseOffset <= segment.lastOffset && run.lastOffset >= segment.baseOffset) {
        runs.push(run);
      }
    };
    const writer = this.#writer();
    for (let chunkId = segment.firstChunk; chunkId <= segment.lastChunk; chunkId++) {
      const table = tables.get(chunkId);
      if (table === undefined) {
        if (chunkId === writer.chunkId && writer.activeSlice === segment.slice)
          writer.openRuns(partitionId).forEach(add);
        continue;
      }
      for (let i = table.find(partitionId, from); i >= 0 && i < table.length; i++) {
        if (table.partitionId(i) !== partitionId) break;
        add(table.run(i));
      }
    }
    return runs.sort((a, b) => a.baseOffset - b.baseOffset);
  }

  /** The segment's runs, for retention. */
  async stretches(partitionId: number, segment: Segment): Promise<Run[]> {
    const database = await this.#slices.acquire(segment.slice);
    try {
      return await this.#runs(partitionId, segment, database, segment.baseOffset);
    } finally {
      this.#slices.release(segment.slice);
    }
  }

  /** Whole batches from the one that contains `from`, before `upTo`, about `maxBytes`; at least one if there is any. */
  async read(
    partitionId: number,
    segments: Segments,
    from: number,
    upTo: number,
    maxBytes: number,
  ): Promise<ReadResult> {
    const batches: Uint8Array[] = [];
    let bytes = 0;
    let next = from;
    while (next < upTo && (bytes < maxBytes || batches.length === 0)) {
      const segment = segments.list[segments.find(next)];
      if (segment === undefined || segment.baseOffset >= upTo) break;
      const before = next;
      const database = await this.#slices.acquire(segment.slice);
      try {
        for (const run of await this.#runs(partitionId, segment, database, next)) {
          if (run.baseOffset >= upTo || (bytes >= maxBytes && batches.length > 0)) break;
          const last = Math.min(run.lastOffset, segment.lastOffset);
          if (last < next) continue;
          const scanner = database.scan({
            gte: batchKey(run.firstChunk, partitionId, Math.max(next, run.baseOffset)),
            lte: batchKey(run.firstChunk, partitionId, last),
          });
          try {
            scan: for (;;) {
              const entries = await scanner.next(STEP_ENTRIES, Math.max(1, maxBytes - bytes));
              if (entries.length === 0) break;
              for (const { key, value } of entries) {
                const lastOffset = Buffer.from(key.buffer, key.byteOffset + 8, 8).readBigUInt64BE();
                const damage = batchDamage(value, Number(lastOffset));
                if (damage !== null) {
                  this.#onDamage({ partitionId, firstOffset: next, lastOffset: Number(lastOffset), reason: damage });
                  next = Number(lastOffset) + 1;
                  continue;
                }
                if (baseOffsetOf(value) >= upTo) break scan;
                if (batches.length > 0 && bytes + value.byteLength > maxBytes) {
                  return { batches, bytes, nextOffset: next };
                }
                batches.push(value);
                bytes += value.byteLength;
                next = Number(lastOffset) + 1;
              }
              if (bytes >= maxBytes) break;
            }
          } finally {
            await scanner.close();
          }
        }
      } finally {
        this.#slices.release(segment.slice);
      }
      // A segment without a batch from here on (compacted, damaged): go on behind it.
      if (next === before) next = Math.max(next, segment.lastOffset + 1);
    }
    return { batches, bytes, nextOffset: next };
  }

  /** The first record at or after `timestamp`, from `logStart` on. */
  async offsetForTimestamp(
    partitionId: number,
    segments: Segments,
    timestamp: number,
    logStart: number,
  ): Promise<{ offset: number; timestamp: number } | null> {
    for (const segment of [...segments.list]) {
      if (segment.maxTimestamp < timestamp || segment.lastOffset < logStart) continue;
      const inRun = (run: Run) => run.maxTimestamp >= timestamp;
      const found = await this.#searchSegment(partitionId, segment, logStart, inRun, (batch) =>
        maxTimestampOf(batch) < timestamp ? null : firstRecord(batch, (ts) => ts >= timestamp, logStart),
      );
      if (found !== null) return found;
    }
    return null;
  }

  /** The record with the largest timestamp; the first of them when several have it. */
  async offsetOfMaxTimestamp(
    partitionId: number,
    segments: Segments,
    logStart: number,
  ): Promise<{ offset: number; timestamp: number } | null> {
    const candidates = segments.list.filter((segment) => segment.lastOffset >= logStart);
    candidates.sort((a, b) => b.maxTimestamp - a.maxTimestamp || a.baseOffset - b.baseOffset);
    let best = null as { offset: number; timestamp: number } | null;
    for (const segment of candidates) {
      if (best !== null && segment.maxTimestamp <= best.timestamp) break;
      const inRun = (run: Run): boolean => best === null || run.maxTimestamp > best.timestamp;
      await this.#searchSegment(partitionId, segment, logStart, inRun, async (batch) => {
        const largest = maxTimestampOf(batch);
        if (best === null || largest > best.timestamp) {
          best = (await firstRecord(batch, (ts) => ts >= largest, logStart)) ?? best;
        }
        return null;
      });
    }
    return best;
  }

  async #searchSegment<T>(
    partitionId: number,
    segment: Segment,
    from: number,
    inRun: (run: Run) => boolean,
    look: (batch: Uint8Array) => Promise<T | null> | T | null,
  ): Promise<T | null> {
    const database = await this.#slices.acquire(segment.slice);
    try {
      for (const run of await this.#runs(partitionId, segment, database, from)) {
        if (!inRun(run)) continue;
        const scanner = database.scan({
          gte: batchKey(run.firstChunk, partitionId, Math.max(from, run.baseOffset, segment.baseOffset)),
          lte: batchKey(run.firstChunk, partitionId, Math.min(run.lastOffset, segment.lastOffset)),
        });
        try {
          for (;;) {
            const entries = await scanner.next(STEP_ENTRIES, SEARCH_STEP_BYTES);
            if (entries.length === 0) break;
            for (const { value } of entries) {
              if (value.length < BATCH_HEADER_BYTES || computeCrc(value) !== crcOf(value)) continue;
              const found = await look(value);
              if (found !== null) return found;
            }
          }
        } finally {
          await scanner.close();
        }
      }
      return null;
    } finally {
      this.#slices.release(segment.slice);
    }
  }
}

/** A cursor over the records of a stored batch, decompressed where necessary. */
export async function recordsOf(batch: Uint8Array): Promise<RecordCursor> {
  if (codecNumberOf(batch) === 0) return new RecordCursor(batch);
  const codec = await loadCodec(codecOf(batch));
  return new RecordCursor(batch, decompressRecords(batch, codec));
}

async function firstRecord(
  batch: Uint8Array,
  wanted: (timestamp: number) => boolean,
  from: number,
): Promise<{ offset: number; timestamp: number } | null> {
  try {
    const cursor = await recordsOf(batch);
    while (cursor.next()) {
      if (cursor.offset >= from && wanted(cursor.timestamp))
        return { offset: cursor.offset, timestamp: cursor.timestamp };
    }
  } catch (error) {
    // A producer may store records that no codec can open: they have no times, the next batch has.
    if (!(error instanceof HeadwaterError)) throw error;
  }
  return null;
}
