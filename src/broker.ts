/**
 * The wiring, top to bottom: every part is constructed and started here in the order in which records need it, and stopped
 * in reverse. No logic of its own: what a part does when is in that part.
 */
import { statfs } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { httpAuthenticate, mqttAuthenticator, securitySettings } from './broker-access.ts';
import { brokerProviders } from './broker-view.ts';
import { applyTo, clockLogs } from './clock-logs.ts';
import { type Changes, compareConfig, effectiveConfig } from './config/change.ts';
import type { Config, Endpoint, ListenerName } from './config/config.ts';
import { describeSettings } from './config/describe.ts';
import { routeRules } from './config/route-rules.ts';
import type { Env } from './env.ts';
import { GroupCoordinator } from './groups/coordinator.ts';
import { PageFiles } from './http/page-files.ts';
import { processMetrics } from './http/process-metrics.ts';
import { HttpServer } from './http/server.ts';
import { KafkaEdge } from './kafka/edge.ts';
import { LinkAccess } from './links/access.ts';
import { Links } from './links/links.ts';
import { topicSelector } from './links/topic-selection.ts';
import type { HeadwaterLog } from './log/headwater-log.ts';
import { openLog } from './log/log.ts';
import { TimeCorrections } from './log/time-corrections.ts';
import type { Partition } from './log/types.ts';
import type { Logger } from './logger.ts';
import { MemoryGuard, usedMemory } from './memory-guard.ts';
import { Metrics } from './metrics.ts';
import { MqttEdge } from './mqtt/edge.ts';
import { Quotas } from './quotas/quotas.ts';
import { Security } from './security/security.ts';
import { Sources } from './sources/sources.ts';
import { PairRows, type RowsRequest } from './standby/pair-rows.ts';
import { StandbyReplicas } from './standby/replicas.ts';
import { Standby } from './standby/standby.ts';
import { metaKey } from './store/keys.ts';
import { openLevelStore } from './store/leveldb.ts';
import { ClockHistory } from './time/clock-history.ts';
import { type Machine, systemMachine } from './time/machine.ts';
import { TrustedTime } from './time/trusted-time.ts';
import { TransactionCoordinator } from './transactions/coordinator.ts';

export interface BrokerDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly version: string;
  /** Reads the configuration again, from where the first came. Rejects with every mistake it has. */
  readonly loadConfig: () => Promise<Config>;
  /** What the system says about this boot and its clock. Default: the real one. */
  readonly machine?: Machine;
}

/** Where each listener is bound: port 0 resolved. */
export type Addresses = Partial<Record<ListenerName, Endpoint>>;

const DEFAULT_PRIORITY = 4;
const ROLE_CHANGE_MS = 50;
const CLUSTER_ID_KEY = metaKey('boot', 'cluster.id');
const MQTT_PROTOCOLS = { mqtt: 'tcp', mqtts: 'tls', ws: 'ws', wss: 'wss' } as const;

type Stop = () => Promise<void> | void;

