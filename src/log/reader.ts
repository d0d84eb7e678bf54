/**
 * Reads of one partition from the slices: whole batches from an offset on, and by time. Steps are bounded by the bytes
 * asked for; nothing is read ahead. Every batch is checked against its CRC before anybody sees it (LevelDB's own
 * checksums are not verified on this path).
 */
import { HeadwaterError } from '../errors.ts';
import type { Database } from '../store/store.ts';
import { decompressRecords, loadCodec } from '../wire/batch/compression.ts';
import {
  baseOffsetOf,
  codecNumberOf,
  codecOf,
  lastOffsetOf,
  maxTimestampOf,
  recordCountOf,
} from '../wire/batch/record-batch.ts';
import { RecordCursor } from '../wire/batch/record-cursor.ts';
import type { DamagedRange } from './chunk-scan.ts';
import type { Stretch } from './key-filter.ts';
import { type RunBounds, RunScan } from './run-scan.ts';
import type { Run } from './run-table.ts';
import type { Segment, Segments } from './segments.ts';
import type { Slices } from './slice.ts';
import type { SliceWriter } from './slice-writer.ts';
import type { LabelQuery, ReadResult } from './types.ts';

/** One step of a search by time. */
const SEARCH_STEP_BYTES = 256 * 1024;
/** A reader that finds nothing of what it wants in so many runs is given the offset to go on from. */
const FILTERED_RUNS_MAX = 32;

function boundsOf(run: Run, segment: Segment): RunBounds {
  return {
    partitionId: run.partitionId,
    chunkId: run.firstChunk,
    baseOffset: Math.max(run.baseOffset, segment.baseOffset),
    lastOffset: Math.min(run.lastOffset, segment.lastOffset),
  };
}

export class LogReader {
  readonly #slices: Slices;
  readonly #writer: () => SliceWriter;
  readonly #onDamage: (range: DamagedRange) => void;
  /** Bytes of batches read from slices, and offsets passed over by key filters, since the start. */
  readBytes = 0;
  passedOffsets = 0;

  constructor(slices: Slices, writer: () => SliceWriter, onDamage: (range: DamagedRange) => void) {
    this.#slices = slices;
    this.#writer = writer;
    this.#onDamage = onDamage;
  }

