/**
 * A link to an MQTT broker: records go up as QoS 1 publishes, subscriptions come down into local topics. The cursor moves with
 * the PUBACK, in order; after a loss what was not acknowledged is published again, so the upstream may see a record twice: the
 * user property `headwater-offset` (`topic/partition/offset`, MQTT 5) lets it tell.
 */
import type { MqttClient } from 'mqtt';
import type { Env } from '../env.ts';
import { delay } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import type { Ledger } from '../log/ledger.ts';
import type { Log, LogRecord } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { MetaStore } from '../store/meta.ts';
import { partitionForKey } from '../wire/batch/murmur2.ts';
import { backoffMs } from './backoff.ts';
import { CursorStore } from './cursor.ts';
import type { LinkCounters, LinkPolicy, LinkState } from './kafka-link.ts';
import type { LostRange } from './link-context.ts';
import { LinkTopics } from './link-topics.ts';
import { connectMqtt, type MqttTarget } from './mqtt-client.ts';
import { MqttPartition, ORIGIN_HEADER } from './mqtt-partition.ts';
import { RateMeter, TokenBucket } from './rate.ts';
import { topicSelector } from './topic-selection.ts';

/** Where records from upstream go when no route says otherwise. */
const CATCH_ALL = 'mqtt';

export interface MqttLinkOptions {
  readonly name: string;
  readonly broker: string;
  /** Asked before each connection. */
  readonly target: () => MqttTarget;
  readonly topics: readonly string[];
  /** Of the MQTT topic upstream: `{broker}`, `{topic}`, `{key}`, `{partition}`. */
  readonly rename: string;
  /** MQTT filters whose messages come down. */
  readonly pull: readonly string[];
  /** Publishes without PUBACK. */
  readonly maxInFlight: number;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

/** The route of a message from upstream, `link` standing for the client that sent it; null: it is not stored. */
export type PulledRouteOf = (mqttTopic: string, link: string) => PulledRoute | null;

interface PulledRoute {
  readonly topic: string;
  readonly key: string;
  readonly acks: 0 | 1 | 'all';
}

export interface MqttLinkDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly log: Log;
  readonly meta: MetaStore;
  readonly counters: LinkCounters;
  readonly ledger: Pick<Ledger, 'record'>;
  /** Default: the catch-all, keyed by the MQTT topic. */
  readonly routeOf?: PulledRouteOf;
  readonly deliverLive?: (mqttTopic: string, payload: Uint8Array, link: string) => void;
  spent(bytes: number): void;
}

export class MqttLink {
  readonly name: string;
  readonly env: Env;
  readonly logger: Logger;
  readonly counters: LinkCounters;
  readonly cursors: CursorStore;
  readonly #topics: LinkTopics<MqttPartition>;
  readonly options: MqttLinkOptions;
  readonly #dependencies: MqttLinkDependencies;
  readonly #bucket: TokenBucket;
  readonly #records: RateMeter;
  readonly #bytes: RateMeter;
  readonly #slotWaiters: (() => void)[] = [];
  readonly #openWaiters: (() => void)[] = [];
  #client: MqttClient | null = null;
  #version: MqttTarget['version'] = 5;
  #inFlight = 0;
  #policy: LinkPolicy = { bytesPerSecond: 0, liveShare: 0.5, open: true };
  #stopped = true;
  #attempts = 0;
  lastError: string | null = null;

