/**
 * A copy of a data directory that a broker is using, for tools that only look: tables of sealed slices are linked (they never
 * change), the rest is copied as far as it has come. Databases one after the other, metadata first: what is behind it in the data is no
 * contradiction, the other way round would be. A database in which files came or went meanwhile is copied again.
 */
import { copyFile, link, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HeadwaterError } from '../errors.ts';
import { META_DATABASE, parseSliceName } from './keys.ts';

const ATTEMPTS_MAX = 50;
/** The newest slices: one is written, the one before may be about to be sealed. The others never change. */
const WRITTEN_SLICES = 3;
const TABLE = /\.(ldb|sst)$/;
/** Written by LevelDB for people, and its lock. */
const NOT_DATA = /^(LOG(\.old)?|LOCK)$/;
/** A dot: no name of a database. */
const PREFIX = '.look-';

function isGone(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'ENOENT';
}

async function dataFiles(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((file) => !NOT_DATA.test(file) && !file.endsWith('.dbtmp')).sort();
}

/**
 * Whether its tables may be links: LevelDB, which opens the copy, would write a table only for what waits in a log, and might
 * give it a number that the broker is just giving, too.
 */
async function isQuiet(from: string, files: readonly string[]): Promise<boolean> {
  for (const file of files) {
    if (file.endsWith('.log') && (await stat(join(from, file))).size > 0) return false;
  }
  return true;
}

/** false: files came or went while it was copied. */
async function copyDatabase(from: string, to: string, sealed: boolean): Promise<boolean> {
  try {
    const before = await dataFiles(from);
    // It is just being created: nothing is in it.
    if (!before.includes('CURRENT') && !before.some((file) => TABLE.test(file)) && (await isQuiet(from, before)))
      return true;
    const mayLink = sealed && (await isQuiet(from, before));
    await mkdir(to);
    // The log last: it holds what the manifest does not know yet.
    const order = (file: string) => (TABLE.test(file) ? 0 : file.endsWith('.log') ? 2 : 1);
    for (const file of [...before].sort((a, b) => order(a) - order(b))) {
      const take = mayLink && TABLE.test(file) ? link : copyFile;
      await take(join(from, file), join(to, file));
    }
    return (await dataFiles(from)).join() === before.join();
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

async function copyAll(directory: string, to: string): Promise<boolean> {
  const entries = await readdir(directory, { withFileTypes: true });
  for (const entry of entries) {
    if (entry.isFile() && (entry.name === 'FORMAT' || entry.name.endsWith('.file'))) {
      await copyFile(join(directory, entry.name), join(to, entry.name));
    }
  }
  const slices = entries.map(({ name }) => name).filter((name) => parseSliceName(name) !== null);
  slices.sort();
  for (const [i, name] of [META_DATABASE, ...slices].entries()) {
    const sealed = i > 0 && i <= slices.length - WRITTEN_SLICES;
    if (!(await copyDatabase(join(directory, name), join(to, name), sealed))) return false;
  }
  const after = (await readdir(directory)).filter((name) => parseSliceName(name) !== null);
  return after.sort().join() === slices.join();
}

/** Removes what a tool that was killed has left. */
export async function removeSnapshots(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(PREFIX)) await rm(join(directory, name), { recursive: true, force: true });
  }
}

/** Lends a copy of a data directory in use, below it, and removes it afterwards. Rejects with STORE_FAILED when it changes too fast. */
export async function withSnapshot<T>(directory: string, use: (copy: string) => Promise<T>): Promise<T> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const copy = await mkdtemp(join(directory, PREFIX));
    try {
      if (await copyAll(directory, copy)) return await use(copy);
    } finally {
      await rm(copy, { recursive: true, force: true });
    }
  }
  throw new HeadwaterError(
    'STORE_FAILED',
    `${directory} changed during each of ${ATTEMPTS_MAX} attempts to look at it; try when the broker is less busy`,
  );
}
