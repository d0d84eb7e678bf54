/** Small files beside the databases. Unless they are scratch: replaced as a whole or not at all, durable when the promise resolves. */
import { randomBytes } from 'node:crypto';
import { constants, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Scratch } from './store.ts';

/** What lies behind it in a scratch file is not ours. */
const SCRATCH_MAX_BYTES = 1024 * 1024;
/** The reserve is written in steps of this size. */
const RESERVE_STEP_BYTES = 256 * 1024;

export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export async function replaceFile(path: string, content: Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  const handle = await open(temporary, 'w');
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncDirectory(join(path, '..'));
}

/** Random bytes: neither a sparse file nor one that a compressing file system makes small. */
export async function writeReserve(path: string, bytes: number): Promise<void> {
  const filling = randomBytes(Math.min(RESERVE_STEP_BYTES, bytes));
  const handle = await open(path, 'w');
  try {
    for (let written = 0; written < bytes; ) {
      const { bytesWritten } = await handle.write(filling, 0, Math.min(filling.length, bytes - written));
      written += bytesWritten;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** See `Store.openScratch`. */
export async function openScratchFile(path: string): Promise<Scratch> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  return {
    async read() {
      const { size } = await handle.stat();
      const bytes = Buffer.alloc(Math.min(size, SCRATCH_MAX_BYTES));
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
      return bytes.subarray(0, bytesRead);
    },
    async write(bytes, at) {
      await handle.write(bytes, 0, bytes.length, at);
    },
    close: () => handle.close(),
  };
}
