/** One database of LevelDB: batches, scans, and the errors it gives, by the store's names (leveldb.ts has the directory of them). */
import { Level } from 'level';
import { HeadwaterError } from '../errors.ts';
import type { Database, DatabaseOptions, Entry, Range, Scanner, WriteBatch } from './store.ts';

export type Db = Level<Uint8Array, Uint8Array>;

/** Table files that one database keeps open; LevelDB's own minimum. */
const OPEN_TABLES_MAX = 74;

/** The native iterator reserves room for as many entries as it is asked for. */
const NEXT_ENTRIES_MAX = 128;
/**
 * A native iterator keeps copies of what it read last, also when it is closed, until V8 collects its object: a drain of MQTT
 * sessions held 200 MB of them. Reading on behind the last key drops them; of less than this it is not worth a turn.
 */
const HELD_MAX_BYTES = 16 * 1024;
const BEHIND_ALL = Buffer.alloc(32, 0xff);

export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The cause that LevelDB named, below abstract-level's "Database failed to open". */
export function deepest(error: unknown): unknown {
  let inner = error;
  while (inner instanceof Error && inner.cause !== undefined) inner = inner.cause;
  return inner;
}

/** DISK_FULL when the file system has no room, otherwise STORE_FAILED; always with the database's name and the cause. */
export function storeError(name: string, action: string, error: unknown): HeadwaterError {
  const inner = deepest(error);
  const text = messageOf(inner);
  if (codeOf(inner) === 'ENOSPC' || codeOf(inner) === 'EDQUOT' || /No space left|quota exceeded/i.test(text)) {
    return new HeadwaterError('DISK_FULL', `cannot ${action} ${name}: no space left on the device`, { cause: error });
  }
  return new HeadwaterError('STORE_FAILED', `cannot ${action} ${name}: ${text}`, { cause: error });
}

class LevelBatch implements WriteBatch {
  readonly #db: Db;
  readonly #name: string;
  #chained: ReturnType<Db['batch']> | null = null;
  byteLength = 0;
  count = 0;

  constructor(db: Db, name: string) {
    this.#db = db;
    this.#name = name;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#chained ??= this.#db.batch();
    this.#chained.put(key, value);
    this.byteLength += key.byteLength + value.byteLength;
    this.count++;
  }

  del(key: Uint8Array): void {
    this.#chained ??= this.#db.batch();
    this.#chained.del(key);
    this.byteLength += key.byteLength;
    this.count++;
  }

  async commit(): Promise<void> {
    const chained = this.#take();
    if (chained === null) return;
    try {
      await chained.write({ sync: true });
    } catch (error) {
      throw storeError(this.#name, 'write to', error);
    }
  }

  discard(): void {
    this.#take()
      ?.close()
      .catch(() => {});
  }

  #take(): ReturnType<Db['batch']> | null {
    const chained = this.#chained;
    this.#chained = null;
    this.byteLength = 0;
    this.count = 0;
    return chained;
  }
}

class LevelScanner implements Scanner {
  readonly #db: Db;
  readonly #name: string;
  readonly #range: Range;
  #iterator: ReturnType<Db['iterator']> | null = null;
  /** Entries that were read but did not fit into the answer. */
  #surplus: Entry[] = [];
  #ended = false;
  /** Bytes of values that the native iterator still has copies of. */
  #held = 0;

  constructor(db: Db, name: string, range: Range) {
    this.#db = db;
    this.#name = name;
    this.#range = range;
  }

  async next(maxEntries: number, maxBytes: number): Promise<Entry[]> {
    const entries: Entry[] = [];
    let bytes = 0;
    try {
      // LevelDB passes its high-water mark by one entry and then returns: what was read beyond ours waits in #surplus.
      this.#iterator ??= this.#db.iterator({ ...this.#range, fillCache: false, highWaterMarkBytes: maxBytes });
      for (;;) {
        while (this.#surplus.length > 0) {
          if (entries.length >= maxEntries || bytes >= maxBytes) return entries;
          const entry = this.#surplus.shift()!;
          entries.push(entry);
          bytes += entry.key.byteLength + entry.value.byteLength;
        }
        if (this.#ended || entries.length >= maxEntries || bytes >= maxBytes) return entries;
        const more = await this.#iterator.nextv(Math.min(NEXT_ENTRIES_MAX, maxEntries - entries.length));
        if (more.length === 0) this.#ended = true;
        this.#held = 0;
        for (const [key, value] of more as [Uint8Array, Uint8Array][]) {
          this.#surplus.push({ key, value });
          this.#held += value.byteLength;
        }
      }
    } catch (error) {
      throw storeError(this.#name, 'read', error);
    }
  }

  async close(): Promise<void> {
    const iterator = this.#iterator;
    if (iterator === null) return;
    this.#iterator = null;
    try {
      if (this.#held > HELD_MAX_BYTES) {
        iterator.seek(BEHIND_ALL);
        await iterator.nextv(1);
      }
    } catch {
      // What cannot be read was told to who read it; the copies go with the object then.
    }
    await iterator.close();
  }
}

export class LevelDatabase implements Database {
  readonly #db: Db;
  readonly #name: string;

  constructor(db: Db, name: string) {
    this.#db = db;
    this.#name = name;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      return await this.#db.get(key, { fillCache: false });
    } catch (error) {
      throw storeError(this.#name, 'read', error);
    }
  }

  scan(range: Range): Scanner {
    return new LevelScanner(this.#db, this.#name, range);
  }

  batch(): WriteBatch {
    return new LevelBatch(this.#db, this.#name);
  }

  async compact(from: Uint8Array, to: Uint8Array): Promise<void> {
    try {
      // The `level` package types only what its browser twin has as well.
      await (this.#db as unknown as { compactRange(a: Uint8Array, b: Uint8Array): Promise<void> }).compactRange(
        from,
        to,
      );
    } catch (error) {
      throw storeError(this.#name, 'compact', error);
    }
  }

  async close(): Promise<void> {
    try {
      await this.#db.close();
    } catch (error) {
      throw storeError(this.#name, 'close', error);
    }
  }
}

export function openLevel(path: string, options: DatabaseOptions): Db {
  return new Level<Uint8Array, Uint8Array>(path, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    createIfMissing: options.mustExist !== true,
    writeBufferSize: options.writeBufferBytes ?? 1024 * 1024,
    cacheSize: options.cacheBytes ?? 64 * 1024,
    blockSize: options.blockBytes ?? 4096,
    maxFileSize: options.maxFileBytes ?? 2 * 1024 * 1024,
    maxOpenFiles: OPEN_TABLES_MAX,
    compression: options.compression ?? true,
  } as object);
}
