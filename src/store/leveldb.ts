/**
 * The store on LevelDB: every database is a directory below the data directory. A database of its own (`lock`) is held
 * open for as long as the store is: LevelDB's file lock refuses a second process and is released by the kernel when ours
 * dies. The file `FORMAT` carries the version of everything beside it (FORMAT.md).
 */
import { mkdir, readdir, readFile, rename, rm, rmdir, stat, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Level } from 'level';
import { HeadwaterError } from '../errors.ts';
import { openScratchFile, replaceFile, syncDirectory, writeReserve } from './durable-file.ts';
import { checkFormat } from './format-file.ts';
import { codeOf, type Db, deepest, LevelDatabase, messageOf, openLevel, storeError } from './level-database.ts';
import { liveTables } from './manifest.ts';
import { SealedTables } from './sealed-tables.ts';
import { removeSnapshots } from './snapshot.ts';
import type { Database, DatabaseOptions, Entry, Scratch, Store } from './store.ts';
import { soundEntries, tableDamage } from './table-check.ts';

const LOCK_NAME = 'lock';
const QUARANTINE = 'quarantine';
const RESERVE_FILE = 'RESERVE';
/** One write of what a damaged table still held. */
const RESTORE_STEP_BYTES = 1024 * 1024;
/** stat's unit of `blocks`. */
const STAT_BLOCK_BYTES = 512;
const TABLE = /\.(ldb|sst)$/;
/** The `level` package types only what its browser twin has as well. */
const level = Level as unknown as Record<'destroy' | 'repair', (location: string) => Promise<void>>;
const NAME = /^[a-z][a-z0-9-]{0,63}$/;

function checkName(name: string): void {
  if (!NAME.test(name) || name === QUARANTINE) throw new TypeError(`"${name}" is not a database name`);
}

/** Puts back what a damaged table still held, where nothing newer is. */
async function restore(path: string, saved: readonly Entry[]): Promise<void> {
  if (saved.length === 0) return;
  const db = openLevel(path, { mustExist: true });
  try {
    await db.open();
    let batch = db.batch();
    let bytes = 0;
    for (const { key, value } of saved) {
      if ((await db.get(key)) !== undefined) continue;
      batch.put(key, value);
      bytes += value.byteLength;
      if (bytes < RESTORE_STEP_BYTES) continue;
      await batch.write({ sync: true });
      batch = db.batch();
      bytes = 0;
    }
    await batch.write({ sync: true });
  } finally {
    await db.close();
  }
}

/** The real store. Create it with `openLevelStore`. */
class LevelStore implements Store {
  readonly #directory: string;
  readonly #lock: Db;
  /** Tables that were found sound by this process, by database: they are never written to again. */
  readonly #sound = new Map<string, Set<string>>();
  readonly #scratch = new Set<Scratch>();

  constructor(directory: string, lock: Db) {
    this.#directory = directory;
    this.#lock = lock;
  }

  #path(name: string): string {
    checkName(name);
    return join(this.#directory, name);
  }

  async open(name: string, options: DatabaseOptions): Promise<Database> {
    if (options.sealed !== undefined) {
      const again = () => this.#openOrRepair(name, options);
      const tables = await SealedTables.open(this.#path(name), options.sealed, again);
      if (tables !== null) return tables;
    }
    return this.#openLevel(name, options);
  }

  /** For a sealed database whose tables turn out to be odd while they are read. */
  async #openOrRepair(name: string, options: DatabaseOptions): Promise<Database> {
    try {
      return await this.#openLevel(name, options);
    } catch {
      await this.repair(name);
      return this.#openLevel(name, options);
    }
  }

  async #openLevel(name: string, options: DatabaseOptions): Promise<Database> {
    const path = this.#path(name);
    const found = await readdir(path).catch((error: unknown) => (codeOf(error) === 'ENOENT' ? ([] as string[]) : null));
    const files = found ?? [];
    // Without CURRENT LevelDB would start an empty database here and delete the tables of the old one.
    if (!files.includes('CURRENT') && files.some((file) => /\.(ldb|sst|log)$|^MANIFEST-/.test(file))) {
      throw new HeadwaterError('STORE_FAILED', `cannot open ${name}: its file CURRENT is missing`);
    }
    for (const [table, damage] of await this.#damagedTables(name, files, true)) {
      throw new HeadwaterError('STORE_FAILED', `cannot open ${name}: ${table} is corrupted: ${damage}`);
    }
    const db = openLevel(path, options);
    try {
      await db.open();
      if (files.length === 0) await syncDirectory(this.#directory);
    } catch (error) {
      await db.close().catch(() => {});
      // A disk that filled up in the middle leaves half of a new database, which could never be opened: nothing is in it.
      if (found !== null && !found.includes('CURRENT'))
        await rm(path, { recursive: true, force: true }).catch(() => {});
      throw storeError(name, 'open', error);
    }
    return new LevelDatabase(db, name);
  }

