/**
 * A log that keeps batches in arrays: lets tests of the edge decide when a commit happens and look at the order of appends.
 * Tests that are about storing run on the real log.
 */
import { randomBytes } from 'node:crypto';
import { asHeadwaterError, HeadwaterError } from '../../src/errors.ts';
import { resolveTopicConfig, type TopicConfig } from '../../src/log/topic-config.ts';
import type {
  AbortedTransaction,
  ActiveProducer,
  Appended,
  AppendOptions,
  Log,
  Partition,
  ReadOptions,
  ReadResult,
  Replica,
  Topic,
  TopicSpec,
  Waiter,
} from '../../src/log/types.ts';

import { validateProducedBatch } from '../../src/wire/batch/record-batch.ts';

interface Queued {
  readonly partition: MemoryPartition;
  readonly batch: Buffer;
  readonly done: Appended;
}

export class MemoryPartition implements Partition {
  readonly topic: Topic;
  readonly index: number;
  readonly log: MemoryLog;
  readonly batches: Buffer[] = [];
  readonly waiters = new Set<Waiter>();
  logStartOffset = 0;
  logEndOffset = 0;
  stable: number | null = null;
  leaderEpoch = 3;
  aborted: AbortedTransaction[] = [];
  replicas: number[] = [1];
  inSyncReplicas: number[] = [1];

  constructor(log: MemoryLog, topic: Topic, index: number) {
    this.log = log;
    this.topic = topic;
    this.index = index;
  }

  get highWatermark(): number {
    return this.logEndOffset;
  }

  get lastStableOffset(): number {
    return this.stable ?? this.logEndOffset;
  }

  get sizeBytes(): number {
    return this.batches.reduce((sum, batch) => sum + batch.length, 0);
  }

  appendBatch(batch: Uint8Array, _options: AppendOptions, done: Appended): void {
    if (batch.length > this.topic.config['max.message.bytes']) {
      done(new HeadwaterError('BATCH_TOO_LARGE', `${batch.length} bytes`), -1);
      return;
    }
    try {
      validateProducedBatch(batch);
    } catch (error) {
      done(asHeadwaterError(error), -1);
      return;
    }
    this.log.enqueue({ partition: this, batch: Buffer.from(batch.buffer, batch.byteOffset, batch.length), done });
  }

  appendRecord(): void {
    throw new Error('the Kafka edge appends batches');
  }

  commit(batch: Buffer): number {
    const baseOffset = this.logEndOffset;
    batch.writeBigInt64BE(BigInt(baseOffset), 0);
    this.batches.push(batch);
    this.logEndOffset += batch.readInt32BE(23) + 1;
    return baseOffset;
  }

  wake(): void {
    for (const waiter of [...this.waiters]) waiter.wake(this);
  }

  async read({ from, upTo, maxBytes, allowNone }: ReadOptions): Promise<ReadResult> {
    const batches: Uint8Array[] = [];
    let bytes = 0;
    let nextOffset = from;
    for (const batch of this.batches) {
      const base = Number(batch.readBigInt64BE(0));
      const last = base + batch.readInt32BE(23);
      if (last < from) continue;
      if (base >= upTo) break;
      if (bytes + batch.length > maxBytes && (batches.length > 0 || allowNone === true)) break;
      batches.push(batch);
      bytes += batch.length;
      nextOffset = last + 1;
    }
    return { batches, bytes, nextOffset };
  }

  async offsetForTimestamp(timestamp: number): Promise<{ offset: number; timestamp: number } | null> {
    for (const batch of this.batches) {
      const first = Number(batch.readBigInt64BE(27));
      if (Number(batch.readBigInt64BE(35)) >= timestamp) {
        return { offset: Number(batch.readBigInt64BE(0)), timestamp: first };
      }
    }
    return null;
  }

  async offsetOfMaxTimestamp(): Promise<{ offset: number; timestamp: number } | null> {
    const last = this.batches.at(-1);
    return last === undefined ? null : { offset: this.logEndOffset - 1, timestamp: Number(last.readBigInt64BE(35)) };
  }

  endOffsetForEpoch(epoch: number): { epoch: number; endOffset: number } | null {
    return epoch >= this.leaderEpoch ? { epoch: this.leaderEpoch, endOffset: this.logEndOffset } : null;
  }

  abortedTransactions(): readonly AbortedTransaction[] {
    return this.aborted;
  }

  activeProducers(): readonly ActiveProducer[] {
    return [];
  }

  async deleteRecordsBefore(offset: number): Promise<number> {
    this.logStartOffset = offset === -1 ? this.highWatermark : offset;
    return this.logStartOffset;
  }

