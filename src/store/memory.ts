/**
 * The store contract on a fake disk in memory, for tests and the simulator. `MemoryDisk` is what survives; a
 * `MemoryStore` is a process using it. A write is durable when its commit resolved; `crash` is the power cut: of the
 * commits still in flight each is found or not found afterwards, none in part. Faults are armed from outside.
 */
import { HeadwaterError } from '../errors.ts';
import type { Database, DatabaseOptions, Entry, Range, Scanner, Scratch, Store, WriteBatch } from './store.ts';

type Operation = { readonly key: Buffer; readonly value: Buffer | null };

const SECTOR_BYTES = 512;

/** Entries of one database in key order. */
class Table {
  readonly keys: Buffer[] = [];
  readonly values: Buffer[] = [];
  bytes = 0;
  /** Set by a fault: the files cannot be read. */
  unreadable = false;

  /** Index of the first key >= `key`. */
  seek(key: Uint8Array): number {
    let low = 0;
    let high = this.keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(this.keys[middle]!, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  apply({ key, value }: Operation): void {
    const at = this.seek(key);
    const found = at < this.keys.length && this.keys[at]!.equals(key);
    if (found) {
      this.bytes -= this.keys[at]!.length + this.values[at]!.length;
      if (value === null) {
        this.keys.splice(at, 1);
        this.values.splice(at, 1);
        return;
      }
      this.values[at] = value;
    } else {
      if (value === null) return;
      this.keys.splice(at, 0, key);
      this.values.splice(at, 0, value);
    }
    this.bytes += key.length + value.length;
  }
}

/** A file that is written in place and never synced. */
class MemoryScratch {
  bytes: Buffer = Buffer.alloc(0);
  /** What the disk has, as opposed to the page cache. */
  #written: Buffer = Buffer.alloc(0);

  write(bytes: Uint8Array, at: number): void {
    const grown = Buffer.alloc(Math.max(this.bytes.length, at + bytes.byteLength));
    grown.set(this.bytes);
    grown.set(bytes, at);
    this.bytes = grown;
  }

  /** Each sector has reached the disk or not. */
  crash(random: () => number): void {
    const kept = Buffer.alloc(this.bytes.length);
    kept.set(this.#written);
    for (let at = 0; at < this.bytes.length; at += SECTOR_BYTES) {
      if (random() < 0.5) kept.set(this.bytes.subarray(at, at + SECTOR_BYTES), at);
    }
    this.bytes = kept;
    this.#written = Buffer.from(kept);
  }
}

export interface MemoryDiskOptions {
  /** Runs a completion later; the simulator passes its virtual clock. Default: a microtask. */
  readonly schedule?: (task: () => void) => void;
  /** Uniform in [0, 1): decides what a crash keeps. Default: keeps nothing that is in flight. */
  readonly random?: () => number;
  readonly capacityBytes?: number;
}

export interface Fault {
  /** The operation (write or read, counted from 1 since `arm`) that fails. */
  readonly at: number;
  readonly code: 'DISK_FULL' | 'STORE_FAILED';
  readonly kind: 'write' | 'read';
  /** The write fails, and yet what it wrote is there: the sync failed, not the write. */
  readonly applied?: boolean;
}

export class MemoryDisk {
  readonly tables = new Map<string, Table>();
  readonly files = new Map<string, Buffer>();
  readonly quarantined = new Map<string, string>();
  readonly scratch = new Map<string, MemoryScratch>();
  /** Space that a store holds in reserve; survives a crash as the file on a real disk does. */
  reservedBytes = 0;
  capacityBytes: number;
  /** Operations since the last `arm`, by kind. */
  readonly counts = { write: 0, read: 0 };
  readonly #schedule: (task: () => void) => void;
  readonly #random: () => number;
  readonly #inFlight = new Set<{ table: Table; operations: readonly Operation[] }>();
  #faults: Fault[] = [];
  #mounted: MemoryStore | null = null;

  constructor(options: MemoryDiskOptions = {}) {
    this.#schedule = options.schedule ?? queueMicrotask;
    this.#random = options.random ?? (() => 1);
    this.capacityBytes = options.capacityBytes ?? Number.MAX_SAFE_INTEGER;
  }

  /** A process takes the directory. Throws STORE_LOCKED while another has it. */
  mount(): MemoryStore {
    if (this.#mounted !== null) {
      throw new HeadwaterError('STORE_LOCKED', 'the data directory in memory is in use; close it first');
    }
    this.#mounted = new MemoryStore(this);
    return this.#mounted;
  }

  unmount(store: MemoryStore): void {
    if (this.#mounted === store) this.#mounted = null;
  }

  isMounted(store: MemoryStore): boolean {
    return this.#mounted === store;
  }

  /** Power cut: the process is gone, commits in flight are there afterwards or not, as chance has it. */
  crash(): void {
    for (const scratch of this.scratch.values()) scratch.crash(this.#random);
    for (const commit of this.#inFlight) {
      if (this.#random() < 0.5) for (const operation of commit.operations) commit.table.apply(operation);
    }
    this.#inFlight.clear();
    this.#mounted = null;
  }

  arm(...faults: Fault[]): void {
    this.#faults = faults;
    this.counts.write = 0;
    this.counts.read = 0;
  }

  get usedBytes(): number {
    let bytes = 0;
    for (const table of this.tables.values()) bytes += table.bytes;
    return bytes;
  }

  get freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.usedBytes - this.reservedBytes);
  }

  /** Counts one operation and returns the error it meets, if any. */
  meet(kind: 'write' | 'read'): HeadwaterError | null {
    return this.#toError(this.#nextFault(kind));
  }

  #nextFault(kind: 'write' | 'read'): Fault | undefined {
    const n = ++this.counts[kind];
    return this.#faults.find((candidate) => candidate.kind === kind && candidate.at === n);
  }

  #toError(fault: Fault | undefined): HeadwaterError | null {
    return fault === undefined ? null : new HeadwaterError(fault.code, `injected fault at ${fault.kind} ${fault.at}`);
  }

  /** Calls back when the operations are durable, or with the error; never when a crash came first. */
  commit(
    store: MemoryStore,
    table: Table,
    operations: readonly Operation[],
    done: (error: HeadwaterError | null) => void,
  ) {
    // A process that a crash has ended writes nothing more, and nothing that a later crash could keep.
    if (!this.isMounted(store)) return;
    const fault = this.#nextFault('write');
    let error = this.#toError(fault);
    if (error === null) {
      let bytes = 0;
      for (const { key, value } of operations) bytes += value === null ? 0 : key.length + value.length;
      if (bytes > 0 && bytes > this.freeBytes) {
        error = new HeadwaterError('DISK_FULL', `no space left on the device (${this.capacityBytes} bytes)`);
      }
    }
    const commit = { table, operations };
    if (error === null) this.#inFlight.add(commit);
    this.#schedule(() => {
      if (!this.isMounted(store)) return;
      this.#inFlight.delete(commit);
      if (error === null || fault?.applied === true) for (const operation of operations) table.apply(operation);
      done(error);
    });
  }