export class Broker {
  readonly #dependencies: BrokerDependencies;
  readonly #addresses: Addresses = {};
  readonly #stops: { readonly part: string; readonly stop: Stop }[] = [];
  #config: Config;
  #declare: () => Promise<void> = async () => {};
  #follows: () => boolean = () => false;
  #security: Security | null = null;
  #mqtt: MqttEdge | null = null;
  #links: Links | null = null;
  /** Of the link of type standby. */
  #pairAccess: LinkAccess | null = null;
  #sources: Sources | null = null;
  /** Stops, and restarts in another role, one after the other. */
  #turn: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(config: Config, dependencies: BrokerDependencies) {
    this.#config = config;
    this.#dependencies = dependencies;
  }

  get config(): Config {
    return this.#config;
  }

  addresses(): Addresses {
    return this.#addresses;
  }

  /** Opens the store, recovers, binds the listeners. When a part fails, those before it are stopped and the error is thrown. */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { env, logger, version } = this.#dependencies;
    const { settings, advertised } = this.#config;
    // After a change of roles: where it was before, also where the port was any.
    const listeners = { ...this.#config.listeners, ...this.#addresses };
    const metrics = new Metrics();
    processMetrics(metrics, env.clock);
    const startedAt = env.clock.monotonic();
    const memory = new MemoryGuard({
      clock: env.clock,
      logger,
      metrics,
      budgetBytes: settings['memory.budget'],
      usedBytes: usedMemory,
    });
    const { overloaded } = memory;

    const security = await Security.load(securitySettings(this.#config), { env, logger, metrics });
    this.#security = security;
    const { tls } = security;

    const { machine = systemMachine() } = this.#dependencies;
    const time = new TrustedTime({
      clock: env.clock,
      random: env.random,
      machine,
      metrics,
      logger,
      source: settings['time.source'],
    });
    const trustedNow = () => time.trustedNow();
    const writtenAt = (timestamp: number) => time.writtenAt(timestamp);
    const corrections = new TimeCorrections();
    const store = await openLevelStore(settings['data.dir']);
    this.#started('store', () => store.close());
    const log = await openLog({
      store,
      env,
      metrics,
      logger,
      options: {
        brokerId: settings['node.id'],
        numPartitions: settings['num.partitions'],
        topicDefaults: this.#config.topicDefaults,
        flushMs: settings['flush.ms'],
        wearBytesPerDay: settings['flush.wear.bytes.per.day'],
        wearMaxMs: settings['flush.wear.max.ms'],
        ...(settings['log.retention.total.bytes'] >= 0 && {
          retentionTotalBytes: settings['log.retention.total.bytes'],
        }),
        timeTrusted: () => time.check(),
        writtenAt,
        corrections,
        disk: {
          lowBytes: settings['disk.low.bytes'],
          reserveBytes: settings['disk.reserve.bytes'],
          policy: (topic) => this.#config.topics.get(topic)?.['disk.full'] ?? 'drop-oldest',
        },
        topicPriority: (topic) => this.#config.topics.get(topic)?.priority ?? DEFAULT_PRIORITY,
      },
    });
    this.#started('log', () => log.close());
    await time.start(log.meta);
    this.#started('time', () => time.stop());
    const identity = {
      nodeId: settings['node.id'],
      clusterId: await this.#clusterId(log),
      rack: settings['broker.rack'],
    };
    const standby = await this.#pairOf(log, metrics, async (clusterId) => {
      identity.clusterId = clusterId;
      await log.meta.write([{ key: CLUSTER_ID_KEY, value: Buffer.from(clusterId, 'latin1') }]);
    });
    // What a follower has was stamped by its leader's clock.
    if (settings['time.source'] === 'auto' && !log.follows) {
      const history = new ClockHistory({
        clock: env.clock,
        machine,
        logger,
        meta: log.meta,
        logs: clockLogs(log),
        trusted: () => time.check(),
        apply: applyTo(corrections),
      });
      await history.start();
      this.#started('the history of the clock', () => history.stop());
    }
    this.#follows = () => log.follows;
    // A follower has the topics of its leader.
    this.#declare = async () => {
      if (!log.follows) await this.#declareTopics(log);
    };
    await this.#declare();

    const parts = { meta: log.meta, log, env, metrics, logger };
    const { follows } = log;
    const groups = new GroupCoordinator({
      ...parts,
      follows,
      mayCommit: () => log.changeRefusal('offset is committed') === null,
      trustedNow,
      writtenAt,
      settings: {
        initialRebalanceDelayMs: settings['group.initial.rebalance.delay.ms'],
        minSessionTimeoutMs: settings['group.min.session.timeout.ms'],
        maxSessionTimeoutMs: settings['group.max.session.timeout.ms'],
        offsetsRetentionMs: settings['offsets.retention.minutes'] * 60_000,
      },
    });
    await groups.start();
    this.#started('groups', () => groups.stop());
    const transactions = new TransactionCoordinator({
      ...parts,
      follows,
      trustedNow,
      writtenAt,
      offsets: groups.offsets,
      settings: {
        maxTimeoutMs: settings['transaction.max.timeout.ms'],
        idExpirationMs: settings['transactional.id.expiration.ms'],
      },
    });
    await transactions.start();
    this.#started('transactions', () => transactions.stop());

    const pairRows = standby === null ? null : new PairRows(log.meta, env.random);
    /** For what the follower of a pair has as well. */
    const sharedMeta = pairRows ?? log.meta;
    const quotas = await Quotas.open(sharedMeta, env.clock);
    if (standby !== null) {
      standby.start(groups);
      this.#started('standby', () => standby.stop());
    }
    const replicas = new StandbyReplicas(settings['replica.lag.time.max.ms']);
    const pair =
      standby === null || pairRows === null
        ? null
        : {
            follows: () => log.follows,
            other: () => standby.other,
            fetched: (partition: Partition, id: number, offset: number) => replicas.fetched(partition, id, offset),
            rows: (request: RowsRequest) => pairRows.page(request),
          };
    const kafkaListeners = (['kafka', 'kafkas'] as const).flatMap((name) => {
      const endpoint = listeners[name];
      if (endpoint === null) return [];
      const secure = name === 'kafkas' && tls !== null ? (socket: Socket) => tls.wrap(socket) : null;
      const sasl = security.hasUsers ? security : null;
      return [{ name, ...endpoint, advertised: advertised[name], secure, sasl }];
    });
    const kafka = new KafkaEdge(
      {
        listeners: kafkaListeners,
        identity,
        settings: {
          autoCreateTopics: settings['auto.create.topics.enable'],
          deleteTopics: settings['delete.topic.enable'],
          brokerSettings: () => describeSettings(this.#config),
          topicDefaults: () => this.#config.topicDefaults,
          logDir: settings['data.dir'],
          logDirSpace: async () => {
            const { bsize, blocks, bavail } = await statfs(settings['data.dir']);
            return { totalBytes: bsize * blocks, usableBytes: bsize * bavail };
          },
        },
        maxConnections: settings['max.connections'],
        maxIdleMs: settings['connections.max.idle.ms'],
      },
      {
        ...parts,
        transactionGate: transactions,
        pair,
        groups,
        transactions,
        access: security,
        users: security,
        quotas,
        overloaded,
      },
    );
    this.#bound(await kafka.start());
    this.#started('kafka', () => kafka.stop());

    const mqttListeners = (['mqtt', 'mqtts', 'ws', 'wss'] as const).flatMap((name) => {
      const endpoint = listeners[name];
      return endpoint === null
        ? []
        : [{ name, ...endpoint, protocol: MQTT_PROTOCOLS[name], ...(tls !== null && { tls: tls.options }) }];
    });
    const mqtt = new MqttEdge(
      {
        listeners: mqttListeners,
        routes: routeRules(this.#config),
        maxPacketBytes: settings['mqtt.max.packet.bytes'],
        maxConnections: settings['mqtt.max.connections'],
        maxInflightBytes: settings['mqtt.max.inflight.bytes'],
        maxKeepAlive: Math.ceil(settings['mqtt.keep.alive.max.ms'] / 1000),
        limits: {
          connectionsPerAddress: settings['mqtt.max.connections.per.address'],
          connectionsPerUser: settings['mqtt.max.connections.per.user'],
          publishBytesPerSecond: settings['mqtt.publish.max.bytes.per.second'],
          publishMessagesPerSecond: settings['mqtt.publish.max.messages.per.second'],
        },
        maxSessionExpiry: Math.floor(settings['mqtt.session.expiry.max.ms'] / 1000),
        version,
      },
      {
        ...parts,
        meta: sharedMeta,
        authenticator: mqttAuthenticator(security),
        ageOf: (timestamp) => time.ageOf(timestamp),
        follows: () => log.follows,
        overloaded,
      },
    );
    if (tls !== null) security.onReload(() => mqtt.setCertificates(tls.options));
    this.#mqtt = mqtt;
    await mqtt.start();
    this.#started('mqtt', () => mqtt.stop());
    this.#bound(
      mqtt.addresses.map(({ address, port }, i) => ({ listener: mqttListeners[i]!.name, host: address, port })),
    );

    // What goes upstream is the leader's: the follower's links begin when it leads.
    const links = new Links(log.follows ? new Map() : this.#config.links, {
      ...parts,
      ledger: log.ledger,
      broker: settings['broker.id'] ?? 'headwater',
      priorityOf: (topic) => this.#config.topics.get(topic)?.priority ?? DEFAULT_PRIORITY,
      replicaMaxLagMs: settings['replica.lag.time.max.ms'],
      freeDiskBytes: () => log.freeDiskBytes,
      routeOf: (topic, link) => mqtt.routeOf(topic, link),
      deliverLive: (topic, payload, link) => mqtt.deliverLive(topic, payload, link),
    });
    this.#links = links;
    await links.start();
    this.#started('links', () => links.stop());

    const sources = new Sources(parts);
    this.#sources = sources;
    this.#started('sources', () => sources.stop());
    // They are read by the broker that leads.
    if (!log.follows) await sources.update(this.#config.sources);

    const httpListeners = (['http', 'https'] as const).flatMap((name) => {
      const endpoint = listeners[name];
      if (endpoint === null) return [];
      return [{ name, ...endpoint, tls: name === 'https' && tls !== null ? () => tls.options : null }];
    });
    const http = new HttpServer({
      env,
      metrics,
      logger,
      providers: brokerProviders({
        config: () => this.#config,
        version,
        identity,
        startedAt,
        addresses: () => this.#addresses,
        env,
        log,
        groups,
        links,
        mqtt,
        timeTrusted: () => time.check(),
        reload: () => this.reload(),
        standby,
      }),
      listeners: httpListeners,
      maxConnections: settings['http.max.connections'],
      overloaded,
      authenticate: httpAuthenticate(security),
      page: new PageFiles(),
    });
    security.onReload(() => http.securityChanged());
    this.#bound(await http.start());
    this.#started('http', () => http.stop());
    memory.add('kafka', kafka);
    memory.add('mqtt', mqtt);
    memory.start();
    this.#started('memory', () => memory.stop());
    logger.info({ ms: Math.round(env.clock.monotonic() - startedAt), addresses: this.#addresses }, 'started');
  }

  /** Stops in reverse order of the start. What was acknowledged is stored already, whatever happens here. */
  stop(): Promise<void> {
    this.#stopping = true;
    this.#turn = this.#turn.catch(() => {}).then(() => this.#stop());
    return this.#turn;
  }

  /** Everything again from what is stored, in another role; a failure is the process's. */
  #restart(): void {
    this.#turn = this.#turn.then(async () => {
      if (this.#stopping) return;
      await this.#stop();
      if (!this.#stopping) await this.#start();
    });
  }

  async #pairOf(log: HeadwaterLog, metrics: Metrics, adopt: (id: string) => Promise<void>): Promise<Standby | null> {
    const { env, logger } = this.#dependencies;
    const { settings, links } = this.#config;
    const [link] = [...links.values()].filter(({ type }) => type === 'standby');
    if (link === undefined) return null;
    const access = await LinkAccess.open(link.name, link, { broker: settings['broker.id'] ?? 'headwater' });
    this.#pairAccess = access;
    const standby = new Standby(
      {
        name: link.name,
        cluster: access.cluster(),
        nodeId: settings['node.id'],
        sync: link.replicas === 'sync',
        initialRole: link['initial.role'],
        selects: topicSelector(link.topics),
        backoffMaxMs: link['retry.backoff.max.ms'],
      },
      // The answer to who asked for it goes out first.
      { env, logger, metrics, log, adopt, changed: () => env.clock.after(ROLE_CHANGE_MS, () => this.#restart()) },
    );
    await standby.decide();
    return standby;
  }

  async #stop(): Promise<void> {
    for (let entry = this.#stops.pop(); entry !== undefined; entry = this.#stops.pop()) {
      try {
        await entry.stop();
      } catch (error) {
        this.#dependencies.logger.error({ err: error, part: entry.part }, 'a part did not stop cleanly');
      }
    }
  }

  /** Reads the configuration again: what can change does, what cannot is named; a mistake changes nothing and rejects. */
  async reload(): Promise<Changes> {
    const { loadConfig, logger } = this.#dependencies;
    const after = await loadConfig();
    // What can fail comes before what changes.
    const useCredentials = await this.#links?.prepare(after.links);
    const [pair] = [...after.links.values()].filter(({ type }) => type === 'standby');
    const usePairCredentials = pair === undefined ? undefined : await this.#pairAccess?.prepare(pair);
    await this.#security?.reload(securitySettings(after));
    const changes = compareConfig(this.#config, after);
    this.#config = effectiveConfig(this.#config, after);
    await this.#declare();
    // After the topics, which may have settings of their own.
    await this.#mqtt?.setRoutes(routeRules(this.#config));
    useCredentials?.();
    usePairCredentials?.();
    await this.#links?.update(this.#config.links);
    if (!this.#follows()) await this.#sources?.update(this.#config.sources);
    for (const change of changes.restart) logger.warn(change, 'this setting changes only with a restart');
    logger.info({ changed: changes.changed.map((change) => change.path) }, 'configuration read again');
    return changes;
  }

  #started(part: string, stop: Stop): void {
    this.#stops.push({ part, stop });
  }

  #bound(listeners: readonly { listener: string; host: string; port: number }[]): void {
    for (const { listener, host, port } of listeners) this.#addresses[listener as ListenerName] = { host, port };
  }

  /** The topics of the configuration: created when missing; what exists takes over the settings declared here. */
  async #declareTopics(log: HeadwaterLog): Promise<void> {
    for (const { name, partitions, config } of this.#config.topics.values()) {
      const topic = log.topic(name);
      if (topic === undefined) {
        await log.createTopic({ name, partitions, config }, { configured: true });
        continue;
      }
      if (partitions > topic.partitions.length) await log.createPartitions(name, partitions, { configured: true });
      const changes = [...config].filter(([setting, value]) => topic.overrides.get(setting) !== value);
      if (changes.length > 0) await log.alterTopic(name, new Map(changes));
    }
  }

  /** Made once for a data directory. As in Kafka: 16 random bytes as base64url. */
  async #clusterId(log: HeadwaterLog): Promise<string> {
    const key = CLUSTER_ID_KEY;
    const stored = await log.meta.get(key);
    if (stored !== undefined) return Buffer.from(stored).toString('latin1');
    const id = Buffer.from(this.#dependencies.env.random.bytes(16)).toString('base64url');
    await log.meta.write([{ key, value: Buffer.from(id, 'latin1') }]);
    return id;
  }
}
