/**
 * Idempotence and transactions of one partition, a function of its batch headers: what the live path applies after a
 * commit is what recovery applies when it reads the tail (KIP-98). Kafka's rules: the last five batches per producer are
 * remembered; an exact repeat of one of them is answered with the original offset; otherwise sequences must follow on.
 */
import { HeadwaterError } from '../errors.ts';
import { PRODUCERS_PER_PARTITION_MAX } from '../limits.ts';
import { decodeMarker } from '../wire/batch/control-batch.ts';
import {
  addToSequence,
  baseOffsetOf,
  baseSequenceOf,
  isControl,
  isTransactional,
  lastOffsetOf,
  lastSequenceOf,
  maxTimestampOf,
  producerEpochOf,
  producerIdOf,
} from '../wire/batch/record-batch.ts';
import type { AbortedTransaction } from './types.ts';

const REMEMBERED_BATCHES = 5;

interface SequencedBatch {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
}

/** Never changed in place: a staged entry and a committed one may share its parts. */
interface ProducerEntry {
  readonly epoch: number;
  readonly batches: readonly SequencedBatch[];
  readonly lastTimestamp: number;
}

/** What goes into the store: see FORMAT.md, producer snapshot. */
export interface ProducerSnapshot {
  /** Every batch below it is in the snapshot. */
  readonly through: number;
  readonly producers: readonly (readonly [
    id: number,
    epoch: number,
    lastTimestamp: number,
    batches: readonly number[],
  ])[];
  readonly open: readonly (readonly [id: number, firstOffset: number])[];
  readonly aborted: readonly (readonly [id: number, firstOffset: number, lastOffset: number])[];
}

export interface ProducerView {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly lastSequence: number;
  readonly lastTimestamp: number;
  /** -1: no open transaction. */
  readonly transactionStartOffset: number;
}

function afterBatch(before: ProducerEntry | undefined, batch: Uint8Array, baseOffset: number): ProducerEntry {
  const epoch = producerEpochOf(batch);
  const added: SequencedBatch = {
    firstSequence: baseSequenceOf(batch),
    lastSequence: lastSequenceOf(batch),
    baseOffset,
  };
  const kept = before !== undefined && before.epoch === epoch ? before.batches.slice(-(REMEMBERED_BATCHES - 1)) : [];
  return { epoch, batches: [...kept, added], lastTimestamp: maxTimestampOf(batch) };
}

function afterMarker(before: ProducerEntry | undefined, batch: Uint8Array): ProducerEntry {
  const epoch = producerEpochOf(batch);
  const batches = before !== undefined && before.epoch === epoch ? before.batches : [];
  return { epoch, batches, lastTimestamp: maxTimestampOf(batch) };
}

export class ProducerState {
  readonly #entries = new Map<number, ProducerEntry>();
  /** Batches of the commit that is being gathered: visible to `check`, not yet stored. */
  readonly #staged = new Map<number, ProducerEntry>();
  readonly #open = new Map<number, number>();
  /** Transactions whose marker is above the high watermark still hold the last stable offset back. */
  #ended: { readonly firstOffset: number; readonly markerOffset: number }[] = [];
  #aborted: AbortedTransaction[] = [];
  /** Something changed since the last `snapshot`. */
  dirty = false;

  get isEmpty(): boolean {
    return this.#entries.size === 0 && this.#open.size === 0 && this.#aborted.length === 0;
  }

  /**
   * -1: append it. Otherwise the base offset of the batch that this one repeats. Throws OUT_OF_ORDER_SEQUENCE or
   * INVALID_PRODUCER_EPOCH. Only for batches with a producer id.
   */
  check(batch: Uint8Array): number {
    const id = producerIdOf(batch);
    const epoch = producerEpochOf(batch);
    const entry = this.#staged.get(id) ?? this.#entries.get(id);
    if (entry === undefined) return -1; // new, expired or forgotten: any first sequence
    if (epoch < entry.epoch) {
      throw new HeadwaterError(
        'INVALID_PRODUCER_EPOCH',
        `producer ${id} sent epoch ${epoch}; epoch ${entry.epoch} has fenced it`,
      );
    }
    if (isControl(batch)) return -1;
    const first = baseSequenceOf(batch);
    if (epoch > entry.epoch) {
      if (first === 0) return -1;
      throw new HeadwaterError(
        'OUT_OF_ORDER_SEQUENCE',
        `producer ${id} began epoch ${epoch} with sequence ${first}; 0 is due`,
      );
    }
    const last = lastSequenceOf(batch);
    for (const known of entry.batches) {
      if (known.firstSequence === first && known.lastSequence === last) return known.baseOffset;
    }
    const latest = entry.batches[entry.batches.length - 1];
    // After a marker raised the epoch nothing is known of it yet: it begins at 0.
    const due = latest === undefined ? 0 : addToSequence(latest.lastSequence, 1);
    if (first === due) return -1;
    throw new HeadwaterError('OUT_OF_ORDER_SEQUENCE', `producer ${id} sent sequence ${first}; ${due} is due`);
  }

