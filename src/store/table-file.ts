/**
 * One sorted table of LevelDB, read without LevelDB: the index block is held, data blocks are read with one positioned
 * read each stretch and the values are views of it. No mapping (mapped pages count as resident), no copy per value.
 *
 *   table  = data block* | metaindex block | index block | footer of 48 bytes
 *   block  = content | type u8 (0 plain, 1 snappy) | masked crc32c u32
 *   entry  = shared varint | unshared varint | value length varint | unshared key bytes | value
 *   key    = user key | (sequence << 8 | kind) u64 little-endian; kind 0 deletes
 *
 * Whatever looks unusual throws UnusualTable: LevelDB itself has the last word then.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { BATCH_KEY_BYTES } from './keys.ts';

/** These bytes need LevelDB to be understood, or are damaged. */
export class UnusualTable extends Error {}

const FOOTER_BYTES = 48;
const TRAILER_BYTES = 5;
/** Sequence and kind behind the user key. */
const INTERNAL_BYTES = 8;
const KEY_BYTES = BATCH_KEY_BYTES + INTERNAL_BYTES;
const MAGIC = Buffer.from('57fb808b247547db', 'hex');
/** Covers the footer, the index block and mostly the last data block. */
const TAIL_BYTES = 24 * 1024;
const SNAPPY_MAX_BYTES = 64 * 1024 * 1024;

type Decompress = (block: Uint8Array) => Uint8Array;
let decompress: Decompress | null = null;

async function loadSnappy(): Promise<Decompress> {
  if (decompress === null) {
    const { default: snappy } = await import('snappyjs');
    decompress = (block) => snappy.uncompress(block, SNAPPY_MAX_BYTES);
  }
  return decompress;
}

