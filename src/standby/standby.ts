/** One of a pair: leads or follows, is promoted by command, and is fenced by the leader epoch of the other. */
import { Cluster, type ClusterOptions } from '../client/cluster.ts';
import type { Env, Timer } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import type { GroupCoordinator } from '../groups/coordinator.ts';
import type { HeadwaterLog } from '../log/headwater-log.ts';
import type { LogPartition } from '../log/partition.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import { encodeMarker } from '../wire/batch/control-batch.ts';
import { Follower, type LeaderAddress } from './follower.ts';
import { loadRole, type Role, saveRole } from './role.ts';

const WATCH_EVERY_MS = 1_000;
/** At a start the other broker is asked before anybody may write; one that does not answer is taken for dead. */
const ASK_AT_START_MS = 2_000;

export interface StandbyOptions {
  readonly name: string;
  readonly cluster: ClusterOptions;
  readonly nodeId: number;
  readonly sync: boolean;
  readonly initialRole: Role;
  readonly selects: (topic: string) => boolean;
  readonly backoffMaxMs: number;
}

export interface StandbyDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly log: HeadwaterLog;
  /** The leader's cluster id: a pair is one cluster. */
  adopt(clusterId: string): Promise<void>;
  /** The role changed and is stored: everything begins again in the new one. */
  changed(role: Role): void;
}

export interface StandbyStatus {
  readonly role: Role;
  readonly link: string;
  readonly state: string;
  /** The other broker. */
  readonly peer: string;
  readonly sync: boolean;
  readonly lagRecords: number;
  /** The highest of all partitions. */
  readonly leaderEpoch: number;
  readonly lastError: string | null;
}

export class Standby {
  readonly #options: StandbyOptions;
  readonly #dependencies: StandbyDependencies;
  #role: Role = 'leader';
  #fenced = false;
  #follower: Follower | null = null;
  #peer: Cluster | null = null;
  #timer: Timer | null = null;
  #other: LeaderAddress | null = null;
  #asking = false;
  #changing = false;
  #lastError: string | null = null;

  constructor(options: StandbyOptions, dependencies: StandbyDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
    const { metrics } = dependencies;
    metrics.gauge('headwater_standby_leads', '1: this broker of a pair leads; 0: it follows', () =>
      this.#role === 'leader' ? 1 : 0,
    );
    metrics.gauge(
      'headwater_standby_lag_records',
      'Records that the leader has and this follower has not',
      () => this.#follower?.lagRecords ?? 0,
    );
  }

  get role(): Role {
    return this.#role;
  }

  /** The other broker of the pair, as it says it can be reached; null: it has not answered yet. */
  get other(): LeaderAddress | null {
    return this.#follower?.leader ?? this.#other;
  }

