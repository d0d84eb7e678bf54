/** The demo's consumer: every record of a topic over the Kafka protocol, live or up to the present end. */
import { Cluster } from '../client/cluster.ts';
import { type ConsumedRecord, Consumer, isAtEnd } from '../client/consumer.ts';
import type { Env } from '../env.ts';

export type { ConsumedRecord };

export class Reader {
  readonly #cluster: Cluster;
  readonly #consumer: Consumer;
  readonly #topic: string;
  #closed = false;

  constructor(env: Env, port: number, topic: string) {
    this.#topic = topic;
    this.#cluster = new Cluster(env, { bootstrap: `127.0.0.1:${port}`, clientId: 'demo' });
    this.#consumer = new Consumer(this.#cluster, { from: 'earliest', maxWaitMs: 100 });
  }

  /** Hands over every record as it comes, until `close`. */
  async follow(onRecords: (records: readonly ConsumedRecord[]) => void): Promise<void> {
    await this.#fromBeginning();
    while (!this.#closed) {
      try {
        onRecords(await this.#consumer.poll());
      } catch (error) {
        if (!this.#closed) throw error;
      }
    }
  }

  /** All records there are now, in offset order within each partition. */
  async toTheEnd(): Promise<ConsumedRecord[]> {
    await this.#fromBeginning();
    const records: ConsumedRecord[] = [];
    do {
      records.push(...(await this.#consumer.poll()));
    } while (!this.#consumer.positions().every(isAtEnd));
    return records;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#consumer.close();
    this.#cluster.close();
  }

  async #fromBeginning(): Promise<void> {
    const { partitions } = await this.#cluster.topic(this.#topic);
    await this.#consumer.assign(
      partitions.map(({ index }) => ({ topic: this.#topic, partition: index, offset: 'earliest' as const })),
    );
  }
}
