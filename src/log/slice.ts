/**
 * A slice: one database holding a stretch of arrival time of all partitions. Opened when it is needed and closed when
 * others are needed more. Exactly one is written (slice-writer.ts); the others only read, moved from and removed.
 */
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import { chunkFilterKey, chunkRecordKey, sliceName } from '../store/keys.ts';
import type { Database, DatabaseOptions, Store } from '../store/store.ts';
import { crc32c } from '../wire/batch/crc32c.ts';
import { isCorruption, readRuns } from './chunk-scan.ts';
import { KeyFilter, KeyFilterCache } from './key-filter.ts';
import { RunTable } from './run-table.ts';

export interface SliceOptions {
  /** LevelDB's memtable of the slice that is written, bytes. */
  readonly writeBufferBytes: number;
  /** Sealed slices that may be open at a time; one in use is never closed. */
  readonly openSlicesMax: number;
  /** Chunk indexes of sealed slices kept in memory, bytes. */
  readonly indexMaxBytes: number;
  /** Key filters of chunks kept in memory, bytes. */
  readonly filterMaxBytes: number;
}

function absentWhereCorrupt(error: unknown): undefined {
  if (!isCorruption(error)) throw error;
}

export class Slice {
  readonly id: number;
  readonly name: string;
  /** Ids of the chunks in it; `lastChunk` moves while it is written. Both -1 while it is empty. */
  firstChunk = -1;
  lastChunk = -1;
  /** Bytes of all batches written to it, dead ones included. */
  bytes = 0;
  /** What of it could be read when retention counted last: the segments of partitions that lie in it, and their bytes. */
  liveSegments = 0;
  liveBytes = 0;
  /** Largest record timestamp in it, ms; -1 while it is empty. */
  maxTimestamp = -1;
  sealed = false;
  /** The chunk index, ascending; null: not in memory. Always in memory while the slice is written. */
  tables: RunTable[] | null = null;
  database: Database | null = null;
  opening: Promise<Database> | null = null;
  /** Readers and the writer at work on the database. */
  users = 0;
  lastUse = 0;
  /** Set when its files are gone or about to be: nobody may open it again. */
  removed = false;
  /** It was sealed while it was open for writing: closed when its last user leaves, to be opened for reading only. */
  closeWhenIdle = false;
  /** Called when the last user leaves a slice that is to be removed. */
  onIdle: (() => void) | null = null;

  constructor(id: number) {
    this.id = id;
    this.name = sliceName(id);
  }
}

/** All slices: opens, lends, closes the longest unused, removes. */
export class Slices {
  readonly store: Store;
  readonly options: SliceOptions;
  readonly all = new Map<number, Slice>();
  /** A slice cannot be opened nor repaired: its owner takes its segments out and quarantines it. */
  onUnreadable: (slice: Slice, reason: string) => void = () => {};
  readonly filters: KeyFilterCache;
  #clock = 0;
  #open = 0;
  #closing = new Map<Slice, Promise<void>>();

  constructor(store: Store, options: SliceOptions) {
    this.store = store;
    this.options = options;
    this.filters = new KeyFilterCache(options.filterMaxBytes);
  }

  get openCount(): number {
    return this.#open;
  }

  /** Bytes of all batches in all slices, dead ones included. */
  get storedBytes(): number {
    let bytes = 0;
    for (const slice of this.all.values()) bytes += slice.bytes;
    return bytes;
  }

  /** Bytes of the chunk indexes in memory. */
  get indexBytes(): number {
    let bytes = 0;
    for (const slice of this.all.values()) {
      if (slice.tables !== null) for (const table of slice.tables) bytes += table.byteLength;
    }
    return bytes;
  }

  databaseOptions(): DatabaseOptions {
    return {
      writeBufferBytes: this.options.writeBufferBytes,
      cacheBytes: 64 * 1024,
      blockBytes: 16 * 1024,
      maxFileBytes: 2 * 1024 * 1024,
    };
  }

  /** Lends the database; `release` gives it back. Rejects with STORE_FAILED when it cannot be opened. */
  acquire(slice: Slice): Database | Promise<Database> {
    if (slice.removed) {
      return Promise.reject(new HeadwaterError('OFFSET_OUT_OF_RANGE', `${slice.name} has been removed by retention`));
    }
    slice.users++;
    slice.lastUse = ++this.#clock;
    if (slice.database !== null) return slice.database;
    slice.opening ??= this.#openSlice(slice);
    return slice.opening.catch((error: unknown) => {
      this.release(slice);
      throw error;
    });
  }

