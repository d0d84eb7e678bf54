/** The file system as a tail source sees it; tests hand in their own. Nothing here ever writes. */
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface FileFacts {
  /** Device and inode, as text: both may be above 2^53. */
  readonly device: string;
  readonly inode: string;
  readonly size: number;
}

export interface TailHandle {
  facts(): Promise<FileFacts>;
  /** Bytes read into `buffer` from `position` on; 0 at the end. */
  read(buffer: Uint8Array, length: number, position: number): Promise<number>;
  close(): Promise<void>;
}

export interface TailFiles {
  /** Names in a directory; none when it cannot be read. */
  list(directory: string): Promise<readonly string[]>;
  /** null: there is no regular file. */
  facts(path: string): Promise<FileFacts | null>;
  /** Rejects when it may not be read, or is gone. */
  open(path: string): Promise<TailHandle>;
}

export const systemFiles: TailFiles = {
  list: (directory) => readdir(directory).catch(() => []),
  async facts(path) {
    try {
      const found = await stat(path, { bigint: true });
      return found.isFile() ? factsOf(found) : null;
    } catch {
      return null;
    }
  },
  async open(path) {
    const handle = await open(path, 'r');
    return {
      facts: async () => factsOf(await handle.stat({ bigint: true })),
      read: async (buffer, length, position) => (await handle.read(buffer, 0, length, position)).bytesRead,
      close: () => handle.close(),
    };
  },
};

function factsOf({ dev, ino, size }: { dev: bigint; ino: bigint; size: bigint }): FileFacts {
  return { device: String(dev), inode: String(ino), size: Number(size) };
}

/** `*` and `?` within one segment, as in a shell: a leading dot has to be given. */
function segmentPattern(segment: string): RegExp {
  const escaped = segment.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  const hidden = segment.startsWith('.') ? '' : '(?!\\.)';
  return new RegExp(`^${hidden}${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's');
}

/** Paths that an absolute pattern stands for, in name order. */
export async function expand(files: TailFiles, pattern: string): Promise<string[]> {
  let paths = ['/'];
  for (const segment of pattern.split('/').filter((part) => part !== '')) {
    if (!/[*?]/.test(segment)) {
      paths = paths.map((path) => join(path, segment));
      continue;
    }
    const wanted = segmentPattern(segment);
    const found: string[] = [];
    for (const path of paths) {
      const names = (await files.list(path)).filter((name) => wanted.test(name)).sort();
      found.push(...names.map((name) => join(path, name)));
    }
    paths = found;
  }
  return paths;
}
