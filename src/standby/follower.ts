/**
 * Follows another Headwater: fetches its batches as a Kafka follower does and stores them under the same offsets. Where the
 * two logs went different ways (this one led before), the leader says so by epochs (KIP-101, KIP-595) and the end here is cut.
 */
import { Admin } from '../client/admin.ts';
import { Cluster, type ClusterMetadata, type ClusterOptions, type TopicMetadata } from '../client/cluster.ts';
import type { Connection } from '../client/connection.ts';
import { checkCode, UpstreamError } from '../client/error.ts';
import { delay, type Env } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import type { GroupCoordinator } from '../groups/coordinator.ts';
import type { HeadwaterLog } from '../log/headwater-log.ts';
import type { LogPartition } from '../log/partition.ts';
import type { Logger } from '../logger.ts';
import { nextOffsetOf, splitBatches } from '../wire/batch/record-batch.ts';
import { fetch } from '../wire/kafka/api/01-fetch.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import type { ResponseOf } from '../wire/kafka/schema.ts';
import { CopyGroups } from './copy-groups.ts';
import { CopyRows } from './copy-rows.ts';
import { copyTopics } from './copy-topics.ts';

type PartitionAnswer = ResponseOf<typeof fetch>['responses'][number]['partitions'][number];

const FETCH_MAX_BYTES = 4 * 1024 * 1024;
const PARTITION_MAX_BYTES = 512 * 1024;
const FETCH_WAIT_MS = 500;
const TOPICS_EVERY_MS = 1_000;
const CONFIGS_EVERY_MS = 10_000;
const GROUPS_EVERY_MS = 500;
const ROWS_EVERY_MS = 500;
const BACKOFF_MIN_MS = 100;

export interface FollowerOptions {
  /** The link's. */
  readonly name: string;
  readonly cluster: ClusterOptions;
  /** This broker's `node.id`. */
  readonly nodeId: number;
  /** The leader's acks=all waits for this replica. */
  readonly sync: boolean;
  readonly selects: (topic: string) => boolean;
  readonly fenced: boolean;
  readonly backoffMaxMs: number;
}

export interface FollowerDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly log: HeadwaterLog;
  readonly groups: Pick<GroupCoordinator, 'offsets' | 'list' | 'deleteGroup'>;
  /** All that a fenced leader had alone is given up. */
  settled(): Promise<void>;
  /** The leader's cluster id: a pair is one cluster. */
  adopt(clusterId: string): Promise<void>;
}

export interface LeaderAddress {
  readonly nodeId: number;
  readonly host: string;
  readonly port: number;
}

export class Follower {
  readonly #options: FollowerOptions;
  readonly #dependencies: FollowerDependencies;
  readonly #cluster: Cluster;
  readonly #admin: Admin;
  readonly #groups: CopyGroups;
  readonly #rows: CopyRows;
  #saidOlder = false;
  #fenced: boolean;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();
  #topics: readonly TopicMetadata[] = [];
  #topicsAt = Number.NEGATIVE_INFINITY;
  #configsAt = Number.NEGATIVE_INFINITY;
  #groupsAt = Number.NEGATIVE_INFINITY;
  #rowsAt = Number.NEGATIVE_INFINITY;
  #wakeUp: (() => void) | null = null;
  leader: LeaderAddress | null = null;
  clusterId: string | null = null;
  state: 'connecting' | 'following' | 'backing-off' | 'stopped' = 'connecting';
  lastError: string | null = null;
  /** Records that the leader had and this broker had not, at the last answer of each partition. */
  readonly #lag = new Map<LogPartition, number>();
  bytes = 0;

  constructor(options: FollowerOptions, dependencies: FollowerDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
    // Its own answers are copies: while the leader is away, they would be taken for the leader's.
    this.#cluster = new Cluster(dependencies.env, { ...options.cluster, ownId: options.nodeId });
    this.#admin = new Admin(this.#cluster);
    this.#groups = new CopyGroups(dependencies.groups, options.selects);
    this.#rows = new CopyRows(dependencies.log.meta);
    this.#fenced = options.fenced;
  }

