/**
 * Writes the one slice that is open for writing: keys, chunks, the roll to the next chunk and to the next slice. One
 * write at a time (the append queue's duty). A chunk is forced out of LevelDB's memtable when it closes, so that sorted
 * tables never overlap and are never rewritten.
 */
import type { Logger } from '../logger.ts';
import {
  BATCH_KEY_BYTES,
  batchKey,
  chunkFilterKey,
  chunkRecordKey,
  metaKey,
  metaRange,
  OUTSIDE_DATA,
  parseBatchKey,
  parseMetaKey,
  writeBatchKey,
} from '../store/keys.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';
import type { Database, WriteBatch } from '../store/store.ts';
import { KeyFilterBuilder } from './key-filter.ts';
import { type Run, RunTable } from './run-table.ts';
import { Slice, type Slices } from './slice.ts';
import { type ChunkFill, closesChunk, needsNewChunk } from './slice-size.ts';
import type { LogRecord } from './types.ts';

/** One batch on its way into the store. */
export interface StoredBatch {
  readonly partitionId: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly maxTimestamp: number;
  readonly batch: Uint8Array;
  /** Copied forward from an old slice, not appended. */
  readonly moved: boolean;
  /** What is in it, when it came as records. */
  readonly records?: readonly LogRecord[] | null;
}

type OpenRun = { -readonly [K in keyof Run]: Run[K] };

const HEAL_STEP_ENTRIES = 256;
const HEAL_STEP_BYTES = 1024 * 1024;

export interface SliceWriterOptions {
  readonly slices: Slices;
  readonly meta: MetaStore;
  readonly logger: Logger;
  /** Size at which the next slice begins, bytes. */
  readonly sliceBytes: () => number;
  readonly nextSliceId: number;
  readonly nextChunkId: number;
  /** The slice that was written before the last stop, to go on with; its database open and lent to the writer. */
  readonly resume: Slice | null;
  /** A chunk is closed and forced out: the time for producer snapshots. */
  readonly onChunkClosed: (chunkId: number) => void;
  readonly onSealed: (slice: Slice) => void;
}

/** The summary of a sealed slice: one run per partition and stretch, chunks merged, in whatever order they were written. */
export function summaryOf(tables: Iterable<RunTable>): RunTable {
  const byPartition = new Map<number, Run[]>();
  for (const table of tables) {
    for (const run of table.runs()) {
      const runs = byPartition.get(run.partitionId);
      if (runs === undefined) byPartition.set(run.partitionId, [run]);
      else runs.push(run);
    }
  }
  const merged: OpenRun[] = [];
  for (const runs of byPartition.values()) {
    let last: OpenRun | null = null;
    for (const run of runs.sort((a, b) => a.baseOffset - b.baseOffset)) {
      if (last === null || last.lastOffset + 1 !== run.baseOffset) {
        last = { ...run };
        merged.push(last);
        continue;
      }
      last.lastOffset = run.lastOffset;
      last.bytes += run.bytes;
      last.maxTimestamp = Math.max(last.maxTimestamp, run.maxTimestamp);
      last.firstChunk = Math.min(last.firstChunk, run.firstChunk);
      last.lastChunk = Math.max(last.lastChunk, run.lastChunk);
    }
  }
  return RunTable.of(merged);
}

/** Entries of a sealed slice in the metadata database. */
const SUMMARY = 0;
/** Its chunks' records once more: older directories have it, nobody reads it. */
const OLD_INDEX = 1;

export function sliceSummaryRange(): { gte: Uint8Array; lt: Uint8Array } {
  return metaRange('slice', SUMMARY);
}

/** The slice that a summary's key names. */
export function summarySliceId(key: Uint8Array): number {
  return parseMetaKey(key)[1] as number;
}