  /** Calls back with what `read` returns, or with the error; never when a crash came first. */
  read<T>(store: MemoryStore, read: () => T): Promise<T> {
    const error = this.meet('read');
    return new Promise((resolve, reject) => {
      this.#schedule(() => {
        if (!this.isMounted(store)) return;
        if (error !== null) return reject(error);
        try {
          resolve(read());
        } catch (cause) {
          reject(cause);
        }
      });
    });
  }
}

class MemoryBatch implements WriteBatch {
  readonly #database: MemoryDatabase;
  #operations: Operation[] = [];
  byteLength = 0;

  constructor(database: MemoryDatabase) {
    this.#database = database;
  }

  get count(): number {
    return this.#operations.length;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#operations.push({ key: Buffer.from(key), value: Buffer.from(value) });
    this.byteLength += key.byteLength + value.byteLength;
  }

  del(key: Uint8Array): void {
    this.#operations.push({ key: Buffer.from(key), value: null });
    this.byteLength += key.byteLength;
  }

  commit(): Promise<void> {
    const operations = this.#operations;
    this.discard();
    return operations.length === 0 ? Promise.resolve() : this.#database.commit(operations);
  }

  discard(): void {
    this.#operations = [];
    this.byteLength = 0;
  }
}

class MemoryScanner implements Scanner {
  readonly #database: MemoryDatabase;
  readonly #range: Range;
  /** The key to go on from, exclusive; null before the first step. */
  #position: Buffer | null = null;

