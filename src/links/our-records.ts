/** The records of a partition as they go upstream, one after the other, for comparing them with what upstream has. */
import type { ConsumedRecord } from '../client/consumer.ts';
import { openBatch } from '../wire/batch/compression.ts';
import { baseOffsetOf, hasLogAppendTime, lastOffsetDeltaOf } from '../wire/batch/record-batch.ts';
import type { RecordCursor } from '../wire/batch/record-cursor.ts';
import type { EdgeLog } from './evidence.ts';
import { type Forwarded, offsetBehind } from './outgoing.ts';

const SCAN_BYTES = 256 * 1024;

async function* batchesOf(edge: EdgeLog, from: number): AsyncGenerator<Forwarded> {
  for (let next = from; next < edge.end; ) {
    const { batches, nextOffset } = await edge.read(next, SCAN_BYTES);
    yield* batches;
    if (nextOffset <= next) return;
    next = nextOffset;
  }
}

/** How many records that are sent have offsets from `from` to below `to`. */
export async function countBetween(edge: EdgeLog, from: number, to: number): Promise<number> {
  let count = 0;
  for await (const batch of batchesOf(edge, from)) {
    if (batch.first >= to) break;
    if (batch.next <= to) count += batch.count;
    else count += batch.offsets?.filter((offset) => offset < to).length ?? Math.min(batch.count, to - batch.first);
  }
  return count;
}

function sameBytes(ours: Buffer | null, theirs: Buffer | null): boolean {
  return ours === null || theirs === null ? ours === theirs : ours.equals(theirs);
}

/** `sentTime`: what `theirs` would bear if it were read here now; it may have been sent before its time was corrected. */
function sameRecord(ours: RecordCursor, theirs: RecordCursor, sentTime: number | null): boolean {
  if (sentTime !== null && ours.timestamp !== theirs.timestamp && ours.timestamp !== sentTime) return false;
  if (!sameBytes(ours.key, theirs.key) || !sameBytes(ours.value, theirs.value)) return false;
  const [a, b] = [ours.headers(), theirs.headers()];
  return (
    a.length === b.length &&
    a.every((header, index) => header.key === b[index]!.key && sameBytes(header.value, b[index]!.value))
  );
}

/** Goes forward only. */
export class OurRecords {
  readonly #edge: EdgeLog;
  readonly #batches: AsyncGenerator<Forwarded>;
  #batch: Forwarded | null = null;
  /** Records of `#batch` that are behind us. */
  #taken = 0;
  /** At the last taken record of `#batch`; null: not opened. */
  #cursor: RecordCursor | null = null;
  /** Behind the last record taken. */
  offset: number;
  /** Behind the last record that was the same as one upstream. */
  common = -1;

  constructor(edge: EdgeLog, from: number) {
    this.#edge = edge;
    this.#batches = batchesOf(edge, from);
    this.offset = from;
  }

  /** The batch of the next record; null at the end. */
  async #at(): Promise<Forwarded | null> {
    if (this.#batch !== null && this.#taken < this.#batch.count) return this.#batch;
    const { done, value } = await this.#batches.next();
    this.#batch = done ? null : value;
    this.#taken = 0;
    this.#cursor = null;
    return this.#batch;
  }

  /** False when there are fewer than `count`. */
  async skip(count: number): Promise<boolean> {
    for (let left = count; left > 0; ) {
      const batch = await this.#at();
      if (batch === null) return false;
      const some = Math.min(left, batch.count - this.#taken);
      if (this.#cursor !== null) for (let n = 0; n < some; n++) this.#cursor.next();
      this.#taken += some;
      left -= some;
      this.offset = offsetBehind(batch, this.#taken);
    }
    return true;
  }

  async #next(): Promise<RecordCursor | null> {
    const batch = await this.#at();
    if (batch === null) return null;
    if (this.#cursor === null) {
      this.#cursor = await openBatch(batch.batch);
      for (let n = 0; n < this.#taken; n++) this.#cursor.next();
    }
    this.#cursor.next();
    this.#taken++;
    this.offset = offsetBehind(batch, this.#taken);
    return this.#cursor;
  }

  /**
   * Takes as many records as `theirs` (one batch upstream) stands for, without its first `from`; whether they are the same.
   * What upstream compacted counts as the same.
   */
  async matches(theirs: Uint8Array, from = 0): Promise<boolean> {
    const cursor = await openBatch(theirs);
    const withTime = !hasLogAppendTime(theirs);
    const base = baseOffsetOf(theirs);
    let done = from;
    while (cursor.next()) {
      const delta = cursor.offset - base;
      if (delta < from) continue;
      if (!(await this.skip(delta - done))) return false;
      const mine = await this.#next();
      if (mine === null) return false;
      const sentTime = withTime ? this.#edge.correctedTime(this.offset - 1, cursor.timestamp) : null;
      if (!sameRecord(mine, cursor, sentTime)) return false;
      done = delta + 1;
      this.common = this.offset;
    }
    return this.skip(lastOffsetDeltaOf(theirs) + 1 - done);
  }

  /** Takes one; whether it is the same as `theirs`. */
  async matchesRecord(theirs: ConsumedRecord): Promise<boolean> {
    const mine = await this.#next();
    if (mine === null || mine.timestamp !== theirs.timestamp) return false;
    if (!sameBytes(mine.key, theirs.key) || !sameBytes(mine.value, theirs.value)) return false;
    this.common = this.offset;
    return true;
  }

  async close(): Promise<void> {
    await this.#batches.return(undefined);
  }
}
