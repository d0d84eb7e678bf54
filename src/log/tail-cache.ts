/**
 * The newest batches of all partitions in memory, bounded in bytes together, oldest out first: readers at the end of the
 * log share them and never touch the disk.
 */
interface CachedBatch {
  readonly tail: Tail;
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly batch: Uint8Array;
}

/** The cached end of one partition, contiguous up to its log end. */
export class Tail {
  readonly entries: CachedBatch[] = [];
  /** Entries before it are evicted. */
  head = 0;

  /** First offset held; Infinity when nothing is. */
  get firstOffset(): number {
    return this.head < this.entries.length ? this.entries[this.head]!.baseOffset : Number.POSITIVE_INFINITY;
  }

  /** Index of the batch that contains `from` (or the first behind it). */
  seek(from: number): number {
    let low = this.head;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.entries[middle]!.lastOffset < from) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Evicted entries at the front of an array are cut off when they are this many and more than half. */
const SLACK = 64;

export class TailCache {
  readonly #maxBytes: number;
  readonly #queue: CachedBatch[] = [];
  #head = 0;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(tail: Tail, baseOffset: number, lastOffset: number, batch: Uint8Array): void {
    const entry: CachedBatch = { tail, baseOffset, lastOffset, batch };
    tail.entries.push(entry);
    this.#queue.push(entry);
    this.#bytes += batch.byteLength;
    while (this.#bytes > this.#maxBytes) this.#evict();
  }

  #evict(): void {
    const entry = this.#queue[this.#head++]!;
    const { tail } = entry;
    // A cleared tail has left its entries behind in the queue.
    if (tail.entries[tail.head] === entry) {
      tail.head++;
      if (tail.head > SLACK && tail.head * 2 > tail.entries.length) {
        tail.entries.splice(0, tail.head);
        tail.head = 0;
      } else if (tail.head === tail.entries.length) {
        tail.entries.length = 0;
        tail.head = 0;
      }
    }
    this.#bytes -= entry.batch.byteLength;
    if (this.#head > SLACK && this.#head * 2 > this.#queue.length) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Forgets a partition's batches below `offset`, which the store now serves otherwise; their bytes leave the count later. */
  dropBelow(tail: Tail, offset: number): void {
    const { entries } = tail;
    while (tail.head < entries.length && entries[tail.head]!.lastOffset < offset) tail.head++;
    if (tail.head === entries.length) this.clear(tail);
  }

  /** Forgets a partition's batches; their bytes leave the count as the queue moves on. */
  clear(tail: Tail): void {
    tail.entries.length = 0;
    tail.head = 0;
  }
}
