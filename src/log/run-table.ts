/**
 * The chunk index: a table of runs, a run being the stretch of one partition's offsets inside one chunk (or inside one
 * slice). The bytes in memory are the bytes on disk (FORMAT.md): nothing is decoded, an entry costs its 40 bytes.
 *
 *   crc32c u32 | version u8 | 0 u8 | 0 u16 | count u32 | count x entry
 *   entry: partitionId u32 | bytes u32 | baseOffset u64 | lastOffset u64 | maxTimestamp i64 | firstChunk u32 | lastChunk u32
 *
 * Entries ascend by partition id, then base offset. The CRC covers everything behind it.
 */
import { crc32c } from '../wire/batch/crc32c.ts';

export interface Run {
  readonly partitionId: number;
  /** First and last offset that the run covers. */
  readonly baseOffset: number;
  readonly lastOffset: number;
  /** Bytes of its batches. */
  readonly bytes: number;
  /** Largest record timestamp in it, ms. */
  readonly maxTimestamp: number;
  readonly firstChunk: number;
  readonly lastChunk: number;
}

export const RUN_TABLE_VERSION = 1;
const HEADER_BYTES = 12;
const ENTRY_BYTES = 40;
const U32 = 0x1_0000_0000;

function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeInt32BE(Math.floor(value / U32), at);
  bytes.writeUInt32BE(((value % U32) + U32) % U32, at + 4);
}

/** Encodes runs in any order. */
export function encodeRunTable(runs: readonly Run[]): Buffer {
  const sorted = [...runs].sort((a, b) => a.partitionId - b.partitionId || a.baseOffset - b.baseOffset);
  const bytes = Buffer.alloc(HEADER_BYTES + sorted.length * ENTRY_BYTES);
  bytes[4] = RUN_TABLE_VERSION;
  bytes.writeUInt32BE(sorted.length, 8);
  let at = HEADER_BYTES;
  for (const run of sorted) {
    bytes.writeUInt32BE(run.partitionId, at);
    bytes.writeUInt32BE(run.bytes, at + 4);
    writeU64(bytes, run.baseOffset, at + 8);
    writeU64(bytes, run.lastOffset, at + 16);
    writeU64(bytes, run.maxTimestamp, at + 24);
    bytes.writeUInt32BE(run.firstChunk, at + 32);
    bytes.writeUInt32BE(run.lastChunk, at + 36);
    at += ENTRY_BYTES;
  }
  bytes.writeUInt32BE(crc32c(bytes.subarray(4)), 0);
  return bytes;
}

export class RunTable {
  readonly #bytes: Buffer;
  readonly length: number;

  private constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.length = bytes.readUInt32BE(8);
  }

  /** null when the bytes are not a run table of a version that is known, or damaged. */
  static parse(stored: Uint8Array): RunTable | null {
    const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
    if (bytes.length < HEADER_BYTES || bytes[4] !== RUN_TABLE_VERSION) return null;
    if (bytes.length !== HEADER_BYTES + bytes.readUInt32BE(8) * ENTRY_BYTES) return null;
    if (crc32c(bytes.subarray(4)) !== bytes.readUInt32BE(0)) return null;
    return new RunTable(bytes);
  }

  static of(runs: readonly Run[]): RunTable {
    return new RunTable(encodeRunTable(runs));
  }

  get byteLength(): number {
    return this.#bytes.length;
  }

  /** The bytes to store. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  #u64(i: number, field: number): number {
    const at = HEADER_BYTES + i * ENTRY_BYTES + field;
    return this.#bytes.readInt32BE(at) * U32 + this.#bytes.readUInt32BE(at + 4);
  }

  #u32(i: number, field: number): number {
    return this.#bytes.readUInt32BE(HEADER_BYTES + i * ENTRY_BYTES + field);
  }

  partitionId(i: number): number {
    return this.#u32(i, 0);
  }

  lastOffset(i: number): number {
    return this.#u64(i, 16);
  }

  maxTimestamp(i: number): number {
    return this.#u64(i, 24);
  }

  run(i: number): Run {
    return {
      partitionId: this.#u32(i, 0),
      bytes: this.#u32(i, 4),
      baseOffset: this.#u64(i, 8),
      lastOffset: this.#u64(i, 16),
      maxTimestamp: this.#u64(i, 24),
      firstChunk: this.#u32(i, 32),
      lastChunk: this.#u32(i, 36),
    };
  }

  /** Index of the first run of the partition that ends at or behind `offset`, or -1. */
  find(partitionId: number, offset: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const id = this.partitionId(middle);
      if (id < partitionId || (id === partitionId && this.lastOffset(middle) < offset)) low = middle + 1;
      else high = middle;
    }
    return low < this.length && this.partitionId(low) === partitionId ? low : -1;
  }

  *runs(): IterableIterator<Run> {
    for (let i = 0; i < this.length; i++) yield this.run(i);
  }
}
