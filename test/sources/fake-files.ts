/** Files in memory, with inodes that are given again: what log rotation does to a tail source. */
import type { FileFacts, TailFiles, TailHandle } from '../../src/sources/files.ts';

interface Inode {
  readonly number: number;
  content: Buffer;
}

export class FakeFiles implements TailFiles {
  readonly #names = new Map<string, Inode>();
  #free: number[] = [];
  #next = 100;
  /** Paths that may not be opened. */
  readonly forbidden = new Set<string>();
  opened = 0;

  write(path: string, text: string): void {
    let inode = this.#names.get(path);
    if (inode === undefined) {
      inode = { number: this.#free.pop() ?? this.#next++, content: Buffer.alloc(0) };
      this.#names.set(path, inode);
    }
    inode.content = Buffer.concat([inode.content, Buffer.from(text)]);
  }

  /** A writer that has the file open still, whatever it is called now. */
  writer(path: string): (text: string) => void {
    const inode = this.#names.get(path)!;
    return (text) => {
      inode.content = Buffer.concat([inode.content, Buffer.from(text)]);
    };
  }

  rename(from: string, to: string): void {
    this.#names.set(to, this.#names.get(from)!);
    this.#names.delete(from);
  }

  truncate(path: string): void {
    this.#names.get(path)!.content = Buffer.alloc(0);
  }

  /** `reuse`: the next file that is made gets this one's inode. */
  remove(path: string, reuse = true): void {
    if (reuse) this.#free.push(this.#names.get(path)!.number);
    this.#names.delete(path);
  }

  async list(directory: string): Promise<readonly string[]> {
    const prefix = directory === '/' ? '/' : `${directory}/`;
    const names = [...this.#names.keys()].filter((path) => path.startsWith(prefix));
    return [...new Set(names.map((path) => path.slice(prefix.length).split('/')[0]!))];
  }

  async facts(path: string): Promise<FileFacts | null> {
    const inode = this.#names.get(path);
    return inode === undefined ? null : factsOf(inode);
  }

  async open(path: string): Promise<TailHandle> {
    const inode = this.#names.get(path);
    if (inode === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
    if (this.forbidden.has(path)) throw Object.assign(new Error(`EACCES: ${path}`), { code: 'EACCES' });
    this.opened++;
    return {
      facts: async () => factsOf(inode),
      read: async (buffer, length, position) => {
        const bytes = inode.content.subarray(position, position + length);
        buffer.set(bytes);
        return bytes.length;
      },
      close: async () => {
        this.opened--;
      },
    };
  }
}

function factsOf({ number, content }: Inode): FileFacts {
  return { device: '1', inode: String(number), size: content.length };
}