  constructor(options: MqttLinkOptions, dependencies: MqttLinkDependencies) {
    const { env } = dependencies;
    this.name = options.name;
    this.options = options;
    this.#dependencies = dependencies;
    this.env = env;
    this.logger = dependencies.logger;
    this.counters = dependencies.counters;
    this.cursors = new CursorStore(dependencies.meta, options.name);
    this.#topics = new LinkTopics<MqttPartition>({
      log: dependencies.log,
      clock: env.clock,
      logger: dependencies.logger,
      cursors: this.cursors,
      // A link that only pulls has no topics.
      selects: options.topics.length === 0 ? () => false : topicSelector(options.topics),
      link: () => (partition) => new MqttPartition(this, partition),
    });
    const now = env.clock.monotonic();
    this.#bucket = new TokenBucket(0, 0, now);
    this.#records = new RateMeter(now);
    this.#bytes = new RateMeter(now);
  }

  async start(): Promise<void> {
    this.#stopped = false;
    await this.#topics.start();
    void this.#run();
  }

  get partitions(): ReadonlyMap<string, MqttPartition> {
    return this.#topics.partitions;
  }

  get connected(): boolean {
    return this.#client !== null;
  }

  async #run(): Promise<void> {
    const { env, options } = this;
    while (!this.#stopped) {
      if (!this.maySend()) await new Promise<void>((resolve) => this.#openWaiters.push(resolve));
      if (this.#stopped) return;
      try {
        await this.#session();
      } catch (error) {
        this.lastError = asHeadwaterError(error).message;
        this.logger.debug({ link: this.name, reason: this.lastError }, 'an MQTT link has to connect again');
      }
      if (this.#stopped) return;
      await delay(
        env.clock,
        backoffMs(this.#attempts++, options.backoffBaseMs, options.backoffMaxMs, env.random.unit()),
      );
    }
  }

  /** One connection, until it ends. */
  async #session(): Promise<void> {
    const { pull } = this.options;
    const target = this.options.target();
    this.#version = target.version;
    const client = await connectMqtt(this.env, target);
    if (this.#stopped) {
      client.end(true);
      return;
    }
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
    try {
      client.handleMessage = (packet, done) => {
        this.#pulled(packet.topic, packet.payload as Buffer).then(
          () => done(),
          // Not acknowledged: upstream sends it again.
          (error) => done(asHeadwaterError(error)),
        );
      };
      if (pull.length > 0) await client.subscribeAsync([...pull], { qos: 1, nl: true });
      this.#client = client;
      this.#attempts = 0;
      this.lastError = null;
      for (const partition of this.partitions.values()) partition.connected();
      await closed;
      throw new HeadwaterError('CONNECTION_LOST', `${target.url}: the connection ended`);
    } finally {
      this.#client = null;
      client.end(true);
      this.#inFlight = 0;
      for (const partition of this.partitions.values()) partition.disconnected();
      for (const resume of this.#slotWaiters.splice(0)) resume();
    }
  }

  // Upwards, for the partitions

  maySend(): boolean {
    return this.#policy.open && !this.#stopped;
  }

  /** Resolves when one more publish may go out; false: the connection is gone. */
  async slot(bytes: number, generation: () => boolean): Promise<boolean> {
    for (;;) {
      if (!generation() || this.#client === null) return false;
      const now = this.env.clock.monotonic();
      const waitMs = this.#bucket.waitMs(now);
      if (waitMs > 0) await delay(this.env.clock, waitMs);
      else if (!this.maySend()) await new Promise<void>((resolve) => this.#openWaiters.push(resolve));
      else if (this.#inFlight >= this.options.maxInFlight) {
        await new Promise<void>((resolve) => this.#slotWaiters.push(resolve));
      } else {
        this.#inFlight++;
        this.#bucket.take(bytes, now);
        this.#dependencies.spent(bytes);
        return true;
      }
    }
  }

  publish(topic: string, value: Buffer, properties: Record<string, string>, done: (error: Error | null) => void): void {
    const client = this.#client;
    if (client === null) {
      done(new Error('not connected'));
      return;
    }
    const options =
      this.#version === 5 ? { qos: 1 as const, properties: { userProperties: properties } } : { qos: 1 as const };
    client.publish(topic, value, options, (error) => {
      if (this.#client === client) {
        this.#inFlight--;
        this.#slotWaiters.shift()?.();
      }
      done(error ?? null);
    });
  }

  delivered(bytes: number): void {
    const now = this.env.clock.monotonic();
    this.counters.records.value++;
    this.counters.bytes.value += bytes;
    this.#records.add(1, now);
    this.#bytes.add(bytes, now);
  }

  recordLoss(loss: LostRange): void {
    this.logger.error(loss, 'records were removed before they were sent upstream');
    this.cursors
      .flushWith((operations) => this.#dependencies.ledger.record([{ ...loss, by: this.name }], operations))
      .catch((error) => this.logger.error({ err: error }, 'a loss could not be recorded'));
  }

  // Downwards

  /** Stores a message from upstream; PUBACK follows the synced write (with acks=all the in-sync replicas too). */
  async #pulled(mqttTopic: string, payload: Buffer): Promise<void> {
    const { log, routeOf, deliverLive } = this.#dependencies;
    const route: PulledRoute | null =
      routeOf === undefined ? { topic: CATCH_ALL, key: mqttTopic, acks: 1 } : routeOf(mqttTopic, this.name);
    if (route === null) {
      deliverLive?.(mqttTopic, payload, this.name);
      return;
    }
    const topic =
      log.topic(route.topic) ?? (await log.createTopic({ name: route.topic, partitions: -1, config: new Map() }));
    const key = Buffer.from(route.key);
    const partition = topic.partitions[partitionForKey(key, topic.partitions.length)]!;
    const record: LogRecord = {
      key,
      value: payload,
      // What came down through this link does not go up through it again.
      headers: [
        // By it the MQTT subscribers here find a record whose key is something else.
        ...(route.key === mqttTopic ? [] : [{ key: 'mqtt.topic', value: Buffer.from(mqttTopic) }]),
        { key: ORIGIN_HEADER, value: Buffer.from(this.name) },
      ],
      timestamp: -1,
    };
    const acks = route.acks === 'all' ? -1 : 1;
    await new Promise<void>((resolve, reject) => {
      partition.appendRecord(record, acks, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  // Policy and state, as of a Kafka link

  applyPolicy(policy: LinkPolicy): void {
    this.#policy = policy;
    this.#bucket.setRate(policy.bytesPerSecond, policy.bytesPerSecond / 4, this.env.clock.monotonic());
    if (policy.open) for (const resume of this.#openWaiters.splice(0)) resume();
  }

  get state(): LinkState {
    if (this.#stopped) return 'stopped';
    if (!this.#policy.open) return 'paused';
    if (this.#client === null) return this.lastError === null ? 'connecting' : 'backing-off';
    for (const { live } of this.partitions.values()) if (!live) return 'draining';
    return 'live';
  }

  rates(): { recordsPerSecond: number; bytesPerSecond: number } {
    const now = this.env.clock.monotonic();
    return { recordsPerSecond: this.#records.perSecond(now), bytesPerSecond: this.#bytes.perSecond(now) };
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#topics.stop();
    for (const resume of [...this.#openWaiters.splice(0), ...this.#slotWaiters.splice(0)]) resume();
    this.#client?.end(true);
    await this.cursors.flush();
  }
}
