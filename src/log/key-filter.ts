/**
 * Which labels the records of a chunk have, so that a reader who wants few of them passes over the rest. A label is a
 * 32-bit hash that the appender gives its record (MQTT: of the topic and of each of its levels); the log does not know
 * what it means. Per stripe, a stretch of whole batches of about 16 KB, the distinct labels are a Bloom filter. What no
 * stripe covers (batches without labels, copies, a chunk that a crash left open) must be read.
 *
 *   crc32c u32 | version u8 | probes u8 | 0 u16 | count u32 | count x stripe | bits
 *   stripe: partitionId u32 | bitsAt u32 | baseOffset u64 | lastOffset u64
 *
 * Stripes ascend by partition id, then base offset; the bits of one end where those of the next begin. The CRC covers
 * everything behind it. The bytes in memory are the bytes on disk.
 */
import { crc32c } from '../wire/batch/crc32c.ts';
import type { LabelQuery, Labels, LogRecord } from './types.ts';

export const KEY_FILTER_VERSION = 1;
const HEADER_BYTES = 12;
const STRIPE_BYTES = 24;
/** LevelDB reads blocks of this size: nothing is gained by finer stripes. */
const STRIPE_BATCH_BYTES = 16 * 1024;
/** One wrong answer in about 120. */
const BITS_PER_LABEL = 10;
const PROBES = 5;
const U32 = 0x1_0000_0000;

/** Bit positions are those of double hashing: `label + i x step`, the step made from the label, modulo the bits. */
function stepOf(label: number): number {
  let hash = Math.imul(label ^ (label >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) | 1) >>> 0;
}

function bitsOf(labels: ReadonlySet<number>): Buffer {
  const bytes = Buffer.alloc(Math.max(1, Math.ceil((labels.size * BITS_PER_LABEL) / 8)));
  const size = bytes.length * 8;
  for (const label of labels) {
    const step = stepOf(label);
    let at = label;
    for (let i = 0; i < PROBES; i++) {
      const bit = at % size;
      bytes[bit >>> 3]! |= 1 << (bit & 7);
      at = (at + step) >>> 0;
    }
  }
  return bytes;
}

interface Stripe {
  readonly partitionId: number;
  readonly baseOffset: number;
  lastOffset: number;
  bits: Buffer | null;
}

/** A stripe that still takes batches. Most records of a topic share their labels object: that is compared first. */
interface OpenStripe {
  readonly stripe: Stripe;
  readonly labels: Set<Labels>;
  bytes: number;
}

function close({ stripe, labels }: OpenStripe): void {
  const distinct = new Set<number>();
  for (const some of labels) for (const label of some) distinct.add(label);
  stripe.bits = bitsOf(distinct);
}

/** The filter of the chunk that is being filled. What it is told of a write that fails it may keep: it is a superset. */
export class KeyFilterBuilder {
  readonly #stripes: Stripe[] = [];
  readonly #open = new Map<number, OpenStripe>();

  /** A batch of `bytes`, in offset order per partition; `records` null: nobody knows what is in it. */
  add(
    partitionId: number,
    baseOffset: number,
    lastOffset: number,
    bytes: number,
    records: readonly LogRecord[] | null,
  ): void {
    let open = this.#open.get(partitionId);
    const labelled = records?.every(({ labels }) => labels !== undefined) ?? false;
    const joins =
      open !== undefined && open.stripe.lastOffset + 1 === baseOffset && open.bytes + bytes <= STRIPE_BATCH_BYTES;
    if (open !== undefined && !(joins && labelled)) {
      close(open);
      this.#open.delete(partitionId);
      open = undefined;
    }
    if (!labelled) return;
    if (open === undefined) {
      open = { stripe: { partitionId, baseOffset, lastOffset, bits: null }, labels: new Set(), bytes: 0 };
      this.#open.set(partitionId, open);
      this.#stripes.push(open.stripe);
    }
    for (const { labels } of records!) open.labels.add(labels!);
    open.stripe.lastOffset = lastOffset;
    open.bytes += bytes;
  }

  /** The bytes to store; null: there is nothing to tell. No batch may follow. */
  finish(): Buffer | null {
    for (const open of this.#open.values()) close(open);
    this.#open.clear();
    const stripes = this.#stripes.sort((a, b) => a.partitionId - b.partitionId || a.baseOffset - b.baseOffset);
    if (stripes.length === 0) return null;
    let length = HEADER_BYTES + stripes.length * STRIPE_BYTES;
    for (const { bits } of stripes) length += bits!.length;
    const bytes = Buffer.alloc(length);
    bytes[4] = KEY_FILTER_VERSION;
    bytes[5] = PROBES;
    bytes.writeUInt32BE(stripes.length, 8);
    let at = HEADER_BYTES;
    let bitsAt = HEADER_BYTES + stripes.length * STRIPE_BYTES;
    for (const { partitionId, baseOffset, lastOffset, bits } of stripes) {
      bytes.writeUInt32BE(partitionId, at);
      bytes.writeUInt32BE(bitsAt, at + 4);
      bytes.writeBigUInt64BE(BigInt(baseOffset), at + 8);
      bytes.writeBigUInt64BE(BigInt(lastOffset), at + 16);
      bits!.copy(bytes, bitsAt);
      at += STRIPE_BYTES;
      bitsAt += bits!.length;
    }
    bytes.writeUInt32BE(crc32c(bytes.subarray(4)), 0);
    return bytes;
  }
}

export interface Stretch {
  readonly firstOffset: number;
  readonly lastOffset: number;
}

export class KeyFilter {
  readonly #bytes: Buffer;
  readonly #probes: number;
  readonly length: number;

