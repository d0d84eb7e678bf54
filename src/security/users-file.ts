/** Reading and replacing the users file: for `headwater users`, and for Kafka's tools on a running broker. */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { formatUsers, parseUsers, type User } from './users.ts';

/** Throws INVALID_CONFIG for a damaged line; with `mustExist` also what the system says about a missing file. */
export async function readUsers(file: string, mustExist: boolean): Promise<Map<string, User>> {
  try {
    return parseUsers(await readFile(file, 'utf8'), file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || mustExist) throw error;
    return new Map();
  }
}

/** Replaced as a whole and synced: a power cut leaves the old file or the new one. Owner and mode stay; a new one is 0600. */
export async function writeUsers(file: string, users: ReadonlyMap<string, User>): Promise<void> {
  const before = await stat(file).catch(() => null);
  const temporary = join(dirname(file), `.users.${randomBytes(8).toString('hex')}.tmp`);
  const handle = await open(temporary, 'wx', 0o600);
  try {
    await handle.writeFile(formatUsers(users.values()));
    if (before !== null) {
      await handle.chmod(before.mode & 0o777);
      if (process.getuid?.() === 0) await handle.chown(before.uid, before.gid);
    }
    await handle.sync();
    await handle.close();
    await rename(temporary, file);
    await syncDirectory(dirname(file));
  } catch (error) {
    await handle.close().catch(() => {});
    await unlink(temporary).catch(() => {});
    throw error;
  }
}

/** Makes the rename last. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
