/**
 * LevelDB's sorted tables, checked before LevelDB reads them. The checksums behind its blocks are not verified on the
 * paths that JavaScript reaches, and the library as it is published aborts the process on a block that makes no sense: one
 * flipped bit would be a crash at every start. What is still sound in a damaged table can be read here without it.
 *
 *   table  = block* metaindex index footer
 *   block  = content | type u8 (0 plain, 1 snappy) | masked crc32c u32 of content and type     little-endian
 *   footer = handle of metaindex | handle of index | padding to 40 bytes | magic u64           handle: 2 varints
 */
import { type FileHandle, open } from 'node:fs/promises';
import { crc32c } from '../wire/batch/crc32c.ts';
import type { Entry } from './store.ts';

const FOOTER_BYTES = 48;
const MAGIC_LOW = 0x8b80fb57;
const MAGIC_HIGH = 0xdb477524;
const TRAILER_BYTES = 5;
const SNAPPY = 1;
/** Behind a user's key: sequence number and kind of the entry. */
const INTERNAL_SUFFIX_BYTES = 8;
const KIND_VALUE = 1;
const READ_STEP_BYTES = 64 * 1024;

interface BlockHandle {
  readonly offset: number;
  /** Of the content, without the trailer. */
  readonly size: number;
}

/** Bytes that are not what LevelDB writes. */
export class Damage extends Error {}

/** Throws Damage. */
export function varint(bytes: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  let scale = 1;
  for (let i = at; i < bytes.length && i < at + 8; i++) {
    const byte = bytes[i]!;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return [value, i + 1];
    scale *= 128;
  }
  throw new Damage('a number without an end');
}

function handleAt(bytes: Uint8Array, at: number): [BlockHandle, number] {
  const [offset, middle] = varint(bytes, at);
  const [size, next] = varint(bytes, middle);
  return [{ offset, size }, next];
}

/** LevelDB stores checksums masked, so that a checksum over stored checksums is none of them. */
export function unmask(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

/** The entries of a block's content, in order; keys are LevelDB's internal ones. */
function* blockEntries(content: Buffer): IterableIterator<Entry> {
  if (content.length < 4) throw new Damage('a block without restart points');
  const end = content.length - 4 - 4 * content.readUInt32LE(content.length - 4);
  let key: Buffer = Buffer.alloc(0);
  for (let at = 0; at < end; ) {
    const [shared, a] = varint(content, at);
    const [fresh, b] = varint(content, a);
    const [length, c] = varint(content, b);
    if (shared > key.length || c + fresh + length > end) throw new Damage('an entry reaches beyond its block');
    key = Buffer.concat([key.subarray(0, shared), content.subarray(c, c + fresh)]);
    yield { key, value: content.subarray(c + fresh, c + fresh + length) };
    at = c + fresh + length;
  }
}

class TableFile {
  readonly #file: FileHandle;
  readonly #size: number;

  constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.#size = size;
  }

  async #read(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    if (offset + length > this.#size) throw new Damage(`a block at ${offset} reaches beyond the file`);
    const bytes = into === undefined || into.length < length ? Buffer.allocUnsafeSlow(length) : into;
    const { bytesRead } = await this.#file.read(bytes, 0, length, offset);
    if (bytesRead < length) throw new Damage(`the file ends at ${offset + bytesRead}`);
    return bytes;
  }

  /** The content as it is stored, and its type. Throws Damage when the checksum does not match. */
  async stored({ offset, size }: BlockHandle): Promise<{ content: Buffer; type: number }> {
    const bytes = await this.#read(offset, size + TRAILER_BYTES);
    if (crc32c(bytes, 0, size + 1) !== unmask(bytes.readUInt32LE(size + 1))) {
      throw new Damage(`the checksum of the block at ${offset} does not match`);
    }
    return { content: bytes.subarray(0, size), type: bytes[size]! };
  }

  async content(handle: BlockHandle): Promise<Buffer> {
    const { content, type } = await this.stored(handle);
    if (type !== SNAPPY) return content;
    const { uncompress } = (await import('snappyjs')).default;
    return Buffer.from(uncompress(content));
  }

  /** Handles of the data blocks, in order, without a gap between them. */
  async dataBlocks(): Promise<BlockHandle[]> {
    if (this.#size < FOOTER_BYTES) throw new Damage(`${this.#size} bytes are no table`);
    const footer = await this.#read(this.#size - FOOTER_BYTES, FOOTER_BYTES);
    if (footer.readUInt32LE(40) !== MAGIC_LOW || footer.readUInt32LE(44) !== MAGIC_HIGH) {
      throw new Damage('the footer is none');
    }
    const [metaindex, next] = handleAt(footer, 0);
    const [index] = handleAt(footer, next);
    await this.stored(metaindex);
    const handles: BlockHandle[] = [];
    let due = 0;
    for (const { value } of blockEntries(await this.content(index))) {
      const [handle] = handleAt(value, 0);
      if (handle.offset !== due) throw new Damage(`a block at ${handle.offset}; ${due} is due`);
      due = handle.offset + handle.size + TRAILER_BYTES;
      handles.push(handle);
    }
    return handles;
  }

  /** Checks the blocks in big steps of reading, all into the same memory. Throws Damage. */
  async verify(handles: readonly BlockHandle[]): Promise<void> {
    let bytes: Buffer | undefined;
    let first = 0;
    while (first < handles.length) {
      const from = handles[first]!.offset;
      let last = first;
      const endOf = (i: number) => handles[i]!.offset + handles[i]!.size + TRAILER_BYTES;
      while (last + 1 < handles.length && endOf(last + 1) - from <= READ_STEP_BYTES) last++;
      bytes = await this.#read(from, endOf(last) - from, bytes);
      for (let i = first; i <= last; i++) {
        const { offset, size } = handles[i]!;
        const at = offset - from;
        if (crc32c(bytes, at, at + size + 1) !== unmask(bytes.readUInt32LE(at + size + 1))) {
          throw new Damage(`the checksum of the block at ${offset} does not match`);
        }
      }
      first = last + 1;
    }
  }
}

async function withTable<T>(path: string, use: (table: TableFile) => Promise<T>): Promise<T> {
  const file = await open(path, 'r');
  try {
    return await use(new TableFile(file, (await file.stat()).size));
  } finally {
    await file.close();
  }
}

/** What is wrong with a table; null when nothing is. Reads all of it once, in bounded steps. */
export async function tableDamage(path: string): Promise<string | null> {
  return withTable(path, async (table) => {
    try {
      await table.verify(await table.dataBlocks());
      return null;
    } catch (error) {
      if (error instanceof Damage) return error.message;
      throw error;
    }
  });
}

/** The values in the sound blocks of a damaged table, by the user's keys; the newest of each. None without its index. */
export async function soundEntries(path: string): Promise<Entry[]> {
  return withTable(path, async (table) => {
    const entries: Entry[] = [];
    let before = Buffer.alloc(0);
    const handles = await table.dataBlocks().catch((error: unknown) => {
      if (error instanceof Damage) return [];
      throw error;
    });
    for (const handle of handles) {
      try {
        for (const { key, value } of blockEntries(await table.content(handle))) {
          const internal = Buffer.from(key);
          const user = internal.subarray(0, internal.length - INTERNAL_SUFFIX_BYTES);
          const kind = internal[user.length];
          // The newest of a key comes first; a deletion hides the older ones.
          if ((entries.length === 0 || !before.equals(user)) && kind === KIND_VALUE) entries.push({ key: user, value });
          before = user;
        }
      } catch (error) {
        if (!(error instanceof Damage)) throw error;
      }
    }
    return entries;
  });
}
