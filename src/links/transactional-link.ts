/**
 * A Kafka link with `transactional: true`. One transaction at a time: batches of many partitions and, in the same
 * transaction, the positions behind them (transaction.ts). After any failure the producer begins anew, which ends what was
 * open, and every position is read from upstream: a record is there once for readers with read_committed, or not yet.
 */
import { Cluster } from '../client/cluster.ts';
import { UpstreamError } from '../client/error.ts';
import { delay, type Env } from '../env.ts';
import { asHeadwaterError, type HeadwaterError } from '../errors.ts';
import type { Partition, Topic } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import { backoffMs } from './backoff.ts';
import { CursorStore } from './cursor.ts';
import { classifyError, needsPerson } from './error-class.ts';
import { edgeLogOf } from './forwarding.ts';
import type { KafkaLinkDependencies, KafkaLinkOptions, LinkCounters, LinkPolicy, LinkState } from './kafka-link.ts';
import { Lanes } from './lanes.ts';
import { LinkTopics } from './link-topics.ts';
import type { Outgoing } from './outgoing.ts';
import { RateMeter, TokenBucket } from './rate.ts';
import { selectionById } from './selection.ts';
import { topicSelector, upstreamTopicName } from './topic-selection.ts';
import { PartitionRefused, TransactionalProducer, type UpstreamPosition } from './transaction.ts';
import { type ProduceRules, pack, produceAll, type Sent } from './transaction-batches.ts';
import { type TransactionalHost, TransactionalPartition } from './transactional-partition.ts';
import { committedRecords, transactionalPosition } from './transactional-position.ts';
import { Upstream } from './upstream.ts';

/** Of one transaction, without a rate cap. */
const TRANSACTION_MAX_BYTES = 2 * 1024 * 1024;
const READ_BYTES = 128 * 1024;
/** Under a cap a transaction holds this much of a second. */
const CAPPED_SECONDS = 0.5;
/** INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED. */
const FENCED = new Set([47, 49, 90]);

export class TransactionalLink implements TransactionalHost {
  readonly name: string;
  readonly cursors: CursorStore;
  readonly counters: LinkCounters;
  readonly replicaId: number | null;
  readonly replicaMaxLagMs: number;
  readonly #env: Env;
  readonly #logger: Logger;
  readonly #options: KafkaLinkOptions;
  readonly #dependencies: KafkaLinkDependencies;
  readonly #topics: LinkTopics<TransactionalPartition>;
  readonly #lanes = new Lanes<TransactionalPartition>(0.5);
  readonly #cluster: Cluster;
  readonly #upstream: Upstream;
  readonly #bucket: TokenBucket;
  readonly #records: RateMeter;
  readonly #bytes: RateMeter;
  readonly #rules: ProduceRules;
  #policy: LinkPolicy = { bytesPerSecond: 0, liveShare: 0.5, open: true };
  #state: 'stopped' | 'connecting' | 'sending' | 'backing-off' | 'blocked' = 'stopped';
  #attempts = 0;
  #wakeUp: (() => void) | null = null;
  #throttledMs = 0;
  #configError: string | null = null;
  #lastError: string | null = null;

