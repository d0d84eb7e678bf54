/** The file `FORMAT`: the version of everything beside it (FORMAT.md). */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { HeadwaterError } from '../errors.ts';
import { replaceFile } from './durable-file.ts';

/** Version of the data directory. Permanent rule: a release reads this version and the one before, and writes this one. */
export const STORE_FORMAT_VERSION = 1;
const FORMAT_FILE = 'FORMAT';

/** Creates FORMAT where it is missing or damaged; rejects with STORE_FORMAT when a newer version wrote the directory. */
export async function checkFormat(directory: string): Promise<void> {
  const path = join(directory, FORMAT_FILE);
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as { code?: unknown }).code === 'ENOENT') return '';
    throw new HeadwaterError('STORE_FAILED', `cannot read ${path}`, { cause: error });
  });
  const match = /^headwater (\d{1,6}) [0-9a-f]{8}\n$/.exec(text);
  if (match === null || text !== formatLine(Number(match[1]))) {
    // New, torn by a power cut, or damaged: the entries carry versions of their own.
    await replaceFile(path, Buffer.from(formatLine(STORE_FORMAT_VERSION)));
  } else if (Number(match[1]) > STORE_FORMAT_VERSION) {
    throw new HeadwaterError(
      'STORE_FORMAT',
      `the data directory ${directory} has format ${match[1]}; this version reads up to ${STORE_FORMAT_VERSION}: ` +
        'run the newer Headwater that wrote it',
    );
  }
}

/** With a checksum: a flipped bit must not pass for a newer version. */
export function formatLine(version: number): string {
  const text = `headwater ${version}`;
  return `${text} ${crc32(text).toString(16).padStart(8, '0')}\n`;
}