  private constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#probes = bytes[5]!;
    this.length = bytes.readUInt32BE(8);
  }

  /** null when the bytes are not a filter of a version that is known, or damaged: then everything is to be read. */
  static parse(stored: Uint8Array): KeyFilter | null {
    const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
    if (bytes.length < HEADER_BYTES || bytes[4] !== KEY_FILTER_VERSION) return null;
    if (crc32c(bytes.subarray(4)) !== bytes.readUInt32BE(0)) return null;
    if (HEADER_BYTES + bytes.readUInt32BE(8) * STRIPE_BYTES > bytes.length) return null;
    return new KeyFilter(bytes);
  }

  get byteLength(): number {
    return this.#bytes.length;
  }

  #u32(i: number, field: number): number {
    return this.#bytes.readUInt32BE(HEADER_BYTES + i * STRIPE_BYTES + field);
  }

  #u64(i: number, field: number): number {
    return this.#u32(i, field) * U32 + this.#u32(i, field + 4);
  }

  /** Index of the first stripe of the partition that ends at or behind `offset`, or `length`. */
  #find(partitionId: number, offset: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const id = this.#u32(middle, 0);
      if (id < partitionId || (id === partitionId && this.#u64(middle, 16) < offset)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #has(start: number, size: number, label: number): boolean {
    const bytes = this.#bytes;
    const step = stepOf(label);
    let at = label;
    for (let i = 0; i < this.#probes; i++) {
      const bit = at % size;
      if ((bytes[start + (bit >>> 3)]! & (1 << (bit & 7))) === 0) return false;
      at = (at + step) >>> 0;
    }
    return true;
  }

  #mayHold(i: number, query: LabelQuery): boolean {
    const start = this.#u32(i, 4);
    const end = i + 1 < this.length ? this.#u32(i + 1, 4) : this.#bytes.length;
    const size = (end - start) * 8;
    return query.some((labels) => labels.every((label) => this.#has(start, size, label)));
  }

  /** The first stretch of [from, last] that may hold what is wanted; null: none does. */
  next(partitionId: number, from: number, last: number, query: LabelQuery): Stretch | null {
    let first = -1;
    let at = from;
    for (let i = this.#find(partitionId, from); at <= last; i++) {
      const covered = i < this.length && this.#u32(i, 0) === partitionId && this.#u64(i, 8) <= last;
      // Up to the next stripe nobody knows.
      if (!covered) return { firstOffset: first < 0 ? at : first, lastOffset: last };
      if (this.#u64(i, 8) > at && first < 0) first = at;
      if (this.#mayHold(i, query)) {
        if (first < 0) first = Math.max(at, this.#u64(i, 8));
      } else if (first >= 0) return { firstOffset: first, lastOffset: Math.max(at, this.#u64(i, 8)) - 1 };
      at = this.#u64(i, 16) + 1;
    }
    return first < 0 ? null : { firstOffset: first, lastOffset: last };
  }
}

/** Filters of chunks that were read lately; the longest unused goes when they take more than `maxBytes`. */
export class KeyFilterCache {
  readonly #maxBytes: number;
  readonly #byChunk = new Map<number, KeyFilter | null>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** undefined: not here; null: the chunk has none. */
  get(chunkId: number): KeyFilter | null | undefined {
    const found = this.#byChunk.get(chunkId);
    if (found === undefined) return undefined;
    this.#byChunk.delete(chunkId);
    this.#byChunk.set(chunkId, found);
    return found;
  }

  put(chunkId: number, filter: KeyFilter | null): void {
    this.drop(chunkId);
    this.#byChunk.set(chunkId, filter);
    this.#bytes += sizeOf(filter);
    for (const oldest of this.#byChunk.keys()) {
      if (this.#bytes <= this.#maxBytes) return;
      this.drop(oldest);
    }
  }

  drop(chunkId: number): void {
    const found = this.#byChunk.get(chunkId);
    if (found === undefined) return;
    this.#byChunk.delete(chunkId);
    this.#bytes -= sizeOf(found);
  }
}

function sizeOf(filter: KeyFilter | null): number {
  return 64 + (filter?.byteLength ?? 0);
}
