/**
 * The segments of one partition: its shares of slices, in offset order, without overlap. Always in memory, so they are
 * packed: about 60 bytes for each pair of partition and slice (as objects they were 250, and a store of some GB has tens of
 * thousands). The finer index by chunk belongs to the slice.
 */
import type { Spans } from './losses.ts';
import type { Run } from './run-table.ts';
import type { Slice } from './slice.ts';

/** What is known of a segment; a copy, which later changes do not reach. */
export interface Segment {
  readonly slice: Slice;
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly bytes: number;
  /** Largest record timestamp in it, ms. */
  readonly maxTimestamp: number;
  readonly firstChunk: number;
  readonly lastChunk: number;
}

/** Where each number of a segment stands among its `FIELDS`. */
const BASE = 0;
const LAST = 1;
const BYTES = 2;
const MAX_TIMESTAMP = 3;
const FIRST_CHUNK = 4;
const LAST_CHUNK = 5;
const FIELDS = 6;

/** What is left of a segment when `lessBytes` of it are elsewhere or gone. */
function part(segment: Segment, baseOffset: number, lastOffset: number, lessBytes: number): Segment {
  return { ...segment, baseOffset, lastOffset, bytes: Math.max(0, segment.bytes - lessBytes) };
}

export class Segments implements Iterable<Segment>, Spans {
  #slices: Slice[] = [];
  #numbers: Float64Array;

  /** `expected`: how many there will be, where that is known. */
  constructor(expected = 0) {
    this.#numbers = new Float64Array(expected * FIELDS);
  }

  get length(): number {
    return this.#slices.length;
  }

  get bytes(): number {
    return this.bytesFrom(0);
  }

  /** Bytes of the `i`-th and all behind it. */
  bytesFrom(i: number): number {
    let bytes = 0;
    for (let at = i; at < this.length; at++) bytes += this.bytesOf(at);
    return bytes;
  }

  at(i: number): Segment | undefined {
    const slice = this.#slices[i];
    if (slice === undefined) return undefined;
    const numbers = this.#numbers;
    const first = i * FIELDS;
    return {
      slice,
      baseOffset: numbers[first + BASE]!,
      lastOffset: numbers[first + LAST]!,
      bytes: numbers[first + BYTES]!,
      maxTimestamp: numbers[first + MAX_TIMESTAMP]!,
      firstChunk: numbers[first + FIRST_CHUNK]!,
      lastChunk: numbers[first + LAST_CHUNK]!,
    };
  }

  baseOffset(i: number): number {
    return this.#numbers[i * FIELDS + BASE]!;
  }

  lastOffset(i: number): number {
    return this.#numbers[i * FIELDS + LAST]!;
  }

  bytesOf(i: number): number {
    return this.#numbers[i * FIELDS + BYTES]!;
  }

  maxTimestamp(i: number): number {
    return this.#numbers[i * FIELDS + MAX_TIMESTAMP]!;
  }

  get last(): Segment | undefined {
    return this.at(this.length - 1);
  }

  *[Symbol.iterator](): IterableIterator<Segment> {
    for (let i = 0; i < this.length; i++) yield this.at(i)!;
  }

