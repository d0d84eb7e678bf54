/** The file `FORMAT`: the version of everything beside it (FORMAT.md). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { HeadwaterError } from '../errors.ts';
import { replaceFile } from './durable-file.ts';

/** Version of the data directory. Permanent rule: a release reads this version and the one before, and writes this one. */
export const STORE_FORMAT_VERSION = 1;
const FORMAT_FILE = 'FORMAT';

/** Turns a directory of the version in its key into one of the next. Must bear being interrupted and begun again. */
export type Migrations = ReadonlyMap<number, (directory: string) => Promise<void>>;

/** Version 1 is the first. */
const MIGRATIONS: Migrations = new Map();

/**
 * Creates FORMAT where it is missing or damaged, and migrates a directory of an older version, one version at a time. Rejects
 * with STORE_FORMAT when a newer version wrote the directory, or one that cannot be migrated. The directory is locked.
 */
export async function checkFormat(
  directory: string,
  wanted = STORE_FORMAT_VERSION,
  migrations: Migrations = MIGRATIONS,
): Promise<void> {
  const path = join(directory, FORMAT_FILE);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as { code?: unknown }).code === 'ENOENT') return '';
    throw new HeadwaterError('STORE_FAILED', `cannot read ${path}`, { cause: error });
  });
  const match = /^headwater (\d{1,6}) [0-9a-f]{8}\n$/.exec(text);
  if (match === null || text !== formatLine(Number(match[1]))) {
    // New, torn by a power cut, or damaged: the entries carry versions of their own.
    await replaceFile(path, Buffer.from(formatLine(wanted)));
    return;
  }
  const found = Number(match[1]);
  if (found > wanted) {
    throw new HeadwaterError(
      'STORE_FORMAT',
      `the data directory ${directory} has format ${found}; this version reads up to ${wanted}: ` +
        'run the newer Headwater that wrote it',
    );
  }
  for (let version = found; version < wanted; version++) {
    const migrate = migrations.get(version);
    if (migrate === undefined) {
      throw new HeadwaterError(
        'STORE_FORMAT',
        `the data directory ${directory} has format ${version}; this version reads from format ${version + 1} on: ` +
          'run a release in between first',
      );
    }
    await migrate(directory);
    await replaceFile(path, Buffer.from(formatLine(version + 1)));
  }
}

/** With a checksum: a flipped bit must not pass for a newer version. */
export function formatLine(version: number): string {
  const text = `headwater ${version}`;
  return `${text} ${crc32(text).toString(16).padStart(8, '0')}\n`;
}
