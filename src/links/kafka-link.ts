/** A link to Apache Kafka or another Headwater: its topics and partitions, and the rules they share. */
import { Cluster, type ClusterOptions } from '../client/cluster.ts';
import type { Connection } from '../client/connection.ts';
import type { Env, Timer } from '../env.ts';
import { asHeadwaterError } from '../errors.ts';
import type { Ledger } from '../log/ledger.ts';
import type { Log, Partition, Topic } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Series } from '../metrics.ts';
import type { MetaStore } from '../store/meta.ts';
import type { BatchCompressor } from '../wire/batch/record-encoder.ts';
import { ByteBudget } from './byte-budget.ts';
import { CursorStore } from './cursor.ts';
import { needsPerson } from './error-class.ts';
import type { LinkContext, LostRange } from './link-context.ts';
import { LinkTopics } from './link-topics.ts';
import { PartitionLink } from './partition-link.ts';
import { RateMeter, TokenBucket } from './rate.ts';
import type { Selection } from './selection.ts';
import { Sender, type SendingRules } from './sender.ts';
import { topicSelector, upstreamTopicName } from './topic-selection.ts';
import { type Leader, Upstream } from './upstream.ts';

/** Read and not acknowledged, all partitions together. */
const MEMORY_BYTES = 6 * 1024 * 1024;
const WATCH_INTERVAL_MS = 5_000;
const LOCATING_MAX = 8;
/** Half a second of a capped uplink is read at once. */
const READ_SECONDS = 0.5;

export interface KafkaLinkOptions {
  readonly name: string;
  /** This broker's `broker.id`. */
  readonly broker: string;
  readonly cluster: ClusterOptions;
  /** Names and globs, `!` excludes. */
  readonly topics: readonly string[];
  /** Template of the name upstream. */
  readonly rename: string;
  readonly acks: 1 | -1;
  readonly partitioner: 'keep' | 'hash';
  /** Of topics created upstream; -1: as many as here. */
  readonly partitions: number;
  readonly replicationFactor: number;
  /** A sync link's broker id; null: async. */
  readonly replicaId: number | null;
  readonly replicaMaxLagMs: number;
  /** What is sent, and in what form. */
  readonly selection: Selection;
  /** For batches that are not compressed; null: as they are stored. */
  readonly codec: BatchCompressor | null;
  /** A record that is too large for upstream goes to the loss ledger; otherwise it holds its partition. */
  readonly skipsOversize: boolean;
  readonly maxRequestBytes: number;
  readonly maxRequests: number;
  readonly requestTimeoutMs: number;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

/** What may change while the link runs. */
export interface LinkPolicy {
  /** 0: no cap. */
  readonly bytesPerSecond: number;
  /** 0 to 1. */
  readonly liveShare: number;
  /** False: outside its windows, over its budget or paused. */
  readonly open: boolean;
}

export interface LinkCounters {
  readonly records: Series;
  readonly bytes: Series;
  readonly resends: Series;
  readonly avoided: Series;
  readonly lost: Series;
  readonly oversize: Series;
  readonly rebuilds: Series;
  /** Seconds. */
  readonly throttled: Series;
  refused(error: string): void;
}

export interface KafkaLinkDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly log: Log;
  readonly meta: MetaStore;
  readonly ledger: Pick<Ledger, 'record'>;
  readonly counters: LinkCounters;
  priorityOf(topic: string): number;
  /** Bytes went upstream: for budgets. */
  spent(bytes: number): void;
}

export type LinkState =
  | 'stopped'
  | 'connecting'
  | 'live'
  | 'draining'
  | 'backing-off'
  | 'blocked'
  | 'paused'
  | 'closed';

export class KafkaLink implements LinkContext {
  readonly name: string;
  readonly env: Env;
  readonly logger: Logger;
  readonly cursors: CursorStore;
  readonly memory = new ByteBudget(MEMORY_BYTES);
  readonly settings: { readonly backoffBaseMs: number; readonly backoffMaxMs: number };
  readonly broker: string | null;
  readonly replicaId: number | null;
  readonly replicaMaxLagMs: number;
  readonly selection: Selection;
  readonly codec: BatchCompressor | null;
  readonly skipsOversize: boolean;
  readonly counters: LinkCounters;
  readonly #topics: LinkTopics<PartitionLink>;
  readonly #options: KafkaLinkOptions;
  readonly #dependencies: KafkaLinkDependencies;
  readonly #rules: SendingRules;
  readonly #deliveredRecords: RateMeter;
  readonly #timers: Timer[] = [];
  readonly #locatingQueue: (() => void)[] = [];
  readonly #waitingForOpen: (() => void)[] = [];
  #senders = new Map<Connection, Sender>();
  #upstream: Upstream;
  #policy: LinkPolicy = { bytesPerSecond: 0, liveShare: 0.5, open: true };
  #locating = 0;
  #lastProgress: number;
  #stopped = true;
  /** Problems of the configuration that show only with a topic (its name upstream is not legal). */
  #configError: string | null = null;