  /** Each segment's slice and bytes, without an object for each. */
  forEachShare(visit: (slice: Slice, bytes: number) => void): void {
    for (let i = 0; i < this.length; i++) visit(this.#slices[i]!, this.bytesOf(i));
  }

  /** Index of the first segment that ends at or behind `offset`; `length` when all end before it. */
  find(offset: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.lastOffset(middle) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The first segment in `slice`. */
  in(slice: Slice): Segment | undefined {
    return this.at(this.#slices.indexOf(slice));
  }

  /** A batch was stored at the end of the log. */
  append(
    slice: Slice,
    chunkId: number,
    baseOffset: number,
    lastOffset: number,
    bytes: number,
    maxTimestamp: number,
  ): void {
    const tail = this.length - 1;
    // Behind offsets that were skipped or forgotten another segment begins, as a start would find it.
    if (this.#slices[tail] !== slice || this.lastOffset(tail) + 1 !== baseOffset) {
      this.#push(slice, { baseOffset, lastOffset, bytes, maxTimestamp, firstChunk: chunkId, lastChunk: chunkId });
      return;
    }
    const numbers = this.#numbers;
    const first = tail * FIELDS;
    numbers[first + LAST] = lastOffset;
    numbers[first + BYTES]! += bytes;
    numbers[first + LAST_CHUNK] = chunkId;
    if (maxTimestamp > numbers[first + MAX_TIMESTAMP]!) numbers[first + MAX_TIMESTAMP] = maxTimestamp;
  }

  /**
   * Adds a run found in a slice, at recovery or after a move. What it covers of older segments is no longer theirs: call
   * it in ascending order of slices. `replacedBytes`: what the covered batches took there, when the copies are smaller.
   */
  place(slice: Slice, run: Run, replacedBytes = run.bytes): void {
    const tail = this.length - 1;
    if (tail < 0 || (this.lastOffset(tail) < run.baseOffset && this.#slices[tail] !== slice)) {
      // At a start, slice after slice.
      this.#push(slice, run);
      return;
    }
    const before: Segment[] = [];
    const after: Segment[] = [];
    for (const segment of this) {
      if (segment.lastOffset < run.baseOffset) before.push(segment);
      else if (segment.baseOffset > run.lastOffset) after.push(segment);
      else {
        // A crash between a move and the removal of its source leaves both copies: the newer one serves.
        if (segment.baseOffset < run.baseOffset)
          before.push(part(segment, segment.baseOffset, run.baseOffset - 1, replacedBytes));
        if (segment.lastOffset > run.lastOffset)
          after.push(part(segment, run.lastOffset + 1, segment.lastOffset, replacedBytes));
      }
    }
    const last = before[before.length - 1];
    if (last !== undefined && last.slice === slice && last.lastOffset + 1 === run.baseOffset) {
      before[before.length - 1] = {
        ...last,
        lastOffset: run.lastOffset,
        bytes: last.bytes + run.bytes,
        lastChunk: Math.max(last.lastChunk, run.lastChunk),
        maxTimestamp: Math.max(last.maxTimestamp, run.maxTimestamp),
      };
    } else before.push({ ...run, slice });
    this.#replace([...before, ...after]);
  }

  /** Drops segments that end before the log start. */
  trim(logStartOffset: number): void {
    const gone = this.find(logStartOffset);
    if (gone === 0) return;
    this.#numbers.copyWithin(0, gone * FIELDS, this.length * FIELDS);
    this.#slices.splice(0, gone);
  }

  /** The first segment begins at the log start; its runs from there on have `bytes`. */
  shrinkFirst(logStartOffset: number, bytes: number): void {
    const numbers = this.#numbers;
    if (this.length === 0 || numbers[BASE]! >= logStartOffset || numbers[LAST]! < logStartOffset) return;
    numbers[BASE] = logStartOffset;
    numbers[BYTES] = bytes;
  }

  /** Drops a slice's segments (quarantined or removed). Returns what went. */
  drop(slice: Slice): Segment[] {
    const gone = [...this].filter((segment) => segment.slice === slice);
    if (gone.length > 0) this.#replace([...this].filter((segment) => segment.slice !== slice));
    return gone;
  }

  /** What lies in [firstOffset, lastOffset] is not there any more. */
  forget(firstOffset: number, lastOffset: number): void {
    const kept: Segment[] = [];
    for (const segment of this) {
      if (segment.lastOffset < firstOffset || segment.baseOffset > lastOffset) {
        kept.push(segment);
        continue;
      }
      if (segment.baseOffset < firstOffset) kept.push({ ...segment, lastOffset: firstOffset - 1 });
      if (segment.lastOffset > lastOffset) kept.push({ ...segment, baseOffset: lastOffset + 1 });
    }
    this.#replace(kept);
  }

  #replace(segments: readonly Segment[]): void {
    this.#slices = [];
    for (const segment of segments) this.#push(segment.slice, segment);
  }

  #push(slice: Slice, segment: Omit<Segment, 'slice'>): void {
    const first = this.length * FIELDS;
    if (first === this.#numbers.length) {
      const larger = new Float64Array(Math.ceil((this.length + 2) * 1.25) * FIELDS);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    const numbers = this.#numbers;
    numbers[first + BASE] = segment.baseOffset;
    numbers[first + LAST] = segment.lastOffset;
    numbers[first + BYTES] = segment.bytes;
    numbers[first + MAX_TIMESTAMP] = segment.maxTimestamp;
    numbers[first + FIRST_CHUNK] = segment.firstChunk;
    numbers[first + LAST_CHUNK] = segment.lastChunk;
    this.#slices.push(slice);
  }
}
