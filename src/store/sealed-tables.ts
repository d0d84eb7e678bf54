/**
 * A database that is not written any more, read from its table files (table-file.ts) instead of through LevelDB: nothing
 * is mapped, an open one costs its block indexes. As long as everything looks as our own writer leaves it; at the first
 * thing that does not LevelDB is opened and goes on from the last key that was read.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CHUNK_RECORD_PARTITION, parseBatchKey } from './keys.ts';
import type { Database, Entry, Range, Scanner, WriteBatch } from './store.ts';
import { BlockCursor, type Checksum, type StoredBlocks, TableFile, UnusualTable } from './table-file.ts';

const TABLE = /^(\d+)\.(ldb|sst)$/;
const LOG = /^\d+\.log$/;
/** One read of a scan; more is asked for in further steps. */
const READ_MAX_BYTES = 1024 * 1024;

function follows(table: TableFile, before: TableFile | undefined): boolean {
  return before === undefined || before.lastKey.compare(table.firstKey) < 0;
}

/**
 * The tables of the directory, in key order; null when LevelDB is needed: something waits in its log, or two tables
 * overlap. Every table must end with a chunk's record: the one that a failed write left behind does not.
 */
async function openTables(path: string, checksum: Checksum): Promise<TableFile[] | null> {
  const files = await readdir(path);
  const names = files
    .filter((file) => TABLE.test(file))
    .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  if (names.length === 0) return null;
  for (const log of files.filter((file) => LOG.test(file))) {
    if ((await stat(join(path, log))).size > 0) return null;
  }
  const opened = await Promise.allSettled(names.map((name) => TableFile.open(join(path, name), checksum)));
  const tables = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const sound =
    tables.length === names.length &&
    tables.every(
      (table, i) =>
        follows(table, tables[i - 1]) && parseBatchKey(table.lastKey)?.partitionId === CHUNK_RECORD_PARTITION,
    );
  if (sound) return tables;
  await Promise.all(tables.map((table) => table.close()));
  return null;
}

export class SealedTables implements Database {
  #tables: readonly TableFile[];
  readonly #openDatabase: () => Promise<Database>;
  #database: Promise<Database> | null = null;

  private constructor(tables: readonly TableFile[], openDatabase: () => Promise<Database>) {
    this.#tables = tables;
    this.#openDatabase = openDatabase;
  }

  /** null: LevelDB has to open it. `openDatabase` opens (and repairs) it with LevelDB. */
  static async open(
    path: string,
    checksum: Checksum,
    openDatabase: () => Promise<Database>,
  ): Promise<SealedTables | null> {
    const tables = await openTables(path, checksum).catch(() => null);
    return tables === null ? null : new SealedTables(tables, openDatabase);
  }

  /** In key order; empty once LevelDB has taken over. */
  get tables(): readonly TableFile[] {
    return this.#tables;
  }

  /** LevelDB on the same files, from now on for everybody. */
  database(): Promise<Database> {
    if (this.#database === null) {
      this.#database = this.#openDatabase();
      // A failed open is tried again by the next who needs it.
      this.#database.catch(() => {
        this.#database = null;
      });
    }
    return this.#database;
  }

  get usesDatabase(): boolean {
    return this.#database !== null;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    // Mostly a chunk's record is wanted, the last of its table.
    const known = this.usesDatabase ? null : this.#tables.find(({ lastKey }) => lastKey.equals(key))?.takeLastValue();
    if (known != null) return known;
    const scanner = this.scan({ gte: key, lte: key });
    try {
      const [entry] = await scanner.next(1, 1);
      return entry?.value;
    } finally {
      await scanner.close();
    }
  }

  scan(range: Range): Scanner {
    return new SealedScanner(this, range);
  }

  batch(): WriteBatch {
    throw new TypeError('a sealed database is not written');
  }

  async compact(): Promise<void> {
    throw new TypeError('a sealed database is not compacted');
  }

  async close(): Promise<void> {
    const tables = this.#tables;
    this.#tables = [];
    await Promise.all(tables.map((table) => table.close()));
    const database = await this.#database?.catch(() => null);
    await database?.close();
  }
}

