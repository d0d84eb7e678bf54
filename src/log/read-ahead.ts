/**
 * Reads on while the reader is busy with what it got: who has been given a full answer will ask for what follows it. One
 * step ahead of each reader, bounded in bytes over all of them; what nobody came for is forgotten after a moment.
 */
import type { Clock, Timer } from '../env.ts';
import { READ_AHEAD_MAX_BYTES } from '../limits.ts';
import { baseOffsetOf, lastOffsetOf } from '../wire/batch/record-batch.ts';
import type { Segments } from './segments.ts';
import type { ReadResult } from './types.ts';

/** Smaller reads are looks at a place, not a reader on its way. */
const READ_MIN_BYTES = 128 * 1024;
const FORGET_AFTER_MS = 1_000;

export type ReadStored = (
  partitionId: number,
  segments: Segments,
  from: number,
  upTo: number,
  maxBytes: number,
) => Promise<ReadResult>;

interface Ahead {
  readonly result: Promise<ReadResult | null>;
  /** What it may hold, bytes. */
  readonly bytes: number;
  readonly timer: Timer;
}

export class ReadAhead {
  readonly #clock: Clock;
  readonly #read: ReadStored;
  readonly #maxBytes: number;
  /** By partition id and first offset. */
  readonly #ahead = new Map<string, Ahead>();
  readonly #reading = new Set<Promise<unknown>>();
  #bytes = 0;
  #closed = false;

  constructor(clock: Clock, read: ReadStored, maxBytes = READ_AHEAD_MAX_BYTES) {
    this.#clock = clock;
    this.#read = read;
    this.#maxBytes = maxBytes;
  }

  /** What is held or being read ahead, bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  async read(
    partitionId: number,
    segments: Segments,
    from: number,
    upTo: number,
    maxBytes: number,
  ): Promise<ReadResult> {
    const ahead = this.#take(`${partitionId}:${from}`);
    const early = ahead === null ? null : within(await ahead.result, upTo, maxBytes);
    const result = early ?? (await this.#read(partitionId, segments, from, upTo, maxBytes));
    const { bytes, nextOffset } = result;
    // An answer that is not nearly full has reached the end of what there is.
    if (bytes >= READ_MIN_BYTES && maxBytes >= READ_MIN_BYTES && bytes * 2 > maxBytes && nextOffset < upTo) {
      this.#start(partitionId, segments, nextOffset, upTo, maxBytes);
    }
    return result;
  }

  #start(partitionId: number, segments: Segments, from: number, upTo: number, maxBytes: number): void {
    const key = `${partitionId}:${from}`;
    if (this.#closed || this.#bytes + maxBytes > this.#maxBytes || this.#ahead.has(key)) return;
    const result = this.#read(partitionId, segments, from, upTo, maxBytes).catch(() => null);
    const timer = this.#clock.after(FORGET_AFTER_MS, () => this.#take(key));
    this.#ahead.set(key, { result, bytes: maxBytes, timer });
    this.#bytes += maxBytes;
    this.#reading.add(result);
    void result.then(() => this.#reading.delete(result));
  }

  #take(key: string): Ahead | null {
    const ahead = this.#ahead.get(key);
    if (ahead === undefined) return null;
    this.#ahead.delete(key);
    this.#bytes -= ahead.bytes;
    ahead.timer.cancel();
    return ahead;
  }

  /** Forgets what is held; resolves when nothing is being read. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const key of [...this.#ahead.keys()]) this.#take(key);
    await Promise.all(this.#reading);
  }
}

/** What of it may be given now; null: nothing, it must be read. */
function within(result: ReadResult | null, upTo: number, maxBytes: number): ReadResult | null {
  if (result === null || result.batches.length === 0) return null;
  let count = 0;
  let bytes = 0;
  for (const batch of result.batches) {
    // A reader of committed records may end before one that takes all.
    if (baseOffsetOf(batch) >= upTo || (count > 0 && bytes + batch.byteLength > maxBytes)) break;
    bytes += batch.byteLength;
    count++;
  }
  if (count === 0) return null;
  if (count === result.batches.length) return result;
  const batches = result.batches.slice(0, count);
  return { batches, bytes, nextOffset: lastOffsetOf(batches[count - 1]!) + 1 };
}
