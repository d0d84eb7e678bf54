/**
 * The segments of one partition: its shares of slices, in offset order, without overlap. Small and always in memory; the
 * finer index by chunk belongs to the slice.
 */
import type { Run } from './run-table.ts';
import type { Slice } from './slice.ts';

export interface Segment {
  readonly slice: Slice;
  baseOffset: number;
  lastOffset: number;
  bytes: number;
  maxTimestamp: number;
  readonly firstChunk: number;
  lastChunk: number;
}

/** What is left of a segment when `lessBytes` of it are elsewhere or gone. */
function part(segment: Segment, baseOffset: number, lastOffset: number, lessBytes: number): Segment {
  return { ...segment, baseOffset, lastOffset, bytes: Math.max(0, segment.bytes - lessBytes) };
}

export class Segments {
  #list: Segment[] = [];

  get list(): readonly Segment[] {
    return this.#list;
  }

  get bytes(): number {
    let bytes = 0;
    for (const segment of this.#list) bytes += segment.bytes;
    return bytes;
  }

  /** Index of the first segment that ends at or behind `offset`. */
  find(offset: number): number {
    let low = 0;
    let high = this.#list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#list[middle]!.lastOffset < offset) low = middle + 1;
      else high = middle;
    }
    return low;
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
    const tail = this.#list[this.#list.length - 1];
    if (tail !== undefined && tail.slice === slice) {
      tail.lastOffset = lastOffset;
      tail.bytes += bytes;
      tail.lastChunk = chunkId;
      if (maxTimestamp > tail.maxTimestamp) tail.maxTimestamp = maxTimestamp;
      return;
    }
    this.#list.push({ slice, baseOffset, lastOffset, bytes, maxTimestamp, firstChunk: chunkId, lastChunk: chunkId });
  }

  /**
   * Adds a run found in a slice, at recovery or after a move. What it covers of older segments is no longer theirs: call
   * it in ascending order of slices. `replacedBytes`: what the covered batches took there, when the copies are smaller.
   */
  place(slice: Slice, run: Run, replacedBytes = run.bytes): void {
    const placed: Segment = {
      slice,
      baseOffset: run.baseOffset,
      lastOffset: run.lastOffset,
      bytes: run.bytes,
      maxTimestamp: run.maxTimestamp,
      firstChunk: run.firstChunk,
      lastChunk: run.lastChunk,
    };
    const tail = this.#list[this.#list.length - 1];
    if (tail === undefined || (tail.lastOffset < placed.baseOffset && tail.slice !== slice)) {
      // At a start, slice after slice.
      this.#list.push(placed);
      return;
    }
    const before: Segment[] = [];
    const after: Segment[] = [];
    for (const segment of this.#list) {
      if (segment.lastOffset < placed.baseOffset) before.push(segment);
      else if (segment.baseOffset > placed.lastOffset) after.push(segment);
      else {
        // A crash between a move and the removal of its source leaves both copies: the newer one serves.
        if (segment.baseOffset < placed.baseOffset)
          before.push(part(segment, segment.baseOffset, placed.baseOffset - 1, replacedBytes));
        if (segment.lastOffset > placed.lastOffset)
          after.push(part(segment, placed.lastOffset + 1, segment.lastOffset, replacedBytes));
      }
    }
    const last = before[before.length - 1];
    if (last !== undefined && last.slice === slice && last.lastOffset + 1 === placed.baseOffset) {
      last.lastOffset = placed.lastOffset;
      last.bytes += placed.bytes;
      last.lastChunk = Math.max(last.lastChunk, placed.lastChunk);
      last.maxTimestamp = Math.max(last.maxTimestamp, placed.maxTimestamp);
    } else before.push(placed);
    this.#list = [...before, ...after];
  }

  /** Drops segments that end before the log start. */
  trim(logStartOffset: number): void {
    const first = this.find(logStartOffset);
    if (first > 0) this.#list.splice(0, first);
  }

  /** The first segment begins at the log start; its runs from there on have `bytes`. */
  shrinkFirst(logStartOffset: number, bytes: number): void {
    const first = this.#list[0];
    if (first === undefined || first.baseOffset >= logStartOffset || first.lastOffset < logStartOffset) return;
    first.baseOffset = logStartOffset;
    first.bytes = bytes;
  }

  /** Drops a slice's segments (quarantined or removed). Returns what went. */
  drop(slice: Slice): Segment[] {
    const gone = this.#list.filter((segment) => segment.slice === slice);
    if (gone.length > 0) this.#list = this.#list.filter((segment) => segment.slice !== slice);
    return gone;
  }

  /** What lies in [firstOffset, lastOffset] is not there any more. */
  forget(firstOffset: number, lastOffset: number): void {
    const kept: Segment[] = [];
    for (const segment of this.#list) {
      if (segment.lastOffset < firstOffset || segment.baseOffset > lastOffset) {
        kept.push(segment);
        continue;
      }
      if (segment.baseOffset < firstOffset) kept.push({ ...segment, lastOffset: firstOffset - 1 });
      if (segment.lastOffset > lastOffset) kept.push({ ...segment, baseOffset: lastOffset + 1 });
    }
    this.#list = kept;
  }
}