class SealedScanner implements Scanner {
  readonly #owner: SealedTables;
  readonly #range: Range;
  #table = 0;
  #block = -1;
  #blocks: StoredBlocks | null = null;
  /** The next of `#blocks`. */
  #nextContent = 0;
  #cursor: BlockCursor | null = null;
  #ended = false;
  /** The last key that was given out. */
  #lastKey: Uint8Array | null = null;
  #other: Scanner | null = null;

  constructor(owner: SealedTables, range: Range) {
    this.#owner = owner;
    this.#range = range;
  }

  async next(maxEntries: number, maxBytes: number): Promise<Entry[]> {
    if (this.#other === null && this.#range.reverse !== true && !this.#owner.usesDatabase) {
      try {
        const entries = await this.#read(maxEntries, maxBytes);
        const last = entries[entries.length - 1];
        if (last !== undefined) this.#lastKey = last.key;
        return entries;
      } catch (error) {
        if (!(error instanceof UnusualTable) && (error as { code?: unknown }).code === undefined) throw error;
      }
    }
    this.#other ??= await this.#takeOver();
    return this.#other.next(maxEntries, maxBytes);
  }

  async #takeOver(): Promise<Scanner> {
    const database = await this.#owner.database();
    const gte = this.#lastKey === null ? this.#range.gte : Buffer.concat([this.#lastKey, Buffer.of(0)]);
    return database.scan({ ...this.#range, gte });
  }

  async #read(maxEntries: number, maxBytes: number): Promise<Entry[]> {
    const entries: Entry[] = [];
    let bytes = 0;
    while (!this.#ended && entries.length < maxEntries && bytes < maxBytes) {
      const cursor = this.#cursor ?? (await this.#nextBlock(maxBytes - bytes));
      if (cursor === null) break;
      if (!cursor.next()) {
        this.#cursor = null;
        continue;
      }
      const { key } = cursor;
      if (key.compare(this.#range.gte) < 0) continue;
      if (this.#isBehind(key)) {
        this.#ended = true;
        break;
      }
      const { value } = cursor;
      entries.push({ key: Buffer.from(key), value });
      bytes += key.length + value.length;
    }
    return entries;
  }

  #isBehind(key: Buffer): boolean {
    const { lte, lt } = this.#range;
    return lte !== undefined ? key.compare(lte) > 0 : lt !== undefined && key.compare(lt) >= 0;
  }

  /** Goes to the next block, reading about `bytes` when the blocks at hand are used up. */
  async #nextBlock(bytes: number): Promise<BlockCursor | null> {
    if (this.#blocks === null || this.#nextContent === this.#blocks.count) {
      if (!this.#seek()) {
        this.#ended = true;
        return null;
      }
      const table = this.#owner.tables[this.#table]!;
      const count = table.stretch(this.#block, Math.min(bytes, READ_MAX_BYTES), this.#range.lte ?? this.#range.lt);
      this.#blocks = await table.read(this.#block, count);
      this.#block += count;
      this.#nextContent = 0;
    }
    this.#cursor = new BlockCursor(await this.#blocks.content(this.#nextContent++));
    return this.#cursor;
  }

  /** Puts `#table` and `#block` where the scan goes on; false at the end. */
  #seek(): boolean {
    const { tables } = this.#owner;
    const { gte } = this.#range;
    if (this.#block < 0) {
      while (this.#table < tables.length && tables[this.#table]!.lastKey.compare(gte) < 0) this.#table++;
      const table = tables[this.#table];
      if (table === undefined) return false;
      this.#block = table.find(gte);
    }
    while (this.#table < tables.length && this.#block >= tables[this.#table]!.blocks) {
      this.#table++;
      this.#block = 0;
      this.#blocks = null;
    }
    const table = tables[this.#table];
    return table !== undefined && (this.#block > 0 || !this.#isBehind(table.firstKey));
  }

  async close(): Promise<void> {
    this.#blocks = null;
    this.#cursor = null;
    await this.#other?.close();
  }
}
