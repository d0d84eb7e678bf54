/** Batches of a partition that were read and not sent yet, in order, and what goes out next: a run of them, or the first. */
import { mergeBatches } from '../wire/batch/merge.ts';
import { addToSequence, maxTimestampOf } from '../wire/batch/record-batch.ts';
import { type BatchCompressor, compressBatch } from '../wire/batch/record-encoder.ts';
import { type Forwarded, type Outgoing, type ProducerIdentity, toOutgoing } from './outgoing.ts';
import { runLength } from './runs.ts';

export class Prepared {
  /** Those before `#head` were sent. */
  #batches: Forwarded[] = [];
  #head = 0;
  #bytes = 0;
  #producer: ProducerIdentity = { id: -1, epoch: -1 };
  #sequence = 0;
  /** What `first` gave, how many batches are in it, and whether it may have more by now. */
  #next: Outgoing | null = null;
  #nextLength = 0;
  #nextMayGrow = false;
  readonly #codec: BatchCompressor | null;

  /** `codec` for what is not compressed yet. */
  constructor(codec: BatchCompressor | null = null) {
    this.#codec = codec;
  }

  get length(): number {
    return this.#batches.length - this.#head;
  }

  /** As they were read. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Of the first batch, milliseconds since 1970. */
  get timestamp(): number | null {
    const first = this.#batches[this.#head];
    return first === undefined ? null : maxTimestampOf(first.batch);
  }

  /** Sends under this producer from this sequence on. Nothing is prepared. */
  begin(at: { readonly producerId: number; readonly producerEpoch: number; readonly sequence: number }): void {
    this.#producer = { id: at.producerId, epoch: at.producerEpoch };
    this.#sequence = at.sequence;
  }

  /** Returns their bytes. */
  add(batches: readonly Forwarded[]): number {
    let bytes = 0;
    for (const one of batches) {
      this.#batches.push(one);
      bytes += one.batch.length;
    }
    this.#bytes += bytes;
    if (this.#nextMayGrow && bytes > 0) this.#next = null;
    return bytes;
  }

  /** What goes out next; `merging`: a run if one begins there and its end is known. */
  first(merging: boolean): Outgoing | null {
    if (this.#next !== null && (merging || !this.#next.merged)) return this.#next;
    const first = this.#batches[this.#head];
    if (first === undefined) return null;
    const { length, open } = merging ? runLength(this.#batches, this.#head) : { length: 1, open: false };
    const last = this.#batches[this.#head + length - 1]!;
    const merged =
      length === 1
        ? null
        : mergeBatches(this.#batches.slice(this.#head, this.#head + length).map(({ batch }) => batch));
    this.#nextLength = merged === null ? 1 : length;
    this.#nextMayGrow = open;
    const plain = merged ?? first.batch;
    const batch = this.#codec === null ? plain : compressBatch(plain, this.#codec);
    this.#next = toOutgoing(first, merged === null ? first : last, batch, this.#producer, this.#sequence);
    return this.#next;
  }

  /** Takes what `first` gave last, with the bytes that were read for it. */
  take(): { readonly outgoing: Outgoing; readonly readBytes: number } {
    const outgoing = this.#next!;
    let readBytes = 0;
    for (let left = this.#nextLength; left > 0; left--) readBytes += this.#batches[this.#head++]!.batch.length;
    // Sent ones are let go in large steps: moving the rest up each time would cost more than it frees.
    if (this.#head * 2 >= this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head);
      this.#head = 0;
    }
    this.#bytes -= readBytes;
    this.#sequence = addToSequence(this.#sequence, outgoing.count);
    this.#next = null;
    return { outgoing, readBytes };
  }

  /** Drops everything; returns its bytes. */
  clear(): number {
    const bytes = this.#bytes;
    this.#batches = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#next = null;
    return bytes;
  }
}