/** Stored when a slice is sealed and read at every start; the finer index is in the records of its chunks. */
export function sealOperations(sliceId: number, tables: readonly RunTable[]): MetaOperation[] {
  return [{ key: metaKey('slice', SUMMARY, sliceId), value: summaryOf(tables).bytes }];
}

export function unsealOperations(sliceId: number): MetaOperation[] {
  return [
    { key: metaKey('slice', SUMMARY, sliceId), value: null },
    { key: metaKey('slice', OLD_INDEX, sliceId), value: null },
  ];
}

export class SliceWriter {
  readonly #options: SliceWriterOptions;
  readonly #slices: Slices;
  readonly #key = Buffer.allocUnsafe(BATCH_KEY_BYTES);
  #slice: Slice | null = null;
  #nextSliceId: number;
  #chunkId: number;
  #writtenChunk = -1;
  #fill: { bytes: number; entries: number } = { bytes: 0, entries: 0 };
  #appended = new Map<number, OpenRun>();
  #moved: OpenRun[] = [];
  #filter = new KeyFilterBuilder();
  /** The chunk before this one on its way out of the memtable. */
  #forcing: Promise<void> = Promise.resolve();
  /** The chunks before that one are out: its turn has come, and the present chunk may have its memtable. */
  #turn: Promise<void> = Promise.resolve();
  #sealing: Promise<void> = Promise.resolve();
  #broken = false;
  /** A slice with at least one chunk is closed at the next chunk. */
  #rollAsked = false;

  constructor(options: SliceWriterOptions) {
    this.#options = options;
    this.#slices = options.slices;
    this.#nextSliceId = options.nextSliceId;
    this.#chunkId = options.nextChunkId;
    this.#slice = options.resume;
  }

  /** The slice and chunk that the last `write` went to. */
  get slice(): Slice {
    return this.#slice!;
  }

  /** null before the first write. */
  get activeSlice(): Slice | null {
    return this.#slice;
  }

  get writtenChunk(): number {
    return this.#writtenChunk;
  }

  /** The chunk that is being filled. */
  get chunkId(): number {
    return this.#chunkId;
  }

  /** Runs of the chunk that is being filled, of one partition; readers consult them beside the slice's tables. */
  openRuns(partitionId: number): Run[] {
    const runs: Run[] = this.#moved.filter((run) => run.partitionId === partitionId);
    const appended = this.#appended.get(partitionId);
    if (appended !== undefined) runs.push(appended);
    return runs.sort((a, b) => a.baseOffset - b.baseOffset);
  }

