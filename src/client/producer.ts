/** A plain producer for tools: one call, one batch a partition, answered when the server has answered. */
import type { Env } from '../env.ts';
import { delay } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { loadCodec } from '../wire/batch/compression.ts';
import { partitionForKey } from '../wire/batch/murmur2.ts';
import type { CodecName } from '../wire/batch/record-batch.ts';
import { compressBatch, encodeBatch, type HeaderInput, type RecordInput } from '../wire/batch/record-encoder.ts';
import { produce } from '../wire/kafka/api/00-produce.ts';
import type { Cluster, TopicMetadata } from './cluster.ts';
import { checkCode } from './error.ts';

export interface ProducerOptions {
  /** -1 (default): every in-sync replica; 1: the leader; 0: nobody answers. */
  readonly acks?: -1 | 1 | 0;
  /** How long the server may wait for replicas, milliseconds. */
  readonly timeoutMs?: number;
  readonly compression?: CodecName;
  /** After a retriable error. A retry may store a batch twice. */
  readonly retries?: number;
}

export interface ProducerRecord {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers?: readonly HeaderInput[];
  /** Milliseconds since 1970; now without it. */
  readonly timestamp?: number;
  readonly partition?: number;
}

export interface Produced {
  readonly partition: number;
  /** -1 with acks=0. */
  readonly baseOffset: number;
  readonly count: number;
}

const RETRY_MS = 200;

export class Producer {
  readonly #env: Env;
  readonly #cluster: Cluster;
  readonly #options: ProducerOptions;
  readonly #topics = new Map<string, TopicMetadata>();
  #nextUnkeyed = 0;

  constructor(cluster: Cluster, options: ProducerOptions = {}) {
    this.#env = cluster.env;
    this.#cluster = cluster;
    this.#options = options;
  }

  /** A new topic appears in the metadata a moment after it is asked for. */
  async #topic(name: string): Promise<TopicMetadata> {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    await this.#cluster.metadata([name], { create: true });
    const topic = await this.#retrying(() => this.#cluster.topic(name));
    this.#topics.set(name, topic);
    return topic;
  }

  async #retrying<T>(action: () => Promise<T>): Promise<T> {
    const { retries = 5 } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        return await action();
      } catch (error) {
        const again = error instanceof HeadwaterError && error.retriable && attempt < retries;
        if (!again) throw error;
        await delay(this.#env.clock, RETRY_MS * (attempt + 1));
      }
    }
  }

  /** Keyed records go where Kafka's Java client puts them; all unkeyed ones of a call to one partition, in turn. */
  async send(topicName: string, records: readonly ProducerRecord[]): Promise<Produced[]> {
    const topic = await this.#topic(topicName);
    const count = topic.partitions.length;
    const unkeyed = this.#nextUnkeyed++ % count;
    const byPartition = new Map<number, RecordInput[]>();
    for (const { key, value, headers, timestamp, partition } of records) {
      const index = partition ?? (key === null ? unkeyed : partitionForKey(key, count));
      if (index < 0 || index >= count) {
        throw new HeadwaterError('UNKNOWN_TOPIC', `partition ${index}: topic ${topicName} has 0 to ${count - 1}`);
      }
      const record = { key, value, headers: headers ?? [], timestamp: timestamp ?? -1 };
      const list = byPartition.get(index);
      if (list === undefined) byPartition.set(index, [record]);
      else list.push(record);
    }
    return Promise.all([...byPartition].map(([index, list]) => this.#sendTo(topicName, index, list)));
  }

  async #sendTo(topicName: string, index: number, records: readonly RecordInput[]): Promise<Produced> {
    let batch: Uint8Array = encodeBatch(records, { now: this.#env.clock.now() });
    const { compression = 'none' } = this.#options;
    if (compression !== 'none') batch = compressBatch(batch, await loadCodec(compression, { compress: true }));
    return this.#retrying(async () => {
      try {
        return await this.#sendBatch(topicName, index, batch, records.length);
      } catch (error) {
        this.#topics.delete(topicName);
        throw error;
      }
    });
  }

  async #sendBatch(topicName: string, index: number, batch: Uint8Array, count: number): Promise<Produced> {
    const { acks = -1, timeoutMs = 30_000 } = this.#options;
    const leader = await this.#cluster.leader(await this.#topic(topicName), index);
    const body = {
      acks,
      timeoutMs,
      topicData: [{ name: topicName, partitionData: [{ index, records: batch }] }],
    };
    const answer = await leader.send(produce, body, { unanswered: acks === 0 });
    if (acks === 0) return { partition: index, baseOffset: -1, count };
    const result = answer.responses[0]?.partitionResponses[0];
    checkCode(result?.errorCode ?? -1, `produce to ${topicName}-${index}`, result?.errorMessage);
    return { partition: index, baseOffset: result!.baseOffset, count };
  }
}
