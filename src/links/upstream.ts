/** What a link knows of the cluster upstream: topics (created when they are missing), leaders, and reading back. */

import { Admin } from '../client/admin.ts';
import type { Cluster, TopicMetadata } from '../client/cluster.ts';
import type { Connection } from '../client/connection.ts';
import { checkCode, UpstreamError } from '../client/error.ts';
import { delay } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { splitBatches } from '../wire/batch/record-batch.ts';
import { fetch } from '../wire/kafka/api/01-fetch.ts';
import { initProducerId } from '../wire/kafka/api/22-init-producer-id.ts';
import { backoffMs } from './backoff.ts';
import { classifyError } from './error-class.ts';
import type { UpstreamLog } from './evidence.ts';
import type { ProducerIdentity } from './outgoing.ts';

const UNKNOWN_TOPIC = 3;
const TOPIC_EXISTS = 36;
const OFFSET_OUT_OF_RANGE = 1;
/** Metadata of a topic that was just created may need a moment. */
const CREATED_PAUSE_MS = 200;
const CREATED_ATTEMPTS = 10;
const FETCH_WAIT_MS = 500;

export interface UpstreamOptions {
  /** Of topics that are created here; -1: as many as on this broker. */
  readonly partitions: number;
  /** -1: the upstream's default. */
  readonly replicationFactor: number;
  /** An index that upstream does not have makes it grow. */
  readonly growTopics: boolean;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

export interface Leader {
  readonly connection: Connection;
  readonly topic: TopicMetadata;
  readonly clusterId: string | null;
}

export class Upstream {
  readonly #cluster: Cluster;
  readonly #admin: Admin;
  readonly #options: UpstreamOptions;
  readonly #logger: Logger;
  /** Partitions wanted, by upstream topic. */
  readonly #wanted = new Map<string, number>();
  readonly #topics = new Map<string, TopicMetadata>();
  /** Largest batch, of topics that refused one. */
  readonly #maxBatchBytes = new Map<string, number>();
  #clusterId: string | null = null;
  #refreshing: Promise<void> | null = null;
  #failures = 0;
  #closed = false;
  /** What went wrong last, null while it works. */
  lastError: HeadwaterError | null = null;

  constructor(cluster: Cluster, options: UpstreamOptions, logger: Logger) {
    this.#cluster = cluster;
    this.#admin = new Admin(cluster);
    this.#options = options;
    this.#logger = logger;
  }

  want(topic: string, partitions: number): void {
    this.#wanted.set(topic, Math.max(partitions, this.#wanted.get(topic) ?? 0));
  }

  get connected(): boolean {
    return this.#failures === 0 && this.#topics.size > 0;
  }

  /** What is known of a topic is not true any more. */
  invalidate(topic: string): void {
    this.#topics.delete(topic);
  }