  wait(waiter: Waiter): void {
    this.waiters.add(waiter);
  }

  cancelWait(waiter: Waiter): void {
    this.waiters.delete(waiter);
  }

  correctedTime(_offset: number, timestamp: number): number {
    return timestamp;
  }

  addReplica(): Replica {
    throw new Error('no replicas here');
  }
}

export class MemoryTopic implements Topic {
  readonly name: string;
  readonly id = randomBytes(16).toString('hex');
  readonly partitions: MemoryPartition[] = [];
  readonly internal: boolean;
  overrides: Map<string, string>;
  config: TopicConfig;

  constructor(log: MemoryLog, spec: TopicSpec) {
    this.name = spec.name;
    this.internal = spec.internal ?? false;
    this.overrides = new Map(spec.config);
    this.config = resolveTopicConfig(this.overrides);
    this.grow(log, spec.partitions === -1 ? 1 : spec.partitions);
  }

  grow(log: MemoryLog, total: number): void {
    while (this.partitions.length < total) this.partitions.push(new MemoryPartition(log, this, this.partitions.length));
  }
}

export class MemoryLog implements Log {
  readonly #topics = new Map<string, MemoryTopic>();
  /** Commits once a turn unless a test commits itself. */
  automatic = true;
  queue: Queued[] = [];
  /** Queue lengths at each commit. */
  readonly commits: number[] = [];
  queuedBytes = 0;
  drained: (() => void)[] = [];
  #scheduled = false;

  enqueue(queued: Queued): void {
    this.queue.push(queued);
    this.queuedBytes += queued.batch.length;
    if (!this.automatic || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.commit();
    });
  }

  commit(): void {
    const queue = this.queue.splice(0);
    this.commits.push(queue.length);
    this.queuedBytes = 0;
    for (const { partition, batch, done } of queue) done(null, partition.commit(batch));
    for (const partition of new Set(queue.map((one) => one.partition))) partition.wake();
    for (const task of this.drained.splice(0)) task();
  }

  topic(name: string): MemoryTopic | undefined {
    return this.#topics.get(name);
  }

  topicById(id: string): MemoryTopic | undefined {
    return [...this.#topics.values()].find((topic) => topic.id === id);
  }

  topics(): Iterable<MemoryTopic> {
    return this.#topics.values();
  }

  async createTopic(spec: TopicSpec, options?: { validateOnly?: boolean }): Promise<Topic> {
    if (!/^[a-zA-Z0-9._-]{1,249}$/.test(spec.name)) throw new HeadwaterError('INVALID_TOPIC', `"${spec.name}"`);
    if (this.#topics.has(spec.name)) throw new HeadwaterError('TOPIC_EXISTS', `"${spec.name}" exists`);
    if (spec.partitions < -1 || spec.partitions === 0) throw new HeadwaterError('INVALID_PARTITIONS', 'at least 1');
    const topic = new MemoryTopic(this, spec);
    if (options?.validateOnly !== true) this.#topics.set(spec.name, topic);
    return topic;
  }

  async deleteTopic(name: string): Promise<void> {
    const topic = this.#topics.get(name);
    this.#topics.delete(name);
    for (const partition of topic?.partitions ?? []) partition.wake();
  }

  async createPartitions(name: string, total: number, options?: { validateOnly?: boolean }): Promise<void> {
    const topic = this.#topics.get(name);
    if (topic === undefined) throw new HeadwaterError('UNKNOWN_TOPIC', name);
    if (total <= topic.partitions.length) throw new HeadwaterError('INVALID_PARTITIONS', `${total}`);
    if (options?.validateOnly !== true) topic.grow(this, total);
  }

  async alterTopic(
    name: string,
    changes: ReadonlyMap<string, string | null>,
    options?: { validateOnly?: boolean },
  ): Promise<void> {
    const topic = this.#topics.get(name);
    if (topic === undefined) throw new HeadwaterError('UNKNOWN_TOPIC', name);
    const overrides = new Map(topic.overrides);
    for (const [key, value] of changes) value === null ? overrides.delete(key) : overrides.set(key, value);
    const config = resolveTopicConfig(overrides);
    if (options?.validateOnly === true) return;
    topic.overrides = overrides;
    topic.config = config;
  }

  onTopicEvent(): void {}
  onCommit(): void {}

  whenDrained(task: () => void): void {
    this.drained.push(task);
  }

  #producerId = 0;

  async nextProducerId(): Promise<number> {
    return this.#producerId++;
  }

  async close(): Promise<void> {}
}