/** Varints of one block; `at` moves. */
class Cursor {
  readonly bytes: Buffer;
  at: number;
  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  varint(): number {
    const { bytes } = this;
    let value = 0;
    for (let factor = 1; this.at < bytes.length && factor <= 2 ** 49; factor *= 128) {
      const byte = bytes[this.at++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw new UnusualTable('a number without an end');
  }
}

/** The entries of one data block, in order; a deleted key or an older version of one is passed over. */
export class BlockCursor {
  readonly #cursor: Cursor;
  readonly #end: number;
  readonly #key = Buffer.alloc(KEY_BYTES);
  /** User key of the present entry: a view that the next one changes. */
  readonly key: Buffer = this.#key.subarray(0, BATCH_KEY_BYTES);
  #valueStart = 0;
  #valueEnd = 0;

  constructor(block: Buffer) {
    this.#cursor = new Cursor(block);
    const restarts = block.length >= 4 ? block.readUInt32LE(block.length - 4) : -1;
    this.#end = block.length - 4 * (restarts + 1);
    if (restarts < 0 || this.#end < 0) throw new UnusualTable('a block without restarts');
  }

  get value(): Buffer {
    return this.#cursor.bytes.subarray(this.#valueStart, this.#valueEnd);
  }

  /** Moves to the next entry; false at the end of the block. */
  next(): boolean {
    const cursor = this.#cursor;
    if (cursor.at >= this.#end) return false;
    const shared = cursor.varint();
    const unshared = cursor.varint();
    const valueBytes = cursor.varint();
    const valueStart = cursor.at + unshared;
    if (shared + unshared !== KEY_BYTES || valueStart + valueBytes > this.#end) throw new UnusualTable('an odd entry');
    cursor.bytes.copy(this.#key, shared, cursor.at, valueStart);
    // Nothing is deleted from a slice or written twice, except after a failed write: LevelDB knows which one counts.
    if (this.#key[BATCH_KEY_BYTES] !== 1) throw new UnusualTable('a deletion');
    this.#valueStart = valueStart;
    this.#valueEnd = valueStart + valueBytes;
    cursor.at = this.#valueEnd;
    return true;
  }
}

/** CRC-32C as LevelDB stores it is not checked here (batches have their own); the index, which decides, is. */
export type Checksum = (bytes: Uint8Array) => number;

function unmask(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

export class TableFile {
  readonly #handle: FileHandle;
  /** Content of the index block; its keys stand in it in full. */
  #index: Buffer = Buffer.alloc(0);
  /** Per data block: where its separator begins in `#index`, where the block begins in the file, its size. */
  #keys = new Uint32Array(0);
  #lengths = new Uint8Array(0);
  #offsets = new Uint32Array(0);
  #sizes = new Uint32Array(0);
  firstKey: Buffer = Buffer.alloc(0);
  lastKey: Buffer = Buffer.alloc(0);
  /** The value of the last key, which was read to find that: for the first who asks. */
  #lastValue: Buffer | null = null;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  static async open(path: string, checksum: Checksum): Promise<TableFile> {
    const handle = await open(path, 'r');
    const table = new TableFile(handle);
    try {
      await table.#load(checksum);
      return table;
    } catch (error) {
      await table.close();
      throw error;
    }
  }

  get blocks(): number {
    return this.#offsets.length;
  }

  /** Bytes it holds in memory. */
  get byteLength(): number {
    return this.#index.byteLength + this.#offsets.length * 13;
  }

  async #load(checksum: Checksum): Promise<void> {
    const { size } = await this.#handle.stat();
    if (size < FOOTER_BYTES) throw new UnusualTable('a table without a footer');
    const tailStart = Math.max(0, size - TAIL_BYTES);
    const tail = await this.#bytes(tailStart, size - tailStart);
    if (!tail.subarray(-8).equals(MAGIC)) throw new UnusualTable('no magic');
    const footer = new Cursor(tail.subarray(-FOOTER_BYTES));
    footer.varint();
    footer.varint();
    const offset = footer.varint();
    const length = footer.varint();
    if (offset + length + TRAILER_BYTES > size) throw new UnusualTable('an index outside the file');
    const stored =
      offset >= tailStart
        ? tail.subarray(offset - tailStart, offset - tailStart + length + TRAILER_BYTES)
        : await this.#bytes(offset, length + TRAILER_BYTES);
    if (checksum(stored.subarray(0, length + 1)) !== unmask(stored.readUInt32LE(length + 1))) {
      throw new UnusualTable('the index does not match its checksum');
    }
    await this.#parseIndex(await plain(stored, 0, length));
    if (this.blocks === 0) throw new UnusualTable('an empty table');
    const first = new BlockCursor(await this.block(0));
    if (first.next()) this.firstKey = Buffer.from(first.key);
    const last = this.blocks - 1;
    const at = this.#offsets[last]! - tailStart;
    const lastBlock = at >= 0 ? await plain(tail, at, this.#sizes[last]!) : await this.block(last);
    const cursor = new BlockCursor(lastBlock);
    while (cursor.next());
    this.lastKey = Buffer.from(cursor.key);
    this.#lastValue = Buffer.from(cursor.value);
  }

  /** The value of the last key, once; null: it has to be read. */
  takeLastValue(): Buffer | null {
    const value = this.#lastValue;
    this.#lastValue = null;
    return value;
  }

  async #parseIndex(content: Buffer): Promise<void> {
    // Not a view of the read: that would hold all of it.
    this.#index = Buffer.from(content);
    const end = content.length - 4 * (content.readUInt32LE(content.length - 4) + 1);
    const rows: [at: number, length: number, offset: number, size: number][] = [];
    const cursor = new Cursor(this.#index);
    while (cursor.at < end) {
      const shared = cursor.varint();
      const unshared = cursor.varint();
      cursor.varint();
      if (shared !== 0 || unshared < INTERNAL_BYTES || unshared > KEY_BYTES) throw new UnusualTable('an odd index');
      const at = cursor.at;
      cursor.at += unshared;
      rows.push([at, unshared - INTERNAL_BYTES, cursor.varint(), cursor.varint()]);
    }
    this.#keys = Uint32Array.from(rows, (row) => row[0]);
    this.#lengths = Uint8Array.from(rows, (row) => row[1]);
    this.#offsets = Uint32Array.from(rows, (row) => row[2]);
    this.#sizes = Uint32Array.from(rows, (row) => row[3]);
  }

  /** The first block that may contain `key` or what follows it; `blocks` when all of the table is before it. */
  find(key: Uint8Array): number {
    let low = 0;
    let high = this.blocks;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compareSeparator(middle, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The separator behind a block, at or above its last key and below the first of the next, against `key`. */
  compareSeparator(block: number, key: Uint8Array): number {
    const at = this.#keys[block]!;
    return this.#index.compare(key, 0, key.length, at, at + this.#lengths[block]!);
  }

  /** How many blocks from `block` on make up `bytes`, at least one, none beyond the one in which `last` would lie. */
  stretch(block: number, bytes: number, last: Uint8Array | undefined): number {
    let end = block;
    let sum = 0;
    do {
      sum += this.#sizes[end]!;
      end++;
    } while (end < this.blocks && sum < bytes && (last === undefined || this.compareSeparator(end - 1, last) < 0));
    return end - block;
  }

  /** The stored bytes of `count` blocks from `block` on, in one read. */
  async read(block: number, count: number): Promise<StoredBlocks> {
    const start = this.#offsets[block]!;
    const last = block + count - 1;
    const bytes = await this.#bytes(start, this.#offsets[last]! + this.#sizes[last]! + TRAILER_BYTES - start);
    return {
      count,
      content: (i) => plain(bytes, this.#offsets[block + i]! - start, this.#sizes[block + i]!),
    };
  }

  async block(block: number): Promise<Buffer> {
    return (await this.read(block, 1)).content(0);
  }

  async #bytes(offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await this.#handle.read(buffer, 0, length, offset);
    if (bytesRead !== length) throw new UnusualTable('the file is too short');
    return buffer;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

export interface StoredBlocks {
  readonly count: number;
  /** The content of the i-th, decompressed. */
  readonly content: (i: number) => Buffer | Promise<Buffer>;
}

/** The content of the block at `at`; a view where it is stored as it is. */
function plain(bytes: Buffer, at: number, size: number): Buffer | Promise<Buffer> {
  const content = bytes.subarray(at, at + size);
  const type = bytes[at + size];
  if (content.length !== size || type === undefined || type > 1) throw new UnusualTable('an odd block');
  return type === 0 ? content : unpacked(content);
}

async function unpacked(content: Buffer): Promise<Buffer> {
  const unpack = decompress ?? (await loadSnappy());
  try {
    const block = unpack(content);
    return Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  } catch (error) {
    throw new UnusualTable('a block that cannot be decompressed', { cause: error });
  }
}