  get #hasRows(): boolean {
    return this.#rows.complete || this.#saidOlder;
  }

  get lagRecords(): number {
    let lag = 0;
    for (const one of this.#lag.values()) lag += one;
    return lag;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Nothing is appended any more when it resolves. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.state = 'stopped';
    this.#cluster.close();
    this.#wakeUp?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { env, logger } = this.#dependencies;
    let failures = 0;
    while (!this.#stopped) {
      try {
        await this.#round();
        failures = 0;
        this.lastError = null;
      } catch (error) {
        if (this.#stopped) return;
        const { message } = asHeadwaterError(error);
        if (message !== this.lastError) logger.warn({ err: error, link: this.#options.name }, 'following has to wait');
        this.lastError = message;
        this.state = 'backing-off';
        this.#topicsAt = Number.NEGATIVE_INFINITY;
        const ms = Math.min(this.#options.backoffMaxMs, BACKOFF_MIN_MS * 2 ** Math.min(failures++, 10));
        await Promise.race([
          delay(env.clock, ms),
          new Promise<void>((resolve) => {
            this.#wakeUp = resolve;
          }),
        ]);
      }
    }
  }

  async #round(): Promise<void> {
    const { clock } = this.#dependencies.env;
    if (clock.monotonic() - this.#topicsAt >= TOPICS_EVERY_MS) await this.#refresh();
    if (this.#stopped || this.leader === null) return;
    if (clock.monotonic() - this.#groupsAt >= GROUPS_EVERY_MS) {
      this.#groupsAt = clock.monotonic();
      await this.#groups.run(this.#admin, this.leader.nodeId, async () => {
        this.#takeLeader(await this.#cluster.metadata([]));
      });
    }
    if (this.#stopped) return;
    const connection = await this.#cluster.broker(this.leader.nodeId);
    if (clock.monotonic() - this.#rowsAt >= ROWS_EVERY_MS) {
      this.#rowsAt = clock.monotonic();
      await this.#copyRows(connection);
    }
    if (this.#stopped) return;
    await this.#fetch(connection);
  }

  async #copyRows(connection: Connection): Promise<void> {
    if ((await this.#rows.run(connection)) || this.#saidOlder) return;
    this.#saidOlder = true;
    this.#dependencies.logger.warn(
      { link: this.#options.name },
      'the leader is of a version that does not give MQTT sessions, retained messages and quotas: they are not copied',
    );
  }

  async #refresh(): Promise<void> {
    const { clock } = this.#dependencies.env;
    const { log } = this.#dependencies;
    const metadata = await this.#cluster.metadata(null);
    this.#takeLeader(metadata);
    if (metadata.clusterId !== null && metadata.clusterId !== this.clusterId) {
      await this.#dependencies.adopt(metadata.clusterId);
      this.clusterId = metadata.clusterId;
    }
    const now = clock.monotonic();
    const withConfigs = now - this.#configsAt >= CONFIGS_EVERY_MS;
    const { selects, name } = this.#options;
    const options = { log, admin: this.#admin, selects, fenced: this.#fenced, withConfigs, by: name };
    this.#topics = await copyTopics(metadata, options);
    for (const partition of this.#lag.keys())
      if (log.topic(partition.topic.name) === undefined) this.#lag.delete(partition);
    this.#topicsAt = now;
    if (withConfigs) this.#configsAt = now;
  }

  /** The other broker must lead, not follow us, and be another one. */
  #takeLeader({ brokers, controllerId }: ClusterMetadata): void {
    const { nodeId } = this.#options;
    const leader = brokers.find(({ id }) => id === controllerId);
    if (controllerId === nodeId) {
      throw new HeadwaterError(
        'NOT_LEADER',
        `the other broker takes this one (node.id ${nodeId}) for the leader: both follow, or both have this node.id; promote one`,
      );
    }
    if (leader === undefined) throw new HeadwaterError('NOT_LEADER', 'the other broker knows of no leader');
    this.leader = { nodeId: leader.id, host: leader.host, port: leader.port };
  }

  async #fetch(connection: Connection): Promise<void> {
    const { log, env } = this.#dependencies;
    const asked = new Map<string, LogPartition>();
    const topics = this.#topics.map(({ name, partitions }) => ({
      topic: name,
      partitions: partitions.flatMap(({ index }) => {
        const partition = log.topic(name)?.partitions[index];
        if (partition === undefined) return [];
        asked.set(`${name}/${index}`, partition);
        return [
          {
            partition: index,
            fetchOffset: partition.logEndOffset,
            lastFetchedEpoch: partition.lastRecordEpoch,
            logStartOffset: partition.logStartOffset,
            partitionMaxBytes: PARTITION_MAX_BYTES,
          },
        ];
      }),
    }));
    if (asked.size === 0) {
      this.state = this.#hasRows ? 'following' : 'connecting';
      await delay(env.clock, FETCH_WAIT_MS);
      return;
    }
    const body = {
      replicaId: this.#options.sync ? this.#options.nodeId : -1,
      maxWaitMs: FETCH_WAIT_MS,
      minBytes: 1,
      maxBytes: FETCH_MAX_BYTES,
      topics,
    };
    const answer = await connection.send(fetch, body, { maxVersion: 12, timeoutMs: FETCH_WAIT_MS + 10_000 });
    checkCode(answer.errorCode, 'fetch');
    if (this.#stopped) return;
    // Appended together: one synced write for all of them.
    const results = await Promise.allSettled(
      answer.responses.flatMap(({ topic, partitions }) =>
        partitions.map((one) => this.#take(asked.get(`${topic}/${one.partitionIndex}`)!, one)),
      ),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    // Every partition has been compared with the leader's, and every row.
    this.state = this.#lag.size >= asked.size && this.#hasRows ? 'following' : 'connecting';
    if (this.#fenced && this.lagRecords === 0 && this.#lag.size === asked.size) {
      this.#fenced = false;
      await this.#dependencies.settled();
    }
  }

  async #take(partition: LogPartition, answer: PartitionAnswer): Promise<void> {
    if (answer.errorCode === KAFKA_ERROR.OFFSET_OUT_OF_RANGE) return this.#outOfRange(partition);
    if (answer.errorCode !== 0) {
      this.#topicsAt = Number.NEGATIVE_INFINITY;
      throw new UpstreamError(answer.errorCode, `fetch of ${partition.name}`);
    }
    const { epoch, endOffset } = answer.divergingEpoch;
    if (epoch >= 0 || endOffset >= 0) {
      const ours = partition.endOffsetForEpoch(epoch)?.endOffset ?? partition.logEndOffset;
      await this.#cut(partition, Math.min(ours, endOffset));
      return;
    }
    const waiting: Promise<void>[] = [];
    for (const batch of splitBatches(answer.records ?? new Uint8Array(0))) {
      if (nextOffsetOf(batch) <= partition.logEndOffset) continue;
      // A copy: the answer's buffer goes, and the log keeps what it is given.
      waiting.push(append(partition, Buffer.from(batch)));
      this.bytes += batch.length;
    }
    await Promise.all(waiting);
    if (answer.logStartOffset > partition.logStartOffset && answer.logStartOffset <= partition.highWatermark) {
      await partition.deleteRecordsBefore(answer.logStartOffset);
    }
    this.#lag.set(partition, Math.max(0, answer.highWatermark - partition.logEndOffset));
  }

  async #cut(partition: LogPartition, offset: number): Promise<void> {
    const { log, logger } = this.#dependencies;
    const to = Math.max(offset, partition.logStartOffset);
    this.#lag.delete(partition);
    logger.warn(
      { partition: partition.name, from: to, to: partition.logEndOffset - 1 },
      'the broker that leads has other records here: ours are given up (loss ledger)',
    );
    await log.truncate(
      partition,
      to,
      'truncated: the broker that leads now has other records here',
      this.#options.name,
    );
  }

  /** The leader has nothing at our end: we are before its log start, or behind its end. */
  async #outOfRange(partition: LogPartition): Promise<void> {
    const { log, logger } = this.#dependencies;
    const at = { topic: partition.topic.name, partition: partition.index };
    const [start] = await this.#admin.offsets([{ ...at, timestamp: -2 }]);
    const [end] = await this.#admin.offsets([{ ...at, timestamp: -1 }]);
    if (start === undefined || end === undefined || start.offset < 0 || end.offset < 0) return;
    if (partition.logEndOffset > end.offset && end.offset > partition.logStartOffset) {
      await this.#cut(partition, end.offset);
    } else if (partition.logEndOffset < start.offset || partition.logStartOffset > end.offset) {
      logger.warn(
        { partition: partition.name, at: start.offset },
        'the leader begins behind our end: the log begins there',
      );
      const reason = 'truncated: the broker that leads now has nothing that follows it';
      await log.truncate(partition, start.offset, reason, this.#options.name, true);
    }
  }
}

function append(partition: LogPartition, batch: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    partition.appendBatch(batch, { acks: 1, origin: 'replication' }, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}