  constructor(options: KafkaLinkOptions, dependencies: KafkaLinkDependencies) {
    const { env, logger } = dependencies;
    this.name = options.name;
    this.counters = dependencies.counters;
    this.replicaId = options.replicaId;
    this.replicaMaxLagMs = options.replicaMaxLagMs;
    this.#env = env;
    this.#logger = logger;
    this.#options = options;
    this.#dependencies = dependencies;
    this.cursors = new CursorStore(dependencies.meta, options.name);
    this.#topics = new LinkTopics<TransactionalPartition>({
      log: dependencies.log,
      clock: env.clock,
      logger,
      cursors: this.cursors,
      selects: topicSelector(options.topics),
      link: (topic) => this.#link(topic),
    });
    const now = env.clock.monotonic();
    this.#bucket = new TokenBucket(0, 0, now);
    this.#records = new RateMeter(now);
    this.#bytes = new RateMeter(now);
    this.#cluster = new Cluster(env, options.cluster);
    const { partitions, replicationFactor, backoffBaseMs, backoffMaxMs } = options;
    const rules = { partitions, replicationFactor, growTopics: true, backoffBaseMs, backoffMaxMs };
    this.#upstream = new Upstream(this.#cluster, rules, logger);
    this.#rules = {
      upstream: this.#upstream,
      id: this.id,
      requestTimeoutMs: options.requestTimeoutMs,
      sending: (bytes) => {
        this.#bucket.take(bytes, env.clock.monotonic());
        dependencies.spent(bytes);
      },
      throttled: (ms) => {
        this.#throttledMs = Math.max(this.#throttledMs, ms);
        this.counters.throttled.value += ms / 1000;
      },
      refused: (partition, outgoing, code, message) => this.#refused(partition, outgoing, code, message),
    };
  }

  /** Names the transactions, and the group that holds the positions. */
  get id(): string {
    return `headwater.${this.#options.broker}.${this.name}`;
  }

  get partitions(): ReadonlyMap<string, TransactionalPartition> {
    return this.#topics.partitions;
  }

  #link(topic: Topic): ((partition: Partition) => TransactionalPartition) | null {
    const { rename, broker } = this.#options;
    let upstreamTopic: string;
    try {
      upstreamTopic = upstreamTopicName(rename, broker, topic.name);
    } catch (error) {
      this.#configError = asHeadwaterError(error).message;
      this.#logger.error({ topic: topic.name, reason: this.#configError }, 'a topic cannot be replicated');
      return null;
    }
    this.#upstream.want(upstreamTopic, topic.partitions.length);
    const priority = this.#dependencies.priorityOf(topic.name);
    return (partition) => {
      if (partition.index > 0) this.#upstream.invalidate(upstreamTopic);
      return new TransactionalPartition(this, partition, upstreamTopic, priority);
    };
  }

  async start(): Promise<void> {
    this.#state = 'connecting';
    await this.#topics.start();
    void this.#run();
  }

  get #stopped(): boolean {
    return this.#state === 'stopped';
  }

  #become(state: 'connecting' | 'sending' | 'backing-off' | 'blocked'): void {
    if (!this.#stopped) this.#state = state;
  }

  // The life of the link: a producer, transactions until one fails, a pause, again

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#become('connecting');
      try {
        await this.#whileOpen();
        if (this.#stopped) return;
        for (const partition of this.partitions.values()) partition.located = false;
        const producer = await TransactionalProducer.open(this.#env, this.#cluster, this.id);
        this.#become('sending');
        while (!this.#stopped) await this.#transaction(producer);
      } catch (error) {
        if (this.#stopped) return;
        await this.#failed(asHeadwaterError(error));
      }
    }
  }

  /** Resolves when the link may send. */
  async #whileOpen(): Promise<void> {
    while (!this.#policy.open && !this.#stopped) await this.#woken();
  }

  /** Until something changed, or `ms` passed. */
  #woken(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === undefined ? null : this.#env.clock.after(ms, () => this.wake());
      this.#wakeUp = () => {
        this.#wakeUp = null;
        timer?.cancel();
        resolve();
      };
    });
  }

  wake(): void {
    this.#wakeUp?.();
  }

  async #failed(error: HeadwaterError): Promise<void> {
    const { backoffBaseMs, backoffMaxMs } = this.#options;
    const { clock, random } = this.#env;
    const code = error instanceof UpstreamError ? error.kafka : null;
    if (code !== null) this.counters.refused((error as UpstreamError).kafkaName);
    this.#lastError = error.message;
    let blocked = needsPerson(error);
    if (code !== null && FENCED.has(code)) {
      this.#lastError = `another process sends as ${this.id}: ${error.message}`;
      blocked = true;
    }
    if (error instanceof PartitionRefused) {
      this.#upstream.invalidate(error.topic);
      // Only its own partition waits, when there is one to blame.
      if (blocked && !FENCED.has(error.kafka) && this.#block(error.topic, error.partition, error.message))
        blocked = false;
    }
    this.#logger.warn({ link: this.name, reason: this.#lastError }, 'a transaction upstream failed');
    this.#become(blocked ? 'blocked' : 'backing-off');
    const base = blocked ? backoffMaxMs : backoffBaseMs;
    await this.#pause(backoffMs(this.#attempts++, base, backoffMaxMs, random.unit()), clock.monotonic());
  }

  async #pause(ms: number, from: number): Promise<void> {
    const { clock } = this.#env;
    for (let left = ms; left > 0 && !this.#stopped; left = ms - (clock.monotonic() - from)) await this.#woken(left);
  }

  #block(topic: string, index: number, reason: string): boolean {
    for (const partition of this.partitions.values()) {
      if (partition.upstreamTopic !== topic || partition.upstreamPartition !== index) continue;
      partition.blockedUntil = this.#env.clock.monotonic() + this.#options.backoffMaxMs;
      partition.lastError = reason;
      return true;
    }
    return false;
  }

  // One transaction

  async #transaction(producer: TransactionalProducer): Promise<void> {
    await this.#whileOpen();
    const { clock } = this.#env;
    const waitMs = Math.max(this.#bucket.waitMs(clock.monotonic()), this.#throttledMs);
    this.#throttledMs = 0;
    if (waitMs > 0) await delay(clock, waitMs);
    await this.#locateAll(producer);
    const sent = await this.#gather(producer);
    if (this.#stopped) return;
    if (sent.length === 0) {
      await this.#idle();
      return;
    }
    await producer.add(sent.map(({ partition }) => at(partition)));
    const positions = sent.map(({ partition, nextOffset }): UpstreamPosition => {
      return { ...at(partition), offset: nextOffset, metadata: partition.partition.topic.id };
    });
    await Promise.all([produceAll(sent, this.#rules), producer.commitPositions(positions)]);
    await producer.end(true);
    this.#committed(sent, producer);
  }

  /** Waits for records, for the end of a pause of some partition, or for the policy. */
  #idle(): Promise<void> {
    const now = this.#env.clock.monotonic();
    let ms: number | undefined;
    for (const partition of this.partitions.values()) {
      if (partition.blockedUntil > 0) ms = Math.min(ms ?? Number.POSITIVE_INFINITY, partition.blockedUntil - now);
      // Records came while nobody waited.
      else if (!partition.located || partition.pending) return Promise.resolve();
    }
    return this.#woken(ms === undefined ? undefined : Math.max(1, ms));
  }

  #maxBytes(): number {
    const { rate } = this.#bucket;
    const most = Math.min(TRANSACTION_MAX_BYTES, this.#options.maxRequestBytes * this.#options.maxRequests);
    return rate === 0 ? most : Math.min(most, Math.max(8 * 1024, rate * CAPPED_SECONDS));
  }

  async #gather(producer: TransactionalProducer): Promise<Sent[]> {
    const now = this.#env.clock.monotonic();
    const { selection } = this.#options;
    const taken = new Map<TransactionalPartition, Sent>();
    this.#lanes.liveShare = this.#policy.liveShare;
    for (const partition of this.partitions.values()) {
      this.#lanes.delete(partition);
      if (partition.blockedUntil > 0 && now < partition.blockedUntil) continue;
      partition.blockedUntil = 0;
      if (partition.located && partition.pending) this.#lanes.add(partition);
    }
    const maxBytes = this.#maxBytes();
    let bytes = 0;
    while (bytes < maxBytes) {
      const contended = this.#lanes.contended;
      const partition = this.#lanes.take(() => true);
      if (partition === undefined) break;
      const how = { selection, maxBatchBytes: this.#upstream.maxBatchBytes(partition.upstreamTopic) };
      const { batches, nextOffset } = await partition.read(Math.min(READ_BYTES, maxBytes - bytes), how);
      const before = taken.get(partition);
      if (batches.length === 0) {
        // Not for upstream.
        if (before !== undefined) before.nextOffset = nextOffset;
        else partition.skipTo(nextOffset);
        if (partition.pending) this.#lanes.add(partition);
        continue;
      }
      const sent = before ?? { partition, outgoings: [], nextOffset, upstreamNext: -1 };
      taken.set(partition, sent);
      sent.nextOffset = nextOffset;
      let size = 0;
      for (const outgoing of pack(batches, how.maxBatchBytes, this.#options.codec, producer, at(partition))) {
        sent.outgoings.push(outgoing);
        size += outgoing.bytes;
      }
      this.#lanes.sent(partition, size, contended);
      bytes += size;
      if (partition.pending) this.#lanes.add(partition);
    }
    return [...taken.values()];
  }

  /** Always throws: the transaction is void. */
  async #refused(
    partition: TransactionalPartition,
    outgoing: Outgoing,
    code: number,
    message: string | null,
  ): Promise<never> {
    const { upstreamTopic, upstreamPartition } = partition;
    const refused = new PartitionRefused(code, upstreamTopic, upstreamPartition, message);
    if (classifyError(code) !== 'too-large') throw refused;
    await this.#upstream.learnLimit(upstreamTopic, outgoing.bytes);
    if (outgoing.count > 1) throw refused;
    const { topic, index } = partition.partition;
    if (!this.#options.skipsOversize) {
      const what = `record ${outgoing.baseOffset} of ${topic.name}-${index} has ${outgoing.bytes} bytes (oversize: block)`;
      this.#block(upstreamTopic, upstreamPartition, `${refused.message}: ${what}`);
      throw refused;
    }
    // What is before it in the same transaction has to be committed first.
    const { cursor } = partition;
    if (cursor !== null && cursor.offset === outgoing.baseOffset) {
      const limit = this.#upstream.maxBatchBytes(upstreamTopic);
      const reason = `oversize: ${outgoing.bytes} bytes, max.message.bytes upstream is ${limit}`;
      await this.#lose(partition, outgoing.nextOffset, outgoing.baseOffset, outgoing.baseOffset, reason);
      this.counters.oversize.value++;
    } else partition.stopBefore = outgoing.baseOffset;
    throw refused;
  }

  #committed(sent: readonly Sent[], producer: TransactionalProducer): void {
    this.#attempts = 0;
    this.#lastError = null;
    const now = this.#env.clock.monotonic();
    for (const { partition, outgoings, nextOffset, upstreamNext } of sent) {
      const records = outgoings.reduce((sum, { count }) => sum + count, 0);
      const bytes = outgoings.reduce((sum, one) => sum + one.bytes, 0);
      partition.lastError = null;
      partition.setCursor({
        ...partition.cursor!,
        offset: nextOffset,
        sequence: nextOffset,
        producerId: producer.producerId,
        producerEpoch: producer.producerEpoch,
        upstreamNext,
      });
      this.counters.records.value += records;
      this.counters.bytes.value += bytes;
      this.#records.add(records, now);
      this.#bytes.add(bytes, now);
    }
  }

  // Positions

  async #locateAll(producer: TransactionalProducer): Promise<void> {
    const missing = [...this.partitions.values()].filter(({ located, blockedUntil }) => !located && blockedUntil === 0);
    if (missing.length === 0) return;
    // Topics must be there before positions in them are asked for.
    for (const { upstreamTopic, upstreamPartition } of missing)
      await this.#upstream.leader(upstreamTopic, upstreamPartition);
    const positions = await producer.positions(missing.map(at));
    for (const partition of missing) {
      const found = positions.find(({ topic, partition: index }) => {
        return topic === partition.upstreamTopic && index === partition.upstreamPartition;
      });
      const ofThisTopic = found !== undefined && found.metadata === partition.partition.topic.id;
      await this.#locate(producer, partition, ofThisTopic ? found.offset : null);
      if (this.#stopped) return;
    }
    await this.cursors.flush();
  }

  async #locate(
    producer: TransactionalProducer,
    partition: TransactionalPartition,
    committed: number | null,
  ): Promise<void> {
    const { upstreamTopic, upstreamPartition, cursor } = partition;
    const { selection } = this.#options;
    const leader = await this.#upstream.leader(upstreamTopic, upstreamPartition);
    const same = cursor !== null && cursor.upstreamTopicId === leader.topic.id && cursor.clusterId === leader.clusterId;
    const sentBy =
      cursor === null || cursor.selection === selection.id ? selection : await selectionById(cursor.selection);
    const upstream = this.#upstream.reader(leader, upstreamPartition);
    const offset = await transactionalPosition({
      edge: edgeLogOf(partition.partition, partition.isReplica, sentBy),
      upstream,
      producerId: producer.producerId,
      cursor: cursor !== null && !same ? { ...cursor, upstreamNext: 0 } : cursor,
      committed,
      readRecords: (from) => committedRecords(this.#cluster, upstreamTopic, upstreamPartition, upstream, from),
    });
    if (cursor !== null && offset > cursor.offset) this.counters.avoided.value += offset - cursor.offset;
    partition.setCursor({
      offset,
      sequence: committed ?? offset,
      producerId: producer.producerId,
      producerEpoch: producer.producerEpoch,
      upstreamNext: same ? cursor.upstreamNext : 0,
      upstreamTopic,
      upstreamPartition,
      upstreamTopicId: leader.topic.id,
      clusterId: leader.clusterId,
      selection: selection.id,
    });
    const { logStartOffset } = partition.partition;
    if (offset < logStartOffset) {
      const reason = 'retention: removed before it was sent upstream';
      await this.#lose(partition, logStartOffset, offset, logStartOffset - 1, reason);
    }
    partition.rewind();
    partition.located = true;
  }

  async #lose(
    partition: TransactionalPartition,
    offset: number,
    firstOffset: number,
    lastOffset: number,
    reason: string,
  ): Promise<void> {
    const { topic, index } = partition.partition;
    const cursor = partition.cursor!;
    partition.setCursor({ ...cursor, offset });
    const loss = { topic: topic.name, topicId: topic.id, partition: index, firstOffset, lastOffset, reason };
    this.#logger.error(loss, 'records are not sent upstream');
    try {
      await this.cursors.flushWith((operations) => {
        return this.#dependencies.ledger.record([{ ...loss, by: this.name }], operations);
      });
    } catch (error) {
      partition.setCursor(cursor);
      throw error;
    }
    this.counters.lost.value += lastOffset - firstOffset + 1;
  }

  // Policy and state, as of a Kafka link

  applyPolicy(policy: LinkPolicy): void {
    this.#policy = policy;
    this.#bucket.setRate(policy.bytesPerSecond, policy.bytesPerSecond / 4, this.#env.clock.monotonic());
    if (policy.open) this.wake();
  }

  get state(): LinkState {
    if (this.#state === 'stopped') return 'stopped';
    if (!this.#policy.open) return 'paused';
    if (this.#state !== 'sending') return this.#state;
    let draining = false;
    for (const { blockedUntil, live } of this.partitions.values()) {
      if (blockedUntil > 0) return 'blocked';
      if (!live) draining = true;
    }
    return draining ? 'draining' : 'live';
  }

  get lastError(): string | null {
    for (const { lastError } of this.partitions.values()) if (lastError !== null) return lastError;
    return this.#configError ?? this.#lastError;
  }

  rates(): { recordsPerSecond: number; bytesPerSecond: number } {
    const now = this.#env.clock.monotonic();
    return { recordsPerSecond: this.#records.perSecond(now), bytesPerSecond: this.#bytes.perSecond(now) };
  }

  /** What was open ends by the next start, or by its time. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#state = 'stopped';
    this.#topics.stop();
    this.wake();
    this.#upstream.close();
    await this.cursors.flush();
  }
}

function at({ upstreamTopic, upstreamPartition }: TransactionalPartition): { topic: string; partition: number } {
  return { topic: upstreamTopic, partition: upstreamPartition };
}