  /** The batch is part of the commit that is being gathered; its offsets are patched. */
  stage(batch: Uint8Array): void {
    const id = producerIdOf(batch);
    const before = this.#staged.get(id) ?? this.#entries.get(id);
    this.#staged.set(
      id,
      isControl(batch) ? afterMarker(before, batch) : afterBatch(before, batch, baseOffsetOf(batch)),
    );
  }

  /** The commit is over: either way `apply` follows for each batch that was stored. */
  clearStaged(): void {
    this.#staged.clear();
  }

  /** The batch is stored. Only for batches with a producer id. */
  apply(batch: Uint8Array): void {
    this.dirty = true;
    const id = producerIdOf(batch);
    const before = this.#entries.get(id);
    // Deleted and set again: the map's order is that of use, its first the longest idle.
    if (before !== undefined) this.#entries.delete(id);
    if (isControl(batch)) {
      this.#entries.set(id, afterMarker(before, batch));
      this.#endTransaction(id, batch);
    } else {
      this.#entries.set(id, afterBatch(before, batch, baseOffsetOf(batch)));
      if (isTransactional(batch) && !this.#open.has(id)) this.#open.set(id, baseOffsetOf(batch));
    }
    if (this.#entries.size > PRODUCERS_PER_PARTITION_MAX) this.#forgetOne();
  }

  #endTransaction(id: number, batch: Uint8Array): void {
    const firstOffset = this.#open.get(id);
    const marker = decodeMarker(batch);
    if (firstOffset === undefined || marker === null) return;
    const markerOffset = lastOffsetOf(batch);
    this.#open.delete(id);
    this.#ended.push({ firstOffset, markerOffset });
    if (marker.type === 'abort') this.#aborted.push({ producerId: id, firstOffset, lastOffset: markerOffset });
  }

  #forgetOne(): void {
    for (const id of this.#entries.keys()) {
      if (this.#open.has(id)) continue;
      this.#entries.delete(id);
      return;
    }
  }

  /** min(high watermark, first offset of the oldest transaction that is open or whose marker is not below it). */
  lastStableOffset(highWatermark: number): number {
    let stable = highWatermark;
    for (const first of this.#open.values()) if (first < stable) stable = first;
    if (this.#ended.length > 0) {
      this.#ended = this.#ended.filter((ended) => ended.markerOffset >= highWatermark);
      for (const ended of this.#ended) if (ended.firstOffset < stable) stable = ended.firstOffset;
    }
    return stable;
  }

  /** Aborted transactions that overlap [from, upTo), by first offset. */
  abortedTransactions(from: number, upTo: number): AbortedTransaction[] {
    return this.#aborted
      .filter((aborted) => aborted.lastOffset >= from && aborted.firstOffset < upTo)
      .sort((a, b) => a.firstOffset - b.firstOffset);
  }

  /** Everything at or behind `offset` left the log. What a producer did before it counts again. */
  truncate(offset: number): void {
    this.dirty = true;
    for (const [id, entry] of this.#entries) {
      const batches = entry.batches.filter((batch) => batch.baseOffset < offset);
      if (batches.length === 0) this.#entries.delete(id);
      else this.#entries.set(id, { ...entry, batches });
    }
    for (const [id, first] of this.#open) if (first >= offset) this.#open.delete(id);
    for (const { producerId, firstOffset, lastOffset } of this.#aborted) {
      if (lastOffset >= offset && firstOffset < offset) this.#open.set(producerId, firstOffset);
    }
    this.#aborted = this.#aborted.filter((aborted) => aborted.lastOffset < offset);
    this.#ended = [];
  }

  /** The log start moved: aborted transactions below it have no readers. */
  trim(logStartOffset: number): void {
    const kept = this.#aborted.filter((aborted) => aborted.lastOffset >= logStartOffset);
    if (kept.length !== this.#aborted.length) this.dirty = true;
    this.#aborted = kept;
  }

  largestProducerId(): number {
    let largest = -1;
    for (const id of this.#entries.keys()) if (id > largest) largest = id;
    return largest;
  }

  /** For DescribeProducers. */
  producers(): ProducerView[] {
    return [...this.#entries].map(([producerId, entry]) => ({
      producerId,
      producerEpoch: entry.epoch,
      lastSequence: entry.batches[entry.batches.length - 1]?.lastSequence ?? -1,
      lastTimestamp: entry.lastTimestamp,
      transactionStartOffset: this.#open.get(producerId) ?? -1,
    }));
  }

  snapshot(through: number): ProducerSnapshot {
    this.dirty = false;
    return {
      through,
      producers: [...this.#entries].map(([id, entry]) => [
        id,
        entry.epoch,
        entry.lastTimestamp,
        entry.batches.flatMap((batch) => [batch.firstSequence, batch.lastSequence, batch.baseOffset]),
      ]),
      open: [...this.#open],
      aborted: this.#aborted.map((aborted) => [aborted.producerId, aborted.firstOffset, aborted.lastOffset]),
    };
  }

  restore(snapshot: ProducerSnapshot): void {
    for (const [id, epoch, lastTimestamp, numbers] of snapshot.producers) {
      const batches: SequencedBatch[] = [];
      for (let i = 0; i + 2 < numbers.length; i += 3) {
        batches.push({ firstSequence: numbers[i]!, lastSequence: numbers[i + 1]!, baseOffset: numbers[i + 2]! });
      }
      this.#entries.set(id, { epoch, batches, lastTimestamp });
    }
    for (const [id, firstOffset] of snapshot.open) this.#open.set(id, firstOffset);
    this.#aborted = snapshot.aborted.map(([producerId, firstOffset, lastOffset]) => ({
      producerId,
      firstOffset,
      lastOffset,
    }));
  }
}