  /** Decides the role before anything is served. */
  async decide(): Promise<Role> {
    const { log, env } = this.#dependencies;
    const stored = await loadRole(log.meta);
    this.#role = stored?.role ?? this.#options.initialRole;
    this.#fenced = stored?.fenced ?? false;
    if (this.#role === 'leader') {
      this.#peer = new Cluster(env, {
        ...this.#options.cluster,
        ownId: this.#options.nodeId,
        connectTimeoutMs: ASK_AT_START_MS,
        requestTimeoutMs: ASK_AT_START_MS,
      });
      if (await this.#isFenced()) {
        this.#role = 'follower';
        this.#fenced = true;
        await saveRole(log.meta, { role: 'follower', fenced: true });
      }
    }
    log.follows = this.#role === 'follower';
    return this.#role;
  }

  start(groups: GroupCoordinator): void {
    const { env, logger, log } = this.#dependencies;
    logger.info({ role: this.#role, link: this.#options.name }, 'standby');
    if (this.#role === 'leader') {
      this.#timer = env.clock.every(WATCH_EVERY_MS, () => void this.#watch());
      return;
    }
    const settled = async () => {
      this.#fenced = false;
      await saveRole(log.meta, { role: 'follower', fenced: false });
    };
    this.#follower = new Follower(
      { ...this.#options, fenced: this.#fenced },
      { ...this.#dependencies, groups, settled },
    );
    this.#follower.start();
  }

  /** Whether the other broker leads some partition under a higher epoch than ours. */
  async #isFenced(): Promise<boolean> {
    const { log, logger } = this.#dependencies;
    const { nodeId, name } = this.#options;
    try {
      const { topics, brokers } = await this.#peer!.metadata(null);
      const other = brokers.find(({ id }) => id !== nodeId);
      if (other !== undefined) this.#other = { nodeId: other.id, host: other.host, port: other.port };
      this.#lastError = null;
      for (const topic of topics) {
        for (const { index, leader, leaderEpoch } of topic.partitions) {
          const ours = log.topic(topic.name)?.partitions[index];
          if (ours === undefined || leader < 0 || leader === nodeId || leaderEpoch <= ours.leaderEpoch) continue;
          logger.warn(
            { link: name, partition: ours.name, leader, leaderEpoch, ours: ours.leaderEpoch },
            'fenced: another broker leads under a higher epoch; this one follows from now on',
          );
          return true;
        }
      }
    } catch (error) {
      this.#lastError = asHeadwaterError(error).message;
    }
    return false;
  }

  async #watch(): Promise<void> {
    if (this.#asking || this.#changing) return;
    this.#asking = true;
    const fenced = await this.#isFenced();
    this.#asking = false;
    if (!fenced || this.#changing || this.#timer === null) return;
    this.#changing = true;
    const { log } = this.#dependencies;
    // At once: what would be accepted from now on would be given up.
    log.follows = true;
    await saveRole(log.meta, { role: 'follower', fenced: true });
    this.#dependencies.changed('follower');
  }

  /**
   * Leads from now on, under a leader epoch above all that were; open transactions of the old leader's coordinator are aborted.
   * Durable when it resolves. Rejects when this broker leads already.
   */
  async promote(): Promise<{ readonly leaderEpoch: number }> {
    const { log, logger } = this.#dependencies;
    if (this.#role === 'leader') throw new HeadwaterError('INVALID_REQUEST', 'this broker leads already');
    if (this.#changing) throw new HeadwaterError('INVALID_REQUEST', 'a change of roles is under way');
    this.#changing = true;
    try {
      await this.#follower?.stop();
      const leaderEpoch = await log.takeLead();
      log.follows = false;
      for (const partition of log.partitions()) await abortOpen(partition, this.#dependencies.env.clock.now());
      await saveRole(log.meta, { role: 'leader', fenced: false });
      this.#role = 'leader';
      logger.warn({ leaderEpoch }, 'promoted: this broker leads');
      this.#dependencies.changed('leader');
      return { leaderEpoch };
    } finally {
      this.#changing = false;
    }
  }

  status(): StandbyStatus {
    let leaderEpoch = 0;
    for (const partition of this.#dependencies.log.partitions())
      leaderEpoch = Math.max(leaderEpoch, partition.leaderEpoch);
    return {
      role: this.#role,
      link: this.#options.name,
      state: this.#follower?.state ?? (this.#lastError === null ? 'leading' : 'leading, the other does not answer'),
      peer: this.#options.cluster.bootstrap,
      sync: this.#options.sync,
      lagRecords: this.#follower?.lagRecords ?? 0,
      leaderEpoch,
      lastError: this.#follower?.lastError ?? this.#lastError,
    };
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    this.#peer?.close();
    await this.#follower?.stop();
  }
}

async function abortOpen(partition: LogPartition, timestamp: number): Promise<void> {
  for (const { producerId, producerEpoch, transactionStartOffset } of partition.activeProducers()) {
    if (transactionStartOffset < 0) continue;
    const marker = encodeMarker({ type: 'abort', coordinatorEpoch: 0, producerId, producerEpoch, timestamp });
    await new Promise<void>((resolve, reject) => {
      partition.appendBatch(marker, { acks: 1, origin: 'coordinator' }, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  }
}