  async #openSlice(slice: Slice): Promise<Database> {
    try {
      await this.#closing.get(slice);
      slice.database = await this.#openOrRepair(slice);
      this.#open++;
      this.#closeSurplus();
      return slice.database;
    } finally {
      slice.opening = null;
    }
  }

  async #openOrRepair(slice: Slice): Promise<Database> {
    const options = { ...this.databaseOptions(), mustExist: true };
    const open = () => this.store.open(slice.name, slice.sealed ? { ...options, sealed: crc32c } : options);
    try {
      return await open();
    } catch (error) {
      if (!isCorruption(error)) throw error;
      try {
        await this.store.repair(slice.name);
        return await open();
      } catch (second) {
        // The one that is written stays: its writer tries again, and the next start decides.
        if (isCorruption(second) && slice.sealed) this.onUnreadable(slice, asHeadwaterError(error).message);
        throw second;
      }
    }
  }

  /** A slice that was just created for writing, with its database open. */
  adopt(slice: Slice, database: Database): void {
    this.all.set(slice.id, slice);
    slice.database = database;
    slice.lastUse = ++this.#clock;
    this.#open++;
  }

  release(slice: Slice): void {
    slice.users--;
    if (slice.users > 0) return;
    if (slice.onIdle !== null) slice.onIdle();
    else if (slice.closeWhenIdle) {
      slice.closeWhenIdle = false;
      void this.close(slice).catch(() => {});
    } else if (this.#open > this.options.openSlicesMax) this.#closeSurplus();
  }

  #closeSurplus(): void {
    while (this.#open > this.options.openSlicesMax) {
      let oldest: Slice | null = null;
      for (const slice of this.all.values()) {
        if (slice.database === null || slice.users > 0 || !slice.sealed) continue;
        if (oldest === null || slice.lastUse < oldest.lastUse) oldest = slice;
      }
      if (oldest === null) return;
      void this.close(oldest).catch(() => {});
    }
  }

  /** Closes an idle slice's database, if it is open. */
  close(slice: Slice): Promise<void> {
    const { database } = slice;
    if (database === null) return this.#closing.get(slice) ?? Promise.resolve();
    slice.database = null;
    this.#open--;
    const closing = database.close().finally(() => this.#closing.delete(slice));
    this.#closing.set(slice, closing);
    return closing;
  }

  /** The chunk index of a slice whose database the caller has acquired; reads the chunk records when they are not here. */
  async tables(slice: Slice, database: Database): Promise<RunTable[]> {
    if (slice.tables !== null) return slice.tables;
    slice.tables = await this.#chunkRecords(slice, database);
    this.#dropIndexes(slice);
    return slice.tables;
  }

  /** The key filter of a chunk that is closed; null: it has none that can be read. */
  async filter(chunkId: number, database: Database): Promise<KeyFilter | null> {
    const known = this.filters.get(chunkId);
    if (known !== undefined) return known;
    const stored = await database.get(chunkFilterKey(chunkId)).catch(absentWhereCorrupt);
    const filter = stored === undefined ? null : KeyFilter.parse(stored);
    this.filters.put(chunkId, filter);
    return filter;
  }

  async #chunkRecords(slice: Slice, database: Database): Promise<RunTable[]> {
    const tables: RunTable[] = [];
    for (let chunkId = slice.firstChunk; chunkId >= 0 && chunkId <= slice.lastChunk; chunkId++) {
      const stored = await database.get(chunkRecordKey(chunkId)).catch(absentWhereCorrupt);
      const table = stored === undefined ? null : RunTable.parse(stored);
      // Absent (a chunk of another slice, or the crash came first) or damaged: the batches themselves know. Where they cannot be
      // read either the reader finds the chunk missing.
      const runs = table === null ? await readRuns(database, chunkId, () => {}).catch(absentWhereCorrupt) : [];
      tables.push(table ?? RunTable.of(runs ?? []));
    }
    return tables;
  }

  #dropIndexes(keep: Slice): void {
    let surplus = this.indexBytes - this.options.indexMaxBytes;
    if (surplus <= 0) return;
    const candidates = [...this.all.values()]
      .filter((slice) => slice.sealed && slice.tables !== null && slice !== keep && slice.users === 0)
      .sort((a, b) => a.lastUse - b.lastUse);
    for (const slice of candidates) {
      if (surplus <= 0) return;
      for (const table of slice.tables!) surplus -= table.byteLength;
      slice.tables = null;
    }
  }

  /** Waits until nobody uses the slice, closes it and deletes its files. */
  async remove(slice: Slice): Promise<void> {
    await this.#detach(slice);
    await this.store.remove(slice.name);
  }

  async quarantine(slice: Slice, report: string): Promise<void> {
    await this.#detach(slice);
    await this.store.quarantine(slice.name, report);
  }

  async #detach(slice: Slice): Promise<void> {
    slice.removed = true;
    this.all.delete(slice.id);
    if (slice.users > 0) {
      await new Promise<void>((resolve) => {
        slice.onIdle = resolve;
      });
    }
    slice.tables = null;
    await this.close(slice).catch(() => {});
  }

  async closeAll(): Promise<void> {
    for (const slice of this.all.values()) await this.close(slice);
    await Promise.all(this.#closing.values());
  }
}