  /**
   * Each table is read once by a process, before LevelDB may meet what makes it abort (table-check.ts). `inPlace`: a sound
   * table that is not the one the MANIFEST means counts as well, by its size: LevelDB would read it at the wrong places. Its
   * repair takes tables as they are.
   */
  async #damagedTables(name: string, files: readonly string[], inPlace: boolean): Promise<Map<string, string>> {
    const damaged = new Map<string, string>();
    const sound = this.#sound.get(name) ?? new Set<string>();
    this.#sound.set(name, sound);
    const live = await liveTables(this.#path(name));
    for (const file of files) {
      if (!TABLE.test(file) || sound.has(file)) continue;
      // What a kill left half written LevelDB removes.
      const meant = live?.get(Number.parseInt(file, 10));
      if (live !== null && meant === undefined) continue;
      try {
        const path = join(this.#path(name), file);
        const { size } = await stat(path);
        const damage = await tableDamage(path);
        if (damage !== null) damaged.set(file, damage);
        else if (inPlace && meant !== undefined && size !== meant) {
          damaged.set(file, `${size} bytes; the MANIFEST means a table of ${meant}`);
        } else if (inPlace) sound.add(file);
      } catch (error) {
        throw storeError(name, 'read', error);
      }
    }
    return damaged;
  }

  async list(): Promise<string[]> {
    const entries = await readdir(this.#directory, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && NAME.test(entry.name))
      .map((entry) => entry.name)
      .filter((name) => name !== LOCK_NAME && name !== QUARANTINE)
      .sort();
  }

  async remove(name: string): Promise<void> {
    const path = this.#path(name);
    this.#sound.delete(name);
    try {
      // One call for all of its files. It leaves what LevelDB does not know and what it met trouble with: then this throws.
      await level.destroy(path).catch(() => {});
      await rmdir(path);
    } catch (gone) {
      if (codeOf(gone) === 'ENOENT') return;
      try {
        await rm(path, { recursive: true, force: true });
      } catch (error) {
        throw storeError(name, 'remove', error);
      }
    }
  }

  async repair(name: string): Promise<void> {
    const path = this.#path(name);
    this.#sound.delete(name);
    try {
      const files = await readdir(path);
      const saved: Entry[] = [];
      for (const [table, damage] of await this.#damagedTables(name, files, false)) {
        saved.push(...(await soundEntries(join(path, table))));
        // LevelDB's repair would read it, and abort.
        await this.#shelve(join(name, table), `${name}-${table.replace('.', '-')}`, `${name}/${table}: ${damage}`);
      }
      this.#sound.delete(name);
      await level.repair(path);
      await restore(path, saved);
    } catch (error) {
      throw storeError(name, 'repair', error);
    }
  }

  async quarantine(name: string, report: string): Promise<void> {
    this.#sound.delete(name);
    try {
      await this.#shelve(name, name, report);
    } catch (error) {
      throw storeError(name, 'quarantine', error);
    }
  }

  /** Moves a file or directory to `quarantine/<as>.<n>`, with the report beside it. */
  async #shelve(from: string, as: string, report: string): Promise<void> {
    const shelf = join(this.#directory, QUARANTINE);
    await mkdir(shelf, { recursive: true });
    const taken = new Set(await readdir(shelf));
    let n = 1;
    while (taken.has(`${as}.${n}`)) n++;
    await rename(join(this.#directory, from), join(shelf, `${as}.${n}`));
    await replaceFile(join(shelf, `${as}.${n}.txt`), Buffer.from(report.endsWith('\n') ? report : `${report}\n`));
    await syncDirectory(this.#directory);
  }

  async sizeOf(name: string): Promise<number> {
    const path = this.#path(name);
    let bytes = 0;
    for (const file of await readdir(path).catch(() => [] as string[])) {
      bytes += await stat(join(path, file)).then(
        (info) => info.size,
        () => 0, // LevelDB removes obsolete files while we look
      );
    }
    return bytes;
  }

  async freeBytes(): Promise<number> {
    const info = await statfs(this.#directory);
    return info.bavail * info.bsize;
  }

  async reserved(): Promise<number> {
    const present = await stat(join(this.#directory, RESERVE_FILE)).catch(() => null);
    return present !== null && present.blocks * STAT_BLOCK_BYTES >= present.size ? present.size : 0;
  }

  async reserve(bytes: number): Promise<void> {
    const path = join(this.#directory, RESERVE_FILE);
    try {
      if (bytes === 0) return await rm(path, { force: true });
      if ((await this.reserved()) === bytes) return;
      await writeReserve(path, bytes);
    } catch (error) {
      await rm(path, { force: true }).catch(() => {});
      throw storeError(RESERVE_FILE, 'write', error);
    }
  }

  async readFile(name: string): Promise<Uint8Array | undefined> {
    checkName(name);
    try {
      return await readFile(join(this.#directory, `${name}.file`));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw storeError(name, 'read', error);
    }
  }

  async writeFile(name: string, content: Uint8Array): Promise<void> {
    checkName(name);
    try {
      await replaceFile(join(this.#directory, `${name}.file`), content);
    } catch (error) {
      throw storeError(name, 'write', error);
    }
  }

  async openScratch(name: string): Promise<Scratch> {
    checkName(name);
    try {
      const scratch = await openScratchFile(join(this.#directory, `${name}.file`));
      this.#scratch.add(scratch);
      return scratch;
    } catch (error) {
      throw storeError(name, 'open', error);
    }
  }

  async close(): Promise<void> {
    // Whoever has closed its own finds nothing left to do.
    await Promise.all([...this.#scratch].map((scratch) => scratch.close().catch(() => {})));
    await this.#lock.close();
  }
}

async function takeLock(directory: string): Promise<Db> {
  const path = join(directory, LOCK_NAME);
  for (let attempt = 0; ; attempt++) {
    const db = openLevel(path, { writeBufferBytes: 64 * 1024, cacheBytes: 0 });
    try {
      await db.open();
      return db;
    } catch (error) {
      await db.close().catch(() => {});
      if (
        codeOf(deepest(error)) === 'LEVEL_LOCKED' ||
        /LOCK: (already held|Resource temp)/.test(messageOf(deepest(error)))
      ) {
        throw new HeadwaterError(
          'STORE_LOCKED',
          `the data directory ${directory} is in use by another process; stop it first or choose another directory`,
          { cause: error },
        );
      }
      if (attempt > 0) throw storeError(LOCK_NAME, 'open', error);
      // It holds nothing: a damaged one is made anew.
      await rm(path, { recursive: true, force: true });
    }
  }
}

/**
 * A directory and what is missing above it. Not mkdir's own `recursive`: where the system has no place for one below a
 * directory that is there (/proc says ENOENT), Node.js tries for ever.
 */
async function makeDirectory(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory() === true) return;
  const parent = dirname(path);
  if (found === null && parent !== path) await makeDirectory(parent);
  try {
    await mkdir(path);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') {
      // Another process was faster, or what exists under this name is something else.
      const now = await stat(path).catch(() => null);
      if (now?.isDirectory() === true) return;
      throw new HeadwaterError('STORE_FAILED', `${path} is not a directory`, { cause: error });
    }
    if (codeOf(error) !== 'ENOENT') throw storeError(path, 'create', error);
    const why = `the file system of ${parent} takes no new directories`;
    throw new HeadwaterError('STORE_FAILED', `cannot create ${path}: ${why}`, { cause: error });
  }
}

/**
 * Opens (creates) a data directory and locks it. Rejects with STORE_LOCKED when another process holds it, STORE_FORMAT
 * when a newer version wrote it, STORE_FAILED or DISK_FULL when it cannot be used.
 */
export async function openLevelStore(directory: string): Promise<Store> {
  await makeDirectory(resolve(directory));
  const lock = await takeLock(directory).catch(async (error: unknown) => {
    // A start on a full disk: the reserve is for this. (Another process's is safe: then it is STORE_LOCKED.)
    if (!(error instanceof HeadwaterError) || error.code !== 'DISK_FULL') throw error;
    await rm(join(directory, RESERVE_FILE), { force: true });
    return takeLock(directory);
  });
  try {
    await checkFormat(directory);
    await removeSnapshots(directory);
  } catch (error) {
    await lock.close();
    throw error;
  }
  return new LevelStore(directory, lock);
}