  constructor(database: MemoryDatabase, range: Range) {
    this.#database = database;
    this.#range = range;
  }

  next(maxEntries: number, maxBytes: number): Promise<Entry[]> {
    return this.#database.read((table) => {
      const { gte, lte, lt, reverse } = this.#range;
      const from = table.seek(gte);
      let to = table.keys.length;
      if (lt !== undefined) to = table.seek(lt);
      if (lte !== undefined) {
        to = table.seek(lte);
        if (to < table.keys.length && table.keys[to]!.equals(lte)) to++;
      }
      const entries: Entry[] = [];
      let bytes = 0;
      const take = (at: number): boolean => {
        const key = table.keys[at]!;
        const value = table.values[at]!;
        entries.push({ key: Buffer.from(key), value: Buffer.from(value) });
        this.#position = key;
        bytes += key.length + value.length;
        return entries.length < maxEntries && bytes < maxBytes;
      };
      if (reverse === true) {
        let at = this.#position === null ? to - 1 : table.seek(this.#position) - 1;
        while (at >= from && take(at)) at--;
      } else {
        let at = from;
        if (this.#position !== null) {
          at = table.seek(this.#position);
          if (at < table.keys.length && table.keys[at]!.equals(this.#position)) at++;
        }
        while (at < to && take(at)) at++;
      }
      return entries;
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

class MemoryDatabase implements Database {
  readonly #disk: MemoryDisk;
  readonly #store: MemoryStore;
  readonly #name: string;
  readonly #table: Table;
  /** LevelDB's way: after a failed write every further one fails until the database is reopened. */
  #failed: HeadwaterError | null = null;
  #closed = false;

  constructor(disk: MemoryDisk, store: MemoryStore, name: string, table: Table) {
    this.#disk = disk;
    this.#store = store;
    this.#name = name;
    this.#table = table;
  }

  commit(operations: readonly Operation[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new HeadwaterError('STORE_FAILED', `cannot write to ${this.#name}: it is closed`);
      if (this.#failed !== null) throw this.#failed;
      this.#disk.commit(this.#store, this.#table, operations, (error) => {
        if (error === null) return resolve();
        this.#failed = error;
        reject(error);
      });
    });
  }

  async read<T>(read: (table: Table) => T): Promise<T> {
    if (this.#closed) throw new HeadwaterError('STORE_FAILED', `cannot read ${this.#name}: it is closed`);
    return this.#disk.read(this.#store, () => {
      if (this.#table.unreadable)
        throw new HeadwaterError('STORE_FAILED', `cannot read ${this.#name}: corrupted block`);
      return read(this.#table);
    });
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.read((table) => {
      const at = table.seek(key);
      const found = at < table.keys.length && table.keys[at]!.equals(key);
      return found ? Buffer.from(table.values[at]!) : undefined;
    });
  }

  scan(range: Range): Scanner {
    return new MemoryScanner(this, range);
  }

  batch(): WriteBatch {
    return new MemoryBatch(this);
  }

  compact(): Promise<void> {
    return this.#failed === null ? Promise.resolve() : Promise.reject(this.#failed);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#store.released(this.#name);
    return Promise.resolve();
  }
}

export class MemoryStore implements Store {
  readonly #disk: MemoryDisk;
  readonly #open = new Set<string>();

  constructor(disk: MemoryDisk) {
    this.#disk = disk;
  }

  async open(name: string, options: DatabaseOptions): Promise<Database> {
    this.#assertClosed(name);
    return this.#disk.read(this, () => {
      let table = this.#disk.tables.get(name);
      if (table === undefined) {
        if (options.mustExist === true) throw new HeadwaterError('STORE_FAILED', `cannot open ${name}: does not exist`);
        table = new Table();
        this.#disk.tables.set(name, table);
      }
      if (table.unreadable) throw new HeadwaterError('STORE_FAILED', `cannot open ${name}: corrupted`);
      this.#open.add(name);
      return new MemoryDatabase(this.#disk, this, name, table);
    });
  }

  released(name: string): void {
    this.#open.delete(name);
  }

  #assertClosed(name: string): void {
    if (!this.#disk.isMounted(this))
      throw new HeadwaterError('STORE_FAILED', `cannot open ${name}: the store is closed`);
    if (this.#open.has(name)) throw new HeadwaterError('STORE_FAILED', `${name} is open`);
  }

  list(): Promise<string[]> {
    return Promise.resolve([...this.#disk.tables.keys()].sort());
  }

  async remove(name: string): Promise<void> {
    this.#assertClosed(name);
    this.#disk.tables.delete(name);
  }

  async repair(name: string): Promise<void> {
    this.#assertClosed(name);
    if (this.#disk.tables.get(name)?.unreadable !== false) {
      throw new HeadwaterError('STORE_FAILED', `cannot repair ${name}`);
    }
  }

  async quarantine(name: string, report: string): Promise<void> {
    this.#assertClosed(name);
    let n = 1;
    while (this.#disk.quarantined.has(`${name}.${n}`)) n++;
    this.#disk.quarantined.set(`${name}.${n}`, report);
    this.#disk.tables.delete(name);
  }

  sizeOf(name: string): Promise<number> {
    return Promise.resolve(this.#disk.tables.get(name)?.bytes ?? 0);
  }

  freeBytes(): Promise<number> {
    return Promise.resolve(this.#disk.freeBytes);
  }

  reserved(): Promise<number> {
    return Promise.resolve(this.#disk.reservedBytes);
  }

  async reserve(bytes: number): Promise<void> {
    this.#disk.reservedBytes = 0;
    if (bytes > this.#disk.freeBytes) throw new HeadwaterError('DISK_FULL', `no room for a reserve of ${bytes} bytes`);
    this.#disk.reservedBytes = bytes;
  }

  readFile(name: string): Promise<Uint8Array | undefined> {
    return this.#disk.read(this, () => {
      const content = this.#disk.files.get(name) ?? this.#disk.scratch.get(name)?.bytes;
      return content === undefined ? undefined : Buffer.from(content);
    });
  }

  async writeFile(name: string, content: Uint8Array): Promise<void> {
    const error = this.#disk.meet('write');
    if (error !== null) throw error;
    await this.#disk.read(this, () => this.#disk.files.set(name, Buffer.from(content)));
  }

  async openScratch(name: string): Promise<Scratch> {
    this.#assertClosed(name);
    const scratch = this.#disk.scratch.get(name) ?? new MemoryScratch();
    this.#disk.scratch.set(name, scratch);
    return {
      read: () => Promise.resolve(Buffer.from(scratch.bytes)),
      write: async (bytes, at) => {
        if (this.#disk.isMounted(this)) scratch.write(bytes, at);
      },
      close: () => Promise.resolve(),
    };
  }

  close(): Promise<void> {
    this.#disk.unmount(this);
    return Promise.resolve();
  }
}
