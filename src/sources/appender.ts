/** Appends a source's records in batches of an idempotent producer: what is appended twice is stored once (KIP-98). */
import type { Clock } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { APPEND_QUEUE_MAX_BYTES } from '../limits.ts';
import type { Acks, Log, LogRecord, Topic } from '../log/types.ts';
import { loadCodec } from '../wire/batch/compression.ts';
import { BATCH_HEADER_BYTES } from '../wire/batch/record-batch.ts';
import { compressBatch, encodeBatch, recordSizeBound } from '../wire/batch/record-encoder.ts';

/** One batch at most, even where max.message.bytes allows more: one commit's share. */
export const SOURCE_BATCH_MAX_BYTES = 512 * 1024;

/** The partition expects another sequence number: it lost, or never had, what we think it has. */
export class ProducerLost extends HeadwaterError {}

export interface AppendAs {
  readonly producerId: number;
  /** Of the first record. */
  readonly sequence: number;
  /** So many more, in order, are stored. */
  acknowledged(count: number): void;
}

export class Appender {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #acks: Acks;
  /** Aborts when the source is stopped: an append may wait for replicas as long as it likes. */
  readonly #stopping: AbortSignal;

  constructor(log: Log, clock: Clock, acks: Acks, stopping: AbortSignal) {
    this.#log = log;
    this.#clock = clock;
    this.#acks = acks;
    this.#stopping = stopping;
  }

  newProducer(): Promise<number> {
    return this.#log.nextProducerId();
  }

  /** Rejects with what the log refused; what `acknowledged` was told of is stored in any case. */
  async append(topic: Topic, index: number, records: readonly LogRecord[], as: AppendAs): Promise<void> {
    const limit = Math.min(topic.config['max.message.bytes'], SOURCE_BATCH_MAX_BYTES);
    for (let from = 0; from < records.length; ) {
      let bytes = BATCH_HEADER_BYTES;
      let to = from;
      while (to < records.length) {
        bytes += recordSizeBound(records[to]!);
        if (to > from && bytes > limit) break;
        to++;
      }
      await this.#appendBatch(topic, index, records.slice(from, to), as.producerId, (as.sequence + from) % 2 ** 31);
      as.acknowledged(to - from);
      from = to;
    }
  }

  async #appendBatch(
    topic: Topic,
    index: number,
    records: readonly LogRecord[],
    producerId: number,
    baseSequence: number,
  ): Promise<void> {
    const partition = topic.partitions[index]!;
    if (this.#log.queuedBytes > APPEND_QUEUE_MAX_BYTES / 2) {
      await this.#unlessStopped((done) => this.#log.whenDrained(() => done(null)));
    }
    const plain = encodeBatch(records, { now: this.#clock.now(), producerId, producerEpoch: 0, baseSequence });
    const type = topic.config['compression.type'];
    const batch =
      type === 'producer' || type === 'uncompressed'
        ? plain
        : compressBatch(plain, await loadCodec(type, { compress: true }));
    await this.#unlessStopped((done) => {
      partition.appendBatch(batch, { acks: this.#acks, origin: 'client' }, (error) => {
        done(error?.code === 'OUT_OF_ORDER_SEQUENCE' ? new ProducerLost(error.code, error.message) : error);
      });
    });
  }

  /**
   * Until what `begin` has begun is done; rejects when the source stops first. No race against one promise that waits for the stop: it
   * would keep a reaction for every append of the source's life.
   */
  #unlessStopped(begin: (done: (error: HeadwaterError | null) => void) => void): Promise<void> {
    const signal = this.#stopping;
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const stop = () => reject(signal.reason as HeadwaterError);
      signal.addEventListener('abort', stop, { once: true });
      begin((error) => {
        signal.removeEventListener('abort', stop);
        if (error === null) resolve();
        else reject(error);
      });
    });
  }
}
