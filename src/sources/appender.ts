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
  /** Rejects when the source is stopped: an append may wait for replicas as long as it likes. */
  readonly #stopped: Promise<never>;

  constructor(log: Log, clock: Clock, acks: Acks, stopped: Promise<never>) {
    this.#log = log;
    this.#clock = clock;
    this.#acks = acks;
    this.#stopped = stopped;
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
      await Promise.race([new Promise<void>((resolve) => this.#log.whenDrained(resolve)), this.#stopped]);
    }
    const plain = encodeBatch(records, { now: this.#clock.now(), producerId, producerEpoch: 0, baseSequence });
    const type = topic.config['compression.type'];
    const batch =
      type === 'producer' || type === 'uncompressed'
        ? plain
        : compressBatch(plain, await loadCodec(type, { compress: true }));
    const stored = new Promise<void>((resolve, reject) => {
      partition.appendBatch(batch, { acks: this.#acks, origin: 'client' }, (error) => {
        if (error === null) resolve();
        else if (error.code === 'OUT_OF_ORDER_SEQUENCE') reject(new ProducerLost(error.code, error.message));
        else reject(error);
      });
    });
    await Promise.race([stored, this.#stopped]);
  }
}
