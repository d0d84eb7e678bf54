/** The MQTT edge: 3.1.1 and 5.0 in, records into the log, the log out to subscribers. */
import type { AddressInfo } from 'node:net';
import type { TlsOptions } from 'node:tls';
import { delay, type Env, type Timer } from '../env.ts';
import { asHeadwaterError } from '../errors.ts';
import {
  MQTT_CONNECTIONS_MAX,
  MQTT_INFLIGHT_MAX_BYTES,
  MQTT_PACKET_MAX_BYTES,
  MQTT_RECEIVE_MAXIMUM,
  MQTT_RETAINED_MAX_BYTES,
  MQTT_TOPIC_ALIASES_MAX,
} from '../limits.ts';
import type { Log } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { MetaStore } from '../store/meta.ts';
import { REASON } from '../wire/mqtt/reason.ts';
import { type Authenticator, allowAll } from './access.ts';
import { CatchUp } from './catch-up.ts';
import { type ClientLimitOptions, ClientLimits, NO_CLIENT_LIMITS } from './client-limits.ts';
import { Connection, TICK_MS } from './connection.ts';
import type { MqttContext, MqttSettings } from './context.ts';
import { type MqttCounters, mqttCounters } from './counters.ts';
import type { DeliveryContext } from './delivery.ts';
import { SharedEncodings } from './encodings.ts';
import { FanOut } from './fan-out.ts';
import { type Accepted, Listener, type MqttListenerOptions } from './listener.ts';
import type { AgeOf, Message } from './message.ts';
import { Flusher } from './output.ts';
import { Publisher } from './publisher.ts';
import { RetainedMessages } from './retained.ts';
import { type RouteOptions, RouteTable } from './routes.ts';
import { NEVER } from './session.ts';
import { SessionStore } from './session-store.ts';
import { Sessions } from './sessions.ts';
import { SubscriptionIndex } from './subscription-index.ts';
import { Subscriptions } from './subscriptions.ts';
import { SysTopics } from './sys.ts';
import { TopicCache } from './topic-cache.ts';
import { parseSubscription } from './topic-filter.ts';
import { Wills } from './wills.ts';

export interface MqttEdgeOptions {
  readonly listeners: readonly MqttListenerOptions[];
  readonly routes?: readonly RouteOptions[];
  /** Log topic of what no route matches; default `mqtt`. */
  readonly catchAllTopic?: string;
  readonly maxPacketBytes?: number;
  readonly maxConnections?: number;
  /** Seconds; 0: the client decides. */
  readonly maxKeepAlive?: number;
  /** Seconds; default: no limit. */
  readonly maxSessionExpiry?: number;
  readonly retainedMaxBytes?: number;
  readonly willsMaxBytes?: number;
  /** Of one client, each way: publishes that wait for their write, deliveries that are not acknowledged. */
  readonly maxInflightBytes?: number;
  /** Default: none. */
  readonly limits?: Partial<ClientLimitOptions>;
  /** For $SYS/broker/version. */
  readonly version?: string;
}

export interface MqttEdgeDependencies {
  readonly log: Log;
  readonly meta: MetaStore;
  readonly env: Env;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Default: everybody may do everything. */
  readonly authenticator?: Authenticator;
  /** Another broker of a pair leads; default: never. */
  readonly follows?: () => boolean;
  /** No new connections are taken for want of memory; default: never. */
  readonly overloaded?: () => boolean;
  /** By which messages and sessions expire; default: by the wall clock, whatever it says. */
  readonly ageOf?: AgeOf;
}

/** One connected client, for the admin page and `headwater doctor`. */
export interface MqttClient {
  readonly clientId: string;
  readonly user: string;
  readonly address: string;
  readonly protocol: 3 | 4 | 5;
  readonly subscriptions: readonly string[];
  readonly inFlight: number;
  readonly behind: boolean;
  /** Records of its partitions that retention removed before the session could read them. */
  readonly skippedRecords: number;
}

/** Session states that changed are stored this often: after a crash QoS 1 deliveries since then are repeated. */
const SAVE_MS = 5_000;
/** While they are few. */
const SAVE_FEW_MS = 1_000;
const SYS_MS = 10_000;
const STOP_WAIT_MS = 700;