  /** Runs of the segment's partition, in offset order, that end at or behind `offset` and lie inside the segment. */
  async #runs(partitionId: number, segment: Segment, database: Database, offset: number): Promise<Run[]> {
    const runs: Run[] = [];
    const add = (run: Run) => {
      if (run.baseOffset <= segment.lastOffset && run.lastOffset >= segment.baseOffset) runs.push(run);
    };
    const from = Math.max(offset, segment.baseOffset);
    for (const table of await this.#slices.tables(segment.slice, database)) {
      for (let i = table.find(partitionId, from); i >= 0 && i < table.length; i++) {
        if (table.partitionId(i) !== partitionId) break;
        add(table.run(i));
      }
    }
    const writer = this.#writer();
    if (writer.activeSlice === segment.slice) {
      for (const run of writer.openRuns(partitionId)) if (run.lastOffset >= from) add(run);
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

  /**
   * Whole batches from the one that contains `from`, before `upTo`, about `maxBytes`; at least one if there is any.
   * `records` leaves out the empty batches that stand for what compaction took; `stored` has them.
   */
  async read(
    partitionId: number,
    segments: Segments,
    from: number,
    upTo: number,
    maxBytes: number,
    what: 'stored' | 'records' = 'stored',
    only: LabelQuery | null = null,
  ): Promise<ReadResult> {
    let passedRuns = 0;
    const batches: Uint8Array[] = [];
    let bytes = 0;
    let next = from;
    while (next < upTo && (bytes < maxBytes || batches.length === 0)) {
      const segment = segments.at(segments.find(next));
      if (segment === undefined || segment.baseOffset >= upTo) {
        // A hole up to the end: there is nothing to wait for in it.
        next = upTo;
        break;
      }
      const before = next;
      let database: Database;
      try {
        database = await this.#slices.acquire(segment.slice);
      } catch (error) {
        // Taken out of the log while we asked for it (retention, quarantine): what follows is still there.
        if (segments.at(segments.find(next))?.slice === segment.slice) throw error;
        continue;
      }
      try {
        const runs = await this.#runs(partitionId, segment, database, next);
        if (runs.length === 0) await this.#unknown(partitionId, segment, database, next, segment.lastOffset);
        for (const run of runs) {
          if (next >= upTo || (bytes >= maxBytes && batches.length > 0)) break;
          if (run.baseOffset > next) await this.#unknown(partitionId, segment, database, next, run.baseOffset - 1);
          if (run.baseOffset >= upTo) break;
          if (Math.min(run.lastOffset, segment.lastOffset) < next) continue;
          const bounds = boundsOf(run, segment);
          let stretch = await this.#wanted(bounds, next, only, database);
          while (stretch !== null && next < upTo && (bytes < maxBytes || batches.length === 0)) {
            // From inside a batch the scan finds that batch; behind what was passed over it begins with one.
            const baseOffset = stretch.firstOffset > next ? stretch.firstOffset : bounds.baseOffset;
            this.passedOffsets += Math.max(0, stretch.firstOffset - next);
            next = Math.max(next, stretch.firstOffset);
            const within = { ...bounds, baseOffset, lastOffset: stretch.lastOffset };
            const scan = new RunScan(database, within, next, this.#onDamage);
            try {
              steps: for (;;) {
                const step = await scan.step(Math.max(1, maxBytes - bytes));
                if (step.length === 0) {
                  // What was not served up to its end is damaged, and told already.
                  const behind = stretch.lastOffset + 1;
                  next = Math.max(next, only === null ? Math.min(behind, upTo) : behind);
                  break;
                }
                for (const batch of step) {
                  this.readBytes += batch.byteLength;
                  if (baseOffsetOf(batch) >= upTo) {
                    next = upTo;
                    break steps;
                  }
                  if (what === 'records' && recordCountOf(batch) === 0) {
                    next = lastOffsetOf(batch) + 1;
                    continue;
                  }
                  if (batches.length > 0 && bytes + batch.byteLength > maxBytes) {
                    return { batches, bytes, nextOffset: next };
                  }
                  batches.push(batch);
                  bytes += batch.byteLength;
                  next = lastOffsetOf(batch) + 1;
                }
                if (bytes >= maxBytes) break;
              }
            } finally {
              await scan.close();
            }
            if (next <= stretch.lastOffset) break;
            stretch = await this.#wanted(bounds, next, only, database);
          }
          if (stretch === null && only !== null) {
            const end = Math.min(upTo, Math.max(next, bounds.lastOffset + 1));
            this.passedOffsets += end - next;
            next = end;
            if (++passedRuns >= FILTERED_RUNS_MAX && batches.length === 0) return { batches, bytes, nextOffset: next };
          }
        }
      } finally {
        this.#slices.release(segment.slice);
      }
      // A segment without a batch from here on (compacted, damaged): go on behind it.
      if (next === before && batches.length === 0) next = Math.max(next, segment.lastOffset + 1);
      else if (next === before) break;
    }
    return { batches, bytes, nextOffset: next };
  }

  /** The first stretch of the run from `from` on that a reader of `only` must read; null: the rest holds nothing of it. */
  async #wanted(bounds: RunBounds, from: number, only: LabelQuery | null, database: Database): Promise<Stretch | null> {
    const firstOffset = Math.max(from, bounds.baseOffset);
    const { lastOffset, chunkId, partitionId } = bounds;
    if (firstOffset > lastOffset) return null;
    const known = only !== null && chunkId !== this.#writer().chunkId;
    const filter = known ? await this.#slices.filter(chunkId, database) : null;
    return filter === null ? { firstOffset, lastOffset } : filter.next(partitionId, firstOffset, lastOffset, only!);
  }

  /** The segment says [next, last] is here, the index knows no run of it: a chunk is gone. */
  async #unknown(partitionId: number, segment: Segment, database: Database, next: number, last: number): Promise<void> {
    let firstOffset = segment.baseOffset;
    for (const run of await this.#runs(partitionId, segment, database, segment.baseOffset)) {
      if (run.lastOffset < next) firstOffset = run.lastOffset + 1;
    }
    this.#onDamage({ partitionId, firstOffset, lastOffset: last, reason: `${segment.slice.name} has lost a chunk` });
  }

  /** The first record at or after `timestamp`, from `logStart` on. */
  async offsetForTimestamp(
    partitionId: number,
    segments: Segments,
    timestamp: number,
    logStart: number,
  ): Promise<{ offset: number; timestamp: number } | null> {
    for (const segment of [...segments]) {
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
    const candidates = [...segments].filter((segment) => segment.lastOffset >= logStart);
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
        const scan = new RunScan(database, boundsOf(run, segment), Math.max(from, run.baseOffset), this.#onDamage);
        try {
          for (;;) {
            const step = await scan.step(SEARCH_STEP_BYTES);
            if (step.length === 0) break;
            for (const batch of step) {
              const found = await look(batch);
              if (found !== null) return found;
            }
          }
        } finally {
          await scan.close();
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