  /** The next write begins a new slice, however small the present one is (retention by time wants its space). */
  askRoll(): void {
    if (this.#slice !== null && this.#slice.firstChunk >= 0) this.#rollAsked = true;
  }

  /** Resolves when the slice before the present one is sealed. */
  sealed(): Promise<void> {
    return this.#sealing;
  }

  /**
   * Writes and syncs the batches as one. Rejects with DISK_FULL or STORE_FAILED; then none of them is stored (what a
   * failed write left behind is erased before the next).
   */
  async write(batches: readonly StoredBatch[], bytes: number): Promise<void> {
    const commit: ChunkFill = { bytes: bytes + batches.length * BATCH_KEY_BYTES, entries: batches.length };
    if (this.#broken) await this.#heal();
    const { writeBufferBytes } = this.#slices.options;
    const roll = this.#rollAsked && this.#fill.entries > 0;
    if (roll || needsNewChunk(this.#fill, commit, writeBufferBytes)) await this.#closeChunk();
    // Without a wait where none is needed: the write is issued before the caller goes on.
    if (this.#needsSlice()) await this.#openNext();
    if (batches.length === 0) return;
    // Where the disk is slower than we are the last chunk still waits to be forced out: a commit now would share its
    // memtable, and tables would overlap.
    if (this.#fill.entries === 0) await this.#turn;
    const slice = this.#slice!;
    const batch = slice.database!.batch();
    const chunkId = this.#chunkId;
    for (const stored of batches) {
      writeBatchKey(this.#key, chunkId, stored.partitionId, stored.lastOffset);
      batch.put(this.#key, stored.batch);
      const { partitionId, baseOffset, lastOffset, records = null } = stored;
      if (!stored.moved) this.#filter.add(partitionId, baseOffset, lastOffset, stored.batch.byteLength, records);
    }
    const closes = closesChunk(this.#fill, commit, writeBufferBytes);
    let table: RunTable | null = null;
    if (closes) {
      // The record joins the chunk's last commit: no synced write of its own.
      table = this.#tableWith(batches);
      this.#putRecord(batch, table);
    }
    try {
      await batch.commit();
    } catch (error) {
      this.#broken = true;
      throw error;
    }
    for (const stored of batches) this.#note(stored, this.#appended, this.#moved);
    slice.bytes += bytes;
    if (slice.firstChunk < 0) slice.firstChunk = chunkId;
    slice.lastChunk = chunkId;
    this.#writtenChunk = chunkId;
    this.#fill.bytes += commit.bytes;
    this.#fill.entries += commit.entries;
    if (table !== null) this.#chunkClosed(table);
  }

  #note(stored: StoredBatch, appended: Map<number, OpenRun>, moved: OpenRun[]): void {
    let run: OpenRun | undefined = stored.moved
      ? moved.find((r) => r.partitionId === stored.partitionId && r.lastOffset + 1 === stored.baseOffset)
      : appended.get(stored.partitionId);
    if (run === undefined) {
      run = {
        partitionId: stored.partitionId,
        baseOffset: stored.baseOffset,
        lastOffset: stored.lastOffset,
        bytes: 0,
        maxTimestamp: stored.maxTimestamp,
        firstChunk: this.#chunkId,
        lastChunk: this.#chunkId,
      };
      if (stored.moved) moved.push(run);
      else appended.set(stored.partitionId, run);
    }
    run.lastOffset = stored.lastOffset;
    run.bytes += stored.batch.byteLength;
    if (stored.maxTimestamp > run.maxTimestamp) run.maxTimestamp = stored.maxTimestamp;
    const slice = this.#slice;
    if (slice !== null && stored.maxTimestamp > slice.maxTimestamp) slice.maxTimestamp = stored.maxTimestamp;
  }

  #tableWith(batches: readonly StoredBatch[]): RunTable {
    const appended = new Map([...this.#appended].map(([id, run]) => [id, { ...run }]));
    const moved = this.#moved.map((run) => ({ ...run }));
    for (const stored of batches) this.#note(stored, appended, moved);
    return RunTable.of([...appended.values(), ...moved]);
  }

  /** There is none, or the present one is full and its last chunk is closed. */
  #needsSlice(): boolean {
    return this.#slice === null || (this.#fill.entries === 0 && this.#isFull(this.#slice));
  }

  async #openNext(): Promise<void> {
    const slice = this.#slice;
    const next = new Slice(this.#nextSliceId);
    const database = await this.#slices.store.open(next.name, this.#slices.databaseOptions());
    next.tables = [];
    next.users = 1;
    this.#nextSliceId++;
    this.#rollAsked = false;
    this.#slices.adopt(next, database);
    this.#slice = next;
    if (slice !== null) this.#sealing = this.#seal(slice, this.#forcing);
  }

  #isFull(slice: Slice): boolean {
    return slice.bytes >= this.#options.sliceBytes() || (this.#rollAsked && slice.firstChunk >= 0);
  }

  async #seal(slice: Slice, forced: Promise<void>): Promise<void> {
    await forced;
    const tables = slice.tables!;
    slice.sealed = true;
    slice.tables = null;
    slice.closeWhenIdle = true;
    this.#slices.release(slice);
    try {
      // Without it the slice is read again at the next start: nothing is lost, only time.
      await this.#options.meta.write(sealOperations(slice.id, tables));
    } catch (error) {
      this.#options.logger.warn({ slice: slice.name, error }, 'the summary of a sealed slice could not be written');
    }
    this.#options.onSealed(slice);
  }

  /** Writes the record of the present chunk in a synced write of its own. */
  async #closeChunk(): Promise<void> {
    const table = this.#tableWith([]);
    const batch = this.#slice!.database!.batch();
    this.#putRecord(batch, table);
    try {
      await batch.commit();
    } catch (error) {
      this.#broken = true;
      throw error;
    }
    this.#chunkClosed(table);
  }

  /** The record of the present chunk, and beside it what lets readers pass over parts of it. */
  #putRecord(batch: WriteBatch, table: RunTable): void {
    batch.put(chunkRecordKey(this.#chunkId), table.bytes);
    const filter = this.#filter.finish();
    if (filter !== null) batch.put(chunkFilterKey(this.#chunkId), filter);
  }

  #chunkClosed(table: RunTable): void {
    const slice = this.#slice!;
    const chunkId = this.#chunkId;
    slice.tables!.push(table);
    this.#beginChunk();
    // Issued before the next commit: it reaches LevelDB's writer queue first, so the next chunk begins a new memtable.
    const database = slice.database!;
    this.#turn = this.#forcing;
    this.#forcing = this.#forcing
      .then(() => database.compact(OUTSIDE_DATA, OUTSIDE_DATA))
      .catch((error: unknown) => {
        this.#options.logger.warn({ slice: slice.name, error }, 'a chunk could not be forced out of memory');
      });
    this.#options.onChunkClosed(chunkId);
  }

  #beginChunk(): void {
    this.#chunkId++;
    this.#fill = { bytes: 0, entries: 0 };
    this.#appended = new Map();
    this.#moved = [];
    this.#filter = new KeyFilterBuilder();
  }

  /**
   * After a failed write: reopens the database (LevelDB stays failed until then), erases what of the failed write is
   * there after all, and closes the chunk.
   */
  async #heal(): Promise<void> {
    const slice = this.#slice!;
    await this.#forcing;
    await this.#slices.close(slice).catch(() => {});
    // A reader may be opening it again at the same time: both share that.
    const database = await this.#slices.acquire(slice);
    this.#slices.release(slice);
    const batch = database.batch();
    await this.#eraseUnknown(database, (key) => batch.del(key));
    if (this.#fill.entries > 0) {
      const table = this.#tableWith([]);
      this.#putRecord(batch, table);
      await batch.commit();
      this.#broken = false;
      this.#chunkClosed(table);
    } else {
      await batch.commit();
      this.#broken = false;
      this.#beginChunk();
    }
    this.#options.logger.info({ slice: slice.name }, 'the store was reopened after a failed write');
  }

  async #eraseUnknown(database: Database, erase: (key: Uint8Array) => void): Promise<void> {
    const scanner = database.scan({ gte: batchKey(this.#chunkId, 0, 0), lte: chunkRecordKey(this.#chunkId) });
    try {
      for (;;) {
        const entries = await scanner.next(HEAL_STEP_ENTRIES, HEAL_STEP_BYTES);
        if (entries.length === 0) return;
        for (const { key } of entries) {
          const parsed = parseBatchKey(key);
          const known = parsed !== null && this.#covers(parsed.partitionId, parsed.lastOffset);
          if (!known) erase(key);
        }
      }
    } finally {
      await scanner.close();
    }
  }

  #covers(partitionId: number, offset: number): boolean {
    return this.openRuns(partitionId).some((run) => run.baseOffset <= offset && offset <= run.lastOffset);
  }

  /** Closes the present chunk so that the next start has no tail to read. */
  async close(): Promise<void> {
    if (this.#slice !== null && !this.#broken && this.#fill.entries > 0) await this.#closeChunk();
    await this.#forcing;
    await this.#sealing;
  }
}