  /** One refresh at a time for everybody; after a failure the next one waits. */
  #refresh(): Promise<void> {
    this.#refreshing ??= this.#pausedRefresh().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  async #pausedRefresh(): Promise<void> {
    const { env } = this.#cluster;
    const { backoffBaseMs, backoffMaxMs } = this.#options;
    if (this.#failures > 0) {
      await delay(env.clock, backoffMs(this.#failures - 1, backoffBaseMs, backoffMaxMs, env.random.unit()));
      if (this.#closed) throw new HeadwaterError('SHUTTING_DOWN', 'the link is stopping');
    }
    try {
      await this.#load();
      this.#failures = 0;
      this.lastError = null;
    } catch (error) {
      this.#failures++;
      if (error instanceof HeadwaterError) this.lastError = error;
      throw error;
    }
  }

  async #load(): Promise<void> {
    const missing = (): string[] => [...this.#wanted.keys()].filter((name) => !this.#topics.has(name));
    for (let attempt = 0; attempt < CREATED_ATTEMPTS; attempt++) {
      const names = missing();
      if (names.length === 0) return;
      const answer = await this.#cluster.metadata(names);
      this.#clusterId = answer.clusterId;
      for (const topic of answer.topics) await this.#take(topic);
      if (missing().length === 0) return;
      await delay(this.#cluster.env.clock, CREATED_PAUSE_MS);
    }
  }

  async #take(topic: TopicMetadata): Promise<void> {
    const wanted = this.#wanted.get(topic.name) ?? 0;
    if (topic.errorCode === UNKNOWN_TOPIC) {
      const { partitions, replicationFactor } = this.#options;
      const count = partitions === -1 ? wanted : Math.max(partitions, this.#options.growTopics ? wanted : 1);
      await this.#create(topic.name, count, replicationFactor);
      return;
    }
    const leaderless = topic.partitions.some((partition) => partition.leader < 0);
    if (topic.errorCode === 0 && this.#options.growTopics && topic.partitions.length < wanted) {
      this.#logger.info({ topic: topic.name, from: topic.partitions.length, to: wanted }, 'adding partitions upstream');
      await this.#admin.createPartitions(topic.name, wanted);
      return;
    }
    // A topic that cannot be used (authorisation) concerns its own partitions only: they find the error code.
    if (topic.errorCode !== 5 && !(leaderless && topic.partitions.every((partition) => partition.leader < 0))) {
      this.#topics.set(topic.name, topic);
    }
  }

  async #create(name: string, partitions: number, replicationFactor: number): Promise<void> {
    try {
      await this.#admin.createTopic({ name, partitions, replicationFactor });
      this.#logger.info({ topic: name, partitions }, 'topic created upstream');
    } catch (error) {
      if (!(error instanceof UpstreamError) || error.kafka !== TOPIC_EXISTS) throw error;
    }
  }

  /** A connection to the leader. Waits for a back-off; rejects when one attempt failed. */
  async leader(topicName: string, partition: number): Promise<Leader> {
    if (this.#topics.get(topicName) === undefined) await this.#refresh();
    const topic = this.#topics.get(topicName);
    if (topic === undefined) throw new UpstreamError(5, `topic ${topicName}`);
    try {
      checkCode(topic.errorCode, `topic ${topicName}`);
      const connection = await this.#cluster.leader(topic, partition);
      this.#failures = 0;
      return { connection, topic, clusterId: this.#clusterId };
    } catch (error) {
      this.#topics.delete(topicName);
      this.#failures++;
      if (error instanceof HeadwaterError) this.lastError = error;
      throw error;
    }
  }

  /** How many partitions the topic has; for the hashing partitioner. */
  async partitionsOf(topicName: string): Promise<number> {
    if (this.#topics.get(topicName) === undefined) await this.#refresh();
    return this.#topics.get(topicName)?.partitions.length ?? 1;
  }

  /** Infinity: none was refused yet. */
  maxBatchBytes(topic: string): number {
    return this.#maxBatchBytes.get(topic) ?? Number.POSITIVE_INFINITY;
  }

  /** A batch of `refused` bytes was too large: asks what is not, or takes half of it where the topic's settings may not be read. */
  async learnLimit(topic: string, refused: number): Promise<void> {
    let limit = Number.NaN;
    try {
      const configs = await this.#admin.topicConfigs(topic);
      limit = Number(configs.find(({ name }) => name === 'max.message.bytes')?.value ?? Number.NaN);
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
    }
    // An upstream that compresses anew may refuse what is within its limit.
    const largest = limit > 0 && limit < refused ? limit : Math.floor(refused / 2);
    if (largest < this.maxBatchBytes(topic) || limit > this.maxBatchBytes(topic)) {
      this.#maxBatchBytes.set(topic, largest);
      this.#logger.info({ topic, refused, largest }, 'upstream takes smaller batches only');
    }
  }

  /** KIP-98: a fresh id, epoch 0. */
  async newProducer(): Promise<ProducerIdentity> {
    const connection = await this.#cluster.any();
    const answer = await connection.send(initProducerId, { transactionalId: null, transactionTimeoutMs: 60_000 });
    checkCode(answer.errorCode, 'producer id');
    return { id: answer.producerId, epoch: answer.producerEpoch };
  }

  /** The partition upstream as evidence reads it. */
  reader({ connection, topic }: Leader, partition: number): UpstreamLog {
    const read = async (offset: number, maxBytes: number): Promise<readonly Uint8Array[]> => {
      const answer = await connection.send(
        fetch,
        {
          maxWaitMs: FETCH_WAIT_MS,
          minBytes: 1,
          maxBytes,
          isolationLevel: 0,
          topics: [
            { topic: topic.name, partitions: [{ partition, fetchOffset: offset, partitionMaxBytes: maxBytes }] },
          ],
        },
        { maxVersion: 12 },
      );
      checkCode(answer.errorCode, 'fetch upstream');
      const [found] = answer.responses.flatMap((response) => response.partitions);
      if (found === undefined || found.errorCode === OFFSET_OUT_OF_RANGE) return [];
      // The leader moved: without this the same one would be asked for as long as its connection stands.
      if (classifyError(found.errorCode) === 'refresh') this.invalidate(topic.name);
      checkCode(found.errorCode, `fetch of ${topic.name}-${partition} upstream`);
      return splitBatches(found.records ?? new Uint8Array(0));
    };
    const range = async (): Promise<{ start: number; end: number }> => {
      const [first, last] = await Promise.all([
        this.#admin.offsets([{ topic: topic.name, partition, timestamp: -2 }]),
        this.#admin.offsets([{ topic: topic.name, partition, timestamp: -1 }]),
      ]);
      return { start: first[0]!.offset, end: last[0]!.offset };
    };
    return { range, read };
  }

  close(): void {
    this.#closed = true;
    this.#cluster.close();
  }
}
