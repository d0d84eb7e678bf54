/**
 * The store: a data directory of named, ordered key-value databases. The real one is LevelDB (leveldb.ts); memory.ts is
 * the same contract on a fake disk that forgets what was not synced, for tests and the simulator.
 * Keys order as unsigned bytes. Every write is synced: a database has no unsynced writes (DESIGN 4).
 */

export interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Bounds of a scan; both ends inclusive unless `lt`. */
export interface Range {
  readonly gte: Uint8Array;
  readonly lte?: Uint8Array;
  readonly lt?: Uint8Array;
  readonly reverse?: boolean;
}

/** Operations that become durable together or not at all. Reused by its owner; not safe to touch while `commit` runs. */
export interface WriteBatch {
  put(key: Uint8Array, value: Uint8Array): void;
  del(key: Uint8Array): void;
  /** Bytes of keys and values gathered so far. */
  readonly byteLength: number;
  readonly count: number;
  /**
   * Writes and syncs. Resolves when a power cut can no longer lose it. One commit of a database is in flight at a time
   * (the caller's duty). Rejects with DISK_FULL or STORE_FAILED: the database must then be reopened.
   */
  commit(): Promise<void>;
  /** Gives the memory back without writing. */
  discard(): void;
}

/** A scan in steps: bounded reads, no hidden read-ahead. */
export interface Scanner {
  /** The next entries: at most `maxEntries`, and no more after `maxBytes` is passed (at least one). Empty at the end. */
  next(maxEntries: number, maxBytes: number): Promise<Entry[]>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  /** LevelDB's memtable, bytes. */
  readonly writeBufferBytes?: number;
  /** LevelDB's block cache, bytes. */
  readonly cacheBytes?: number;
  readonly blockBytes?: number;
  readonly maxFileBytes?: number;
  /** snappy on blocks. */
  readonly compression?: boolean;
  /** Fail rather than create. */
  readonly mustExist?: boolean;
  /**
   * Nothing will be written to it any more: its files may be read without LevelDB. The function is CRC-32C, the checksum
   * in them.
   */
  readonly sealed?: (bytes: Uint8Array) => number;
}

export interface Database {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  scan(range: Range): Scanner;
  batch(): WriteBatch;
  /** Forces what is in the range (and the memtable, when the range lies outside the data) into sorted tables. */
  compact(from: Uint8Array, to: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** Survives the end of the process; after a power cut each sector is as one of the writes left it. */
export interface Scratch {
  read(): Promise<Uint8Array>;
  write(bytes: Uint8Array, at: number): Promise<void>;
  close(): Promise<void>;
}

export interface Store {
  /** Opens or creates. Rejects with STORE_FAILED when the files cannot be read: the caller quarantines. */
  open(name: string, options: DatabaseOptions): Promise<Database>;
  /** Names of the databases that exist, in ascending order. */
  list(): Promise<string[]>;
  /** Deletes a closed database's files. */
  remove(name: string): Promise<void>;
  /**
   * Rebuilds what can be read of a closed database (lost MANIFEST or CURRENT, torn tables). It may bring back deleted
   * entries. Rejects with STORE_FAILED when nothing can be done.
   */
  repair(name: string): Promise<void>;
  /** Moves a closed database to `quarantine/` with `report` beside it; never deletes. */
  quarantine(name: string, report: string): Promise<void>;
  /** Bytes on disk of one database. */
  sizeOf(name: string): Promise<number>;
  /** Free bytes of the file system that are ours to use. */
  freeBytes(): Promise<number>;
  /**
   * Makes the reserve exactly `bytes` large (0: none): space that is written, not merely promised, and given back when the
   * disk is full. Rejects with DISK_FULL when there is no room for it; then there is none.
   */
  reserve(bytes: number): Promise<void>;
  /** Size of the reserve that is there, bytes. */
  reserved(): Promise<number>;
  /** Small whole files beside the databases (boot record, copy of the catalog), replaced atomically and synced. */
  readFile(name: string): Promise<Uint8Array | undefined>;
  writeFile(name: string, content: Uint8Array): Promise<void>;
  /** A file `<name>.file` that is written in place and not synced; created when it is missing. One owner at a time. */
  openScratch(name: string): Promise<Scratch>;
  /** Releases the lock on the directory. */
  close(): Promise<void>;
}