  constructor(options: KafkaLinkOptions, dependencies: KafkaLinkDependencies) {
    const { env } = dependencies;
    this.name = options.name;
    this.#options = options;
    this.#dependencies = dependencies;
    this.env = env;
    this.logger = dependencies.logger;
    this.counters = dependencies.counters;
    this.settings = options;
    this.broker = options.partitioner === 'hash' ? options.broker : null;
    this.replicaId = options.replicaId;
    this.replicaMaxLagMs = options.replicaMaxLagMs;
    this.selection = options.selection;
    this.codec = options.codec;
    this.skipsOversize = options.skipsOversize;
    this.cursors = new CursorStore(dependencies.meta, options.name);
    this.#topics = new LinkTopics<PartitionLink>({
      log: dependencies.log,
      clock: env.clock,
      logger: dependencies.logger,
      cursors: this.cursors,
      selects: topicSelector(options.topics),
      link: (topic) => this.#link(topic),
    });
    const now = env.clock.monotonic();
    this.#deliveredRecords = new RateMeter(now);
    this.#lastProgress = now;
    this.#rules = {
      env,
      acks: options.acks,
      requestTimeoutMs: options.requestTimeoutMs,
      maxRequestBytes: options.maxRequestBytes,
      maxRequests: options.maxRequests,
      bucket: new TokenBucket(0, 0, now),
      delivered: new RateMeter(now),
      throttledUntil: new Map(),
      throttled: (ms) => {
        this.counters.throttled.value += ms / 1000;
      },
      liveShare: 0.5,
      maySend: () => this.maySend(),
      spent: (bytes) => dependencies.spent(bytes),
    };
    this.#upstream = this.#newUpstream();
  }

  get upstream(): Upstream {
    return this.#upstream;
  }

  #newUpstream(): Upstream {
    const { cluster, partitions, replicationFactor, backoffBaseMs, backoffMaxMs } = this.#options;
    const options = {
      partitions,
      replicationFactor,
      growTopics: this.#options.partitioner === 'keep',
      backoffBaseMs,
      backoffMaxMs,
    };
    return new Upstream(new Cluster(this.env, cluster), options, this.logger);
  }

  /** Loads the cursors and begins; an upstream that is not there is tried again and again. */
  async start(): Promise<void> {
    this.#stopped = false;
    await this.#topics.start();
    this.#timers.push(this.env.clock.every(WATCH_INTERVAL_MS, () => this.#watch()));
  }

  get partitions(): ReadonlyMap<string, PartitionLink> {
    return this.#topics.partitions;
  }

  #link(topic: Topic): ((partition: Partition) => PartitionLink) | null {
    const { rename, broker } = this.#options;
    let upstreamTopic: string;
    try {
      upstreamTopic = upstreamTopicName(rename, broker, topic.name);
    } catch (error) {
      this.#configError = asHeadwaterError(error).message;
      this.logger.error({ topic: topic.name, reason: this.#configError }, 'a topic cannot be replicated');
      return null;
    }
    this.#upstream.want(upstreamTopic, topic.partitions.length);
    return (partition) => {
      if (partition.index > 0) this.#upstream.invalidate(upstreamTopic);
      return new PartitionLink(this, partition, upstreamTopic, this.#dependencies.priorityOf(topic.name));
    };
  }

  // LinkContext

  async connect(partition: PartitionLink): Promise<Leader> {
    if (!this.maySend()) await new Promise<void>((resolve) => this.#waitingForOpen.push(resolve));
    return this.#upstream.leader(partition.upstreamTopic, partition.upstreamPartition);
  }

  async locating(task: () => Promise<void>): Promise<void> {
    while (this.#locating >= LOCATING_MAX) await new Promise<void>((resolve) => this.#locatingQueue.push(resolve));
    this.#locating++;
    try {
      await task();
    } finally {
      this.#locating--;
      this.#locatingQueue.shift()?.();
    }
  }

  senderOf(connection: Connection): Sender {
    let sender = this.#senders.get(connection);
    if (sender === undefined) {
      sender = new Sender(connection, this.#rules);
      this.#senders.set(connection, sender);
      connection.onClose(() => this.#senders.delete(connection));
    }
    return sender;
  }

  maySend(): boolean {
    return this.#policy.open && !this.#stopped;
  }

  readBytes(min: number, max: number): number {
    const { bucket } = this.#rules;
    return bucket.rate === 0 ? max : Math.max(min, Math.min(max, bucket.rate * READ_SECONDS));
  }

  delivered(records: number, bytes: number): void {
    const now = this.env.clock.monotonic();
    this.#lastProgress = now;
    this.counters.records.value += records;
    this.counters.bytes.value += bytes;
    this.#deliveredRecords.add(records, now);
    this.#rules.delivered.add(bytes, now);
  }

  async recordLoss(loss: LostRange): Promise<void> {
    this.logger.error(loss, 'records are not sent upstream');
    await this.cursors.flushWith((operations) =>
      this.#dependencies.ledger.record([{ ...loss, by: this.name }], operations),
    );
    this.counters.lost.value += loss.lastOffset - loss.firstOffset + 1;
  }

  // Policy and state

  applyPolicy(policy: LinkPolicy): void {
    const before = this.#policy;
    this.#policy = policy;
    this.#rules.liveShare = policy.liveShare;
    // A burst of a quarter second: smoother than a full one, and a live record waits less behind it.
    this.#rules.bucket.setRate(policy.bytesPerSecond, policy.bytesPerSecond / 4, this.env.clock.monotonic());
    if (before.open || !policy.open) return;
    this.#lastProgress = this.env.clock.monotonic();
    for (const resume of this.#waitingForOpen.splice(0)) resume();
    for (const partition of this.partitions.values()) partition.wake();
    for (const sender of this.#senders.values()) sender.schedule();
  }

  /** A link with a backlog that makes no progress gets new connections, whatever the old ones look like. */
  #watch(): void {
    const now = this.env.clock.monotonic();
    const wants = this.maySend() && this.#sendingWithBacklog();
    const patience = Math.max(2 * this.#options.requestTimeoutMs, 30_000);
    if (!wants || this.#rules.bucket.waitMs(now) > 0 || this.#throttled(now))
      this.#lastProgress = Math.max(this.#lastProgress, now - patience / 2);
    if (!wants || now - this.#lastProgress < patience) return;
    this.#lastProgress = now;
    this.counters.rebuilds.value++;
    this.logger.warn({ link: this.name }, 'no progress: all connections are built anew');
    const old = this.#upstream;
    this.#upstream = this.#newUpstream();
    for (const { upstreamTopic, partition } of this.partitions.values()) {
      this.#upstream.want(upstreamTopic, partition.topic.partitions.length);
    }
    old.close();
  }

  /** Upstream asked for a pause: no progress is what it wants. */
  #throttled(now: number): boolean {
    for (const until of this.#rules.throttledUntil.values()) if (until > now) return true;
    return false;
  }

  #sendingWithBacklog(): boolean {
    for (const { state, backlogRecords } of this.partitions.values()) {
      if ((state === 'sending' || state === 'settling') && backlogRecords > 0) return true;
    }
    return false;
  }

  get state(): LinkState {
    if (this.#stopped) return 'stopped';
    if (!this.#policy.open) return 'paused';
    let draining = false;
    let connecting = false;
    for (const { state, live } of this.partitions.values()) {
      if (state === 'blocked') return 'blocked';
      if (state === 'backing-off') return 'backing-off';
      if (state === 'idle' || state === 'connecting' || state === 'locating') connecting = true;
      if (!live) draining = true;
    }
    if (connecting) {
      const { lastError } = this.#upstream;
      return lastError === null ? 'connecting' : needsPerson(lastError) ? 'blocked' : 'backing-off';
    }
    return draining ? 'draining' : 'live';
  }

  get lastError(): string | null {
    for (const { lastError } of this.partitions.values()) if (lastError !== null) return lastError;
    return this.#configError ?? this.#upstream.lastError?.message ?? null;
  }

  rates(): { recordsPerSecond: number; bytesPerSecond: number } {
    const now = this.env.clock.monotonic();
    return {
      recordsPerSecond: this.#deliveredRecords.perSecond(now),
      bytesPerSecond: this.#rules.delivered.perSecond(now),
    };
  }

  /** Stops sending and stores the cursors. What was on its way is found upstream at the next start. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#topics.stop();
    for (const resume of this.#waitingForOpen.splice(0)) resume();
    this.#upstream.close();
    await this.cursors.flush();
  }
}
