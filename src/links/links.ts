/** All links of a broker: made from the configuration, with their policy, status and metrics. */
import type { Env, Timer } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import type { Ledger } from '../log/ledger.ts';
import type { Log } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { MetaStore } from '../store/meta.ts';
import { loadCodec } from '../wire/batch/compression.ts';
import { LinkAccess } from './access.ts';
import { CursorStore } from './cursor.ts';
import { FillRate } from './fill-rate.ts';
import { KafkaLink, type KafkaLinkDependencies, type KafkaLinkOptions } from './kafka-link.ts';
import { linkMetrics } from './link-metrics.ts';
import type { MqttLink, MqttLinkDependencies, PulledRouteOf } from './mqtt-link.ts';
import { isOpen, LinkBudget, type WindowMatcher, windowMatcher } from './policy.ts';
import type { Pull } from './pull.ts';
import { selectionOf } from './selection.ts';
import type { LinkSettings, LinkStatus } from './settings.ts';
import type { TransactionalLink } from './transactional-link.ts';

const POLICY_INTERVAL_MS = 1_000;
/** Sync links show as brokers with these ids in Metadata. */
const REPLICA_ID_BASE = 1_000;

export interface LinksDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly meta: MetaStore;
  readonly ledger: Pick<Ledger, 'record'>;
  /** `broker.id`. */
  readonly broker: string;
  /** 0 to 9. */
  priorityOf(topic: string): number;
  /** Where a message goes that an MQTT link pulls down; without it: the topic `mqtt`. */
  readonly routeOf?: PulledRouteOf;
  /** Takes what is pulled down and stored nowhere. */
  readonly deliverLive?: (mqttTopic: string, payload: Uint8Array, link: string) => void;
  readonly readFile?: (path: string) => Promise<Buffer>;
  readonly replicaMaxLagMs?: number;
  /** Of the disk that the log is on; null: not watched. */
  readonly freeDiskBytes?: () => number | null;
}

interface Running {
  readonly access: LinkAccess;
  readonly link: KafkaLink | TransactionalLink | MqttLink;
  settings: LinkSettings;
  window: WindowMatcher;
  readonly budget: LinkBudget;
  /** Topics that a Kafka link takes down. */
  readonly pull: Pull | null;
  paused: boolean;
  open: boolean;
}

/** Patterns of topics that do not go up because they come down. */
function notPulled(pull: readonly string[]): string[] {
  return pull.filter((pattern) => !pattern.startsWith('!')).map((pattern) => `!${pattern}`);
}

export class Links {
  readonly #dependencies: LinksDependencies;
  readonly #sections: ReadonlyMap<string, LinkSettings>;
  readonly #running = new Map<string, Running>();
  readonly #fill = new FillRate();
  #timer: Timer | null = null;

  constructor(sections: ReadonlyMap<string, LinkSettings>, dependencies: LinksDependencies) {
    this.#sections = sections;
    this.#dependencies = dependencies;
  }

  /** Rejects for a configuration that cannot work (a file that is not there), not for an upstream that is not. */
  async start(): Promise<void> {
    const { env, metrics } = this.#dependencies;
    const countersOf = linkMetrics(metrics, () => this.status());
    let index = 0;
    for (const [name, settings] of this.#sections) {
      index++;
      // It has a follower instead (src/standby).
      if (settings.type === 'standby') continue;
      const access = await LinkAccess.open(name, settings, this.#dependencies);
      const budget = new LinkBudget(this.#dependencies.meta, name, env.clock);
      await budget.load();
      const dependencies = {
        ...this.#dependencies,
        counters: countersOf(name),
        spent: (bytes: number) => budget.spend(bytes),
      };
      const link =
        settings.type === 'kafka'
          ? await this.#kafkaLink(
              settings,
              await this.#optionsOf(name, settings, access, REPLICA_ID_BASE + index),
              dependencies,
            )
          : await this.#mqttLink(name, settings, access, dependencies);
      const running: Running = {
        access,
        link,
        settings,
        window: await windowMatcher(settings.windows),
        budget,
        pull: await this.#pullOf(name, settings, access, () => running.open),
        paused: settings.paused,
        open: true,
      };
      this.#running.set(name, running);
      this.#applyPolicy(running);
      await link.start();
      running.pull?.start();
    }
    this.#timer = env.clock.every(POLICY_INTERVAL_MS, () => {
      for (const running of this.#running.values()) this.#applyPolicy(running);
      const free = this.#dependencies.freeDiskBytes?.() ?? null;
      if (free !== null) this.#fill.add(env.clock.monotonic(), free);
    });
  }