export class MqttEdge {
  readonly routes: RouteTable;
  readonly #options: MqttEdgeOptions;
  readonly #deps: MqttEdgeDependencies;
  readonly #counters: MqttCounters;
  readonly #index = new SubscriptionIndex();
  readonly #topics: TopicCache;
  readonly #fanOut: FanOut;
  readonly #catchUp: CatchUp;
  readonly #retained: RetainedMessages;
  readonly #publisher: Publisher;
  readonly #subscriptions: Subscriptions;
  readonly #wills: Wills;
  readonly #sessions: Sessions;
  readonly #sys: SysTopics;
  readonly #context: MqttContext;
  readonly #connections = new Set<Connection>();
  readonly #listeners: Listener[] = [];
  readonly #maxConnections: number;
  #timers: Timer[] = [];
  #state: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  readonly #startedAt: number;

  /** Throws INVALID_CONFIG for a route that cannot be. */
  constructor(options: MqttEdgeOptions, deps: MqttEdgeDependencies) {
    const { log, meta, env, logger } = deps;
    const { clock } = env;
    const ageOf = deps.ageOf ?? ((timestamp) => Math.max(0, clock.now() - timestamp));
    this.#options = options;
    this.#deps = deps;
    this.#maxConnections = options.maxConnections ?? MQTT_CONNECTIONS_MAX;
    this.#startedAt = clock.monotonic();
    this.#counters = mqttCounters(deps.metrics);
    this.routes = new RouteTable(options.routes ?? [], options.catchAllTopic ?? 'mqtt');
    const { routes } = this;
    const counters = this.#counters;
    this.#topics = new TopicCache(log, routes, this.#index);
    const topics = this.#topics;
    this.#fanOut = new FanOut({ log, routes, index: this.#index, topics, clock, ageOf, logger, counters });
    const fanOut = this.#fanOut;
    this.#catchUp = new CatchUp(logger);
    const encodings = new SharedEncodings();
    const retainedAt = (topic: string) => this.#retained.matching([topic])[0]?.message ?? null;
    const inflightMaxBytes = options.maxInflightBytes ?? MQTT_INFLIGHT_MAX_BYTES;
    const delivery: DeliveryContext = {
      clock,
      ageOf,
      catchUp: this.#catchUp,
      counters,
      routes,
      encodings,
      retainedAt,
      inflightMaxBytes,
    };
    const retainedMax = options.retainedMaxBytes ?? MQTT_RETAINED_MAX_BYTES;
    this.#retained = new RetainedMessages(meta, fanOut, ageOf, retainedMax);
    const retained = this.#retained;
    this.#publisher = new Publisher({ log, topics, fanOut, retained, clock, counters });
    this.#subscriptions = new Subscriptions(this.#index, delivery, fanOut, meta);
    const subscriptions = this.#subscriptions;
    this.#wills = new Wills(
      { clock, meta, logger, publish: (clientId, message, done) => this.#publishWill(clientId, message, done) },
      options.willsMaxBytes,
    );
    const wills = this.#wills;
    this.#sessions = new Sessions({
      clock,
      ageOf,
      store: new SessionStore(meta, fanOut, clock, counters),
      subscriptions,
      delivery,
      counters,
      logger,
      wills,
    });
    this.#sys = new SysTopics(() => this.#figures(), topics, fanOut, retained, this.#index, clock);
    const settings: MqttSettings = {
      maxPacketBytes: options.maxPacketBytes ?? MQTT_PACKET_MAX_BYTES,
      receiveMaximum: MQTT_RECEIVE_MAXIMUM,
      topicAliasMaximum: MQTT_TOPIC_ALIASES_MAX,
      maxKeepAlive: options.maxKeepAlive ?? 0,
      maxSessionExpiry: options.maxSessionExpiry ?? NEVER,
      maxInflightBytes: inflightMaxBytes,
    };
    this.#context = {
      env,
      log,
      logger,
      access: deps.authenticator ?? allowAll,
      counters,
      settings,
      flusher: new Flusher(),
      publisher: this.#publisher,
      retained,
      sessions: this.#sessions,
      subscriptions,
      wills,
      fanOut,
      limits: new ClientLimits({ ...NO_CLIENT_LIMITS, ...options.limits }),
      tick: { now: clock.monotonic() },
      stopping: () => this.#state !== 'running',
      follows: () => deps.follows?.() ?? false,
      overloaded: () => deps.overloaded?.() ?? false,
      onClosed: (connection) => this.#connections.delete(connection),
    };
    this.#gauges();
  }

  #gauges(): void {
    const { metrics } = this.#deps;
    metrics.gauge('headwater_mqtt_connections', 'Open MQTT connections.', () => this.#connections.size);
    metrics.gauge(
      'headwater_mqtt_sessions_sleeping',
      'Sessions without a connection.',
      () => this.#sessions.sleepingCount,
    );
    metrics.gauge('headwater_mqtt_subscriptions', 'Subscriptions of connected sessions.', () => this.#index.size);
    metrics.gauge('headwater_mqtt_retained_messages', 'Retained messages.', () => this.#retained.size);
    metrics.gauge('headwater_mqtt_retained_bytes', 'Memory taken by retained messages.', () => this.#retained.bytes);
    metrics.gauge('headwater_mqtt_wills', 'Wills kept in the store.', () => this.#wills.size);
    metrics.gauge('headwater_mqtt_catching_up', 'Subscribers that read their backlog now.', () => this.#catchUp.size);
  }

  async #makeTopics(routes: RouteTable): Promise<void> {
    const { log } = this.#deps;
    for (const name of routes.storedTopics()) {
      // A follower has the topics of its leader.
      if (log.topic(name) === undefined && this.#deps.follows?.() !== true)
        await log.createTopic({ name, partitions: -1, config: new Map() }, { configured: true });
    }
  }

  /**
   * Replaces the routes while the broker runs. What is being stored goes where it was meant to; what former routes have
   * stored still reaches its subscribers until the next start. Throws INVALID_CONFIG, and changes nothing, for a route
   * that cannot be.
   */
  async setRoutes(rules: readonly RouteOptions[]): Promise<void> {
    await this.#makeTopics(new RouteTable(rules, this.routes.catchAll.topicName));
    const before = this.routes.readTopics;
    this.routes.replace(rules);
    this.#topics.clear();
    this.#fanOut.routesChanged(before);
    // Where they are in the topics that are new to them.
    for (const session of this.#sessions.active()) session.delivery.dirty = true;
    await this.#sessions.save(false);
  }

  /** Makes the log topics of the routes, loads what is stored, then listens. */
  async start(): Promise<void> {
    const { env } = this.#deps;
    await this.#makeTopics(this.routes);
    this.#fanOut.start();
    const follows = this.#deps.follows?.() === true;
    // What a follower has stored is a copy that only its leader changes; it reads it when it leads.
    if (!follows) {
      await this.#retained.load();
      await this.#sessions.load();
      await this.#subscriptions.load((text) => parseSubscription(text).levels);
    }
    this.#state = 'running';
    // Before anybody can connect again.
    if (!follows) await this.#wills.load();
    for (const options of this.#options.listeners) {
      const onAccepted = (accepted: Accepted) => this.#accept(accepted);
      const listener = new Listener(options, env.net, this.#context.settings.maxPacketBytes, onAccepted);
      await listener.start();
      this.#listeners.push(listener);
    }
    this.#timers = [
      env.clock.every(TICK_MS, () => this.#tick()),
      env.clock.every(SAVE_MS, () => {
        this.#sessions.save(false).catch((error: unknown) => {
          this.#deps.logger.warn({ error }, 'MQTT session states could not be stored');
        });
      }),
      env.clock.every(SAVE_FEW_MS, () => {
        this.#sessions.saveFew().catch(() => undefined);
      }),
      env.clock.every(SYS_MS, () => this.#sys.publish()),
    ];
  }

  /** Listening addresses, in the order of the options. */
  get addresses(): AddressInfo[] {
    return this.#listeners.map((listener) => listener.address);
  }

  clients(): MqttClient[] {
    return [...this.#connections]
      .filter((connection) => connection.session !== null)
      .map((connection) => ({
        clientId: connection.clientId,
        user: connection.principal.name,
        address: connection.remoteAddress,
        protocol: connection.version,
        subscriptions: [...connection.session!.subscriptions.keys()],
        inFlight: connection.session!.delivery.outgoing.size,
        behind: connection.session!.delivery.isBehind,
        skippedRecords: connection.session!.delivery.backlog.skipped,
      }));
  }

  /**
   * Where a message is stored that came some other way than from a client here, with `from` in the place of the client
   * identifier; null: its route stores nothing. Throws TOPIC_NAME_INVALID.
   */
  routeOf(topic: string, from: string): { topic: string; key: string; acks: 0 | 1 | 'all' } | null {
    const { route, levels } = this.#topics.get(topic);
    return route.store ? { topic: route.topicName, key: route.keyOf(topic, levels, from), acks: route.acks } : null;
  }

  /** Gives a message whose route stores nothing to the live subscribers. */
  deliverLive(topic: string, payload: Uint8Array, from: string): void {
    const message = { qos: 1 as const, retain: false, payload, properties: {} };
    this.#publisher.submit(this.#publisher.prepare(topic, message, from, 0, false, null), () => undefined);
  }

  /** Certificates were replaced: connections to come use the new ones. Throws, and keeps the old, when they are bad. */
  setCertificates(options: TlsOptions): void {
    for (const listener of this.#listeners) listener.setCertificates(options);
  }

  #accept({ stream, remoteAddress, certificate }: Accepted): void {
    if (this.#state !== 'running' || this.#connections.size >= this.#maxConnections) {
      // The newest gives way: those that are connected are not disturbed.
      this.#counters.refused('too_many_connections').value++;
      stream.destroy();
      return;
    }
    if (!this.#context.limits.mayAccept(remoteAddress)) {
      this.#counters.refused('connections_per_address').value++;
      stream.destroy();
      return;
    }
    this.#counters.connections.value++;
    this.#connections.add(new Connection(this.#context, stream, remoteAddress, certificate));
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Closes the `count` that came last; 5.0 clients are told why. */
  shedNewest(count: number): void {
    for (const connection of [...this.#connections].slice(-count)) connection.disconnect(REASON.SERVER_BUSY);
  }

  #tick(): void {
    const { tick, env } = this.#context;
    tick.now = env.clock.monotonic();
    for (const connection of this.#connections) connection.check(tick.now);
    this.#sessions.tick();
  }

  #publishWill(clientId: string, message: Message, done: (error: Error | null) => void): void {
    const settle = (error: Error | null) => {
      if (error !== null) this.#deps.logger.warn({ clientId, why: error.message }, 'a will could not be published');
      done(error);
    };
    try {
      const publication = this.#publisher.prepare(message.topic, message, clientId, 0, false, null);
      this.#publisher.submit(publication, (_, error) => settle(error));
    } catch (error) {
      settle(asHeadwaterError(error));
    }
  }

  #figures(): Record<string, string | number> {
    const { connections, packetsIn, packetsOut, bytesIn, publishesIn, deliveries } = this.#counters;
    const sleeping = this.#sessions.sleepingCount;
    const uptime = Math.floor((this.#context.env.clock.monotonic() - this.#startedAt) / 1000);
    return {
      version: this.#options.version ?? 'headwater',
      uptime: `${uptime} seconds`,
      'clients/connected': this.#connections.size,
      'clients/disconnected': sleeping,
      'clients/total': this.#connections.size + sleeping,
      'connections/socket/count': connections.value,
      'messages/received': packetsIn.value,
      'messages/sent': packetsOut.value,
      'bytes/received': bytesIn.value,
      'publish/messages/received': publishesIn.value,
      'publish/messages/sent': deliveries.value,
      'subscriptions/count': this.#index.size,
      'retained messages/count': this.#retained.size,
    };
  }

  /** A store that does not answer must not keep the process from stopping. */
  async #within(task: Promise<void>): Promise<void> {
    const { clock } = this.#deps.env;
    await Promise.race([task, delay(clock, STOP_WAIT_MS)]);
  }

  /** Closes connections (5.0 clients are told), stores sessions. The log is stopped by its owner, afterwards. */
  async stop(): Promise<void> {
    if (this.#state !== 'running') return;
    this.#state = 'stopping';
    for (const timer of this.#timers) timer.cancel();
    this.#catchUp.stop();
    try {
      await this.#within(this.#sessions.save(true));
    } catch (error) {
      this.#deps.logger.error({ error }, 'MQTT sessions could not be stored at the stop');
    }
    for (const connection of [...this.#connections]) connection.disconnect(REASON.SERVER_SHUTTING_DOWN);
    await this.#within(this.#sessions.settled());
    await Promise.all(this.#listeners.map((listener) => listener.stop()));
    this.#fanOut.stop();
    this.#state = 'stopped';
  }
}
