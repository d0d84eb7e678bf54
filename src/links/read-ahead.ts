/** Reads a partition ahead of what is sent, as far as the link's memory allows. */
import { asHeadwaterError, type HeadwaterError } from '../errors.ts';
import type { Partition } from '../log/types.ts';
import type { BatchCompressor } from '../wire/batch/record-encoder.ts';
import type { ByteBudget } from './byte-budget.ts';
import { decided, type Forwarding, forwardable, sendableEnd } from './forwarding.ts';
import { Prepared } from './prepared.ts';

/** A run and the batch behind it fit in one read: where the run ends is known when its first batch could go out. */
const READ_MIN_BYTES = 32 * 1024;
const READ_MAX_BYTES = 256 * 1024;

/** The partition that is read, as its reader sees it. */
export interface Reading {
  readonly partition: Partition;
  readonly priority: number;
  readonly live: boolean;
  readonly isReplica: boolean;
  readonly forwarding: Forwarding;
  /** Reads are wanted and what they give may be sent. */
  readonly sending: boolean;
  /** There is something to send. */
  prepared(): void;
  /** All below `offset` that is for upstream was read. */
  readTo(offset: number): void;
  readFailed(error: HeadwaterError): void;
}

/** What the readers of a link share. */
export interface ReadingRules {
  readonly memory: ByteBudget;
  readonly codec: BatchCompressor | null;
  maySend(): boolean;
  /** How much to read at once: less when the uplink is slow. */
  readBytes(min: number, max: number): number;
}

export class ReadAhead {
  readonly #reading: Reading;
  readonly #rules: ReadingRules;
  /** Read, in order, not sent yet. */
  readonly prepared: Prepared;
  #offset = 0;
  #busy = false;
  /** A read that was under way when the position changed is void. */
  #generation = 0;

  constructor(reading: Reading, rules: ReadingRules) {
    this.#reading = reading;
    this.#rules = rules;
    this.prepared = new Prepared(rules.codec);
  }

  /** Everything below it was read. */
  get offset(): number {
    return this.#offset;
  }

  /** Nothing is prepared. */
  begin(at: {
    readonly offset: number;
    readonly producerId: number;
    readonly producerEpoch: number;
    readonly sequence: number;
  }): void {
    this.#generation++;
    this.#offset = at.offset;
    this.prepared.begin(at);
  }

  /** Drops what was read and not sent. */
  clear(): void {
    this.#generation++;
    this.#rules.memory.give(this.prepared.clear());
  }

  get #end(): number {
    return sendableEnd(this.#reading.partition, this.#reading.isReplica);
  }

  /** Reads ahead while memory and the state allow. */
  fill(): void {
    const { memory } = this.#rules;
    const { live, priority, sending } = this.#reading;
    const end = this.#end;
    if (!sending || this.#busy || this.#offset >= end) return;
    const readBytes = this.#rules.readBytes(READ_MIN_BYTES, READ_MAX_BYTES);
    if (this.prepared.bytes >= readBytes || !this.#rules.maySend()) return;
    if (!memory.take(readBytes, live)) {
      memory.whenFree(live, priority, () => this.fill());
      return;
    }
    this.#busy = true;
    void this.#read(end, readBytes);
  }

  async #read(end: number, readBytes: number): Promise<void> {
    const { partition, forwarding } = this.#reading;
    const generation = this.#generation;
    const from = this.#offset;
    const current = (): boolean => generation === this.#generation && this.#reading.sending;
    let bytes = 0;
    let stuck = false;
    try {
      const found = await partition.read({ from, upTo: end, maxBytes: readBytes });
      const { batches, nextOffset } = decided(partition, found);
      const forwarded = await forwardable(partition, batches, from, forwarding);
      if (current()) {
        bytes = this.prepared.add(forwarded);
        // An open transaction is next: only a change of the partition helps.
        stuck = nextOffset <= from && this.#end === end;
        this.#offset = Math.max(nextOffset, from);
        this.#reading.readTo(this.#offset);
      }
    } catch (error) {
      if (current()) this.#reading.readFailed(asHeadwaterError(error));
    }
    this.#rules.memory.adjust(bytes - readBytes);
    this.#busy = false;
    if (this.prepared.length > 0) this.#reading.prepared();
    if (!stuck) this.fill();
  }
}