  #applyPolicy(running: Running): void {
    const { link, settings, window, budget, paused } = running;
    const now = this.#dependencies.env.clock.now();
    running.open =
      !paused && isOpen(window, now) && budget.allows(settings['budget.day.bytes'], settings['budget.month.bytes']);
    link.applyPolicy({
      bytesPerSecond: settings['max.bytes.per.second'],
      liveShare: settings['live.share.percent'] / 100,
      open: running.open,
    });
  }

  async #kafkaLink(
    settings: LinkSettings,
    options: KafkaLinkOptions,
    dependencies: KafkaLinkDependencies,
  ): Promise<KafkaLink | TransactionalLink> {
    if (!settings.transactional) return new KafkaLink(options, dependencies);
    const { TransactionalLink } = await import('./transactional-link.ts');
    return new TransactionalLink(options, dependencies);
  }

  async #pullOf(
    name: string,
    settings: LinkSettings,
    access: LinkAccess,
    maySend: () => boolean,
  ): Promise<Pull | null> {
    if (settings.type !== 'kafka' || settings.pull.length === 0) return null;
    const { Pull } = await import('./pull.ts');
    const { env, logger, log, meta, broker } = this.#dependencies;
    return new Pull(
      {
        link: name,
        broker,
        cluster: access.cluster(),
        topics: settings.pull,
        backoffBaseMs: settings['retry.backoff.ms'],
        backoffMaxMs: settings['retry.backoff.max.ms'],
      },
      { env, logger, log, cursors: new CursorStore(meta, `${name}/pull`), maySend },
    );
  }

  async #optionsOf(
    name: string,
    settings: LinkSettings,
    access: LinkAccess,
    replicaId: number,
  ): Promise<KafkaLinkOptions> {
    const { broker } = this.#dependencies;
    const compression = settings['compression.type'];
    return {
      name,
      broker,
      cluster: access.cluster(),
      // What comes down does not go up again through the same link; one that only pulls sends nothing.
      topics: [...(settings.topics.length === 0 ? ['!*'] : settings.topics), ...notPulled(settings.pull)],
      rename: settings.rename,
      acks: settings.acks === '1' ? 1 : -1,
      partitioner: settings.partitioner,
      partitions: settings['num.partitions'],
      replicationFactor: settings['replication.factor'],
      replicaId: settings.replicas === 'sync' ? replicaId : null,
      replicaMaxLagMs: this.#dependencies.replicaMaxLagMs ?? 30_000,
      selection: await selectionOf(settings),
      codec: compression === 'stored' ? null : await loadCodec(compression, { compress: true }),
      skipsOversize: settings.oversize === 'skip',
      maxRequestBytes: settings['max.request.size'],
      maxRequests: settings['max.in.flight.requests.per.connection'],
      requestTimeoutMs: settings['request.timeout.ms'],
      backoffBaseMs: settings['retry.backoff.ms'],
      backoffMaxMs: settings['retry.backoff.max.ms'],
    };
  }

  /** The package `mqtt` and all that belongs to it is loaded only for a broker that has such a link. */
  async #mqttLink(
    name: string,
    settings: LinkSettings,
    access: LinkAccess,
    dependencies: MqttLinkDependencies,
  ): Promise<MqttLink> {
    const { url } = settings;
    if (url === null) throw new HeadwaterError('INVALID_CONFIG', `links.${name}.url: is needed for type mqtt`);
    const { MqttLink } = await import('./mqtt-link.ts');
    return new MqttLink(
      {
        name,
        broker: this.#dependencies.broker,
        target: () => ({
          url,
          clientId: access.clientId,
          ...access.mqtt(),
          connectTimeoutMs: Math.min(settings['request.timeout.ms'], 10_000),
          version: 5,
        }),
        topics: settings.topics,
        // The default of Kafka links names topics; devices' messages keep the MQTT topic they came with.
        rename: settings.rename === '{broker}.{topic}' ? '{key}' : settings.rename,
        pull: settings.pull,
        maxInFlight: 10 * settings['max.in.flight.requests.per.connection'],
        backoffBaseMs: settings['retry.backoff.ms'],
        backoffMaxMs: settings['retry.backoff.max.ms'],
      },
      dependencies,
    );
  }

  #find(name: string): Running {
    const running = this.#running.get(name);
    if (running !== undefined) return running;
    const known = [...this.#running.keys()].join(', ') || 'none';
    throw new HeadwaterError('INVALID_CONFIG', `there is no link "${name}"; configured: ${known}`);
  }

  pause(name: string, paused: boolean): LinkStatus {
    const running = this.#find(name);
    running.paused = paused;
    this.#applyPolicy(running);
    return this.#statusOf(running);
  }

  /** Reads the credentials' files again; they count when what it resolves with is called. INVALID_CONFIG when one cannot be read. */
  async prepare(sections: ReadonlyMap<string, LinkSettings>): Promise<() => void> {
    const ready: (() => void)[] = [];
    for (const [name, { access }] of this.#running) {
      const settings = sections.get(name);
      if (settings !== undefined) ready.push(await access.prepare(settings));
    }
    return () => {
      for (const use of ready) use();
    };
  }

  /** Takes what may change at run time from a reloaded configuration. */
  async update(sections: ReadonlyMap<string, LinkSettings>): Promise<void> {
    for (const [name, settings] of sections) {
      const running = this.#running.get(name);
      if (running === undefined) continue;
      if (running.settings.paused !== settings.paused) running.paused = settings.paused;
      running.settings = settings;
      running.window = await windowMatcher(settings.windows);
      this.#applyPolicy(running);
    }
  }

  status(): LinkStatus[] {
    return [...this.#running.values()].map((running) => this.#statusOf(running));
  }

  #statusOf({ link, settings, paused, window, budget, pull }: Running): LinkStatus {
    const now = this.#dependencies.env.clock.now();
    let backlogRecords = 0;
    let backlogBytes = 0;
    let oldest = Number.POSITIVE_INFINITY;
    const partitions: LinkStatus['partitions'][number][] = [];
    for (const partition of link.partitions.values()) {
      backlogRecords += partition.backlogRecords;
      backlogBytes += partition.backlogBytes;
      oldest = Math.min(oldest, partition.oldestTimestamp() ?? Number.POSITIVE_INFINITY);
      partitions.push({
        topic: partition.partition.topic.name,
        partition: partition.partition.index,
        nextOffset: partition.nextOffset,
        logEndOffset: partition.partition.logEndOffset,
        state: partition.state,
        upstreamTopic: partition.upstreamTopic,
        upstreamPartition: partition.upstreamPartition,
        error: partition.lastError,
      });
    }
    const { recordsPerSecond, bytesPerSecond } = link.rates();
    const closed = !paused && link.state === 'paused';
    const why = isOpen(window, now) ? (budget.spentUp ? 'the byte budget is used up' : null) : 'outside its windows';
    return {
      name: link.name,
      type: settings.type,
      state: closed ? 'waiting' : link.state,
      target: settings.url ?? settings['bootstrap.servers'].join(','),
      backlogRecords,
      backlogBytes,
      oldestUnsentAgeMs: Number.isFinite(oldest) ? Math.max(0, now - oldest) : null,
      recordsPerSecond,
      bytesPerSecond,
      etaMs: backlogBytes === 0 ? 0 : bytesPerSecond > 1 ? Math.round((backlogBytes / bytesPerSecond) * 1000) : null,
      fullMs: this.#fill.etaMs,
      resends: link.counters.resends.value,
      duplicatesAvoided: link.counters.avoided.value,
      lostRecords: link.counters.lost.value,
      pullFailing: pull?.failing ?? 0,
      lastError: closed ? why : (link.lastError ?? pull?.lastError ?? null),
      partitions,
    };
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    for (const { link, budget, pull } of this.#running.values()) {
      await pull?.stop();
      await link.stop();
      await budget.flush();
    }
  }
}
