/** The brokers of a Kafka cluster: bootstrap, metadata, one connection a broker, coordinators. */
import type { Env } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { metadata as metadataApi } from '../wire/kafka/api/03-metadata.ts';
import { findCoordinator } from '../wire/kafka/api/10-find-coordinator.ts';
import { Connection } from './connection.ts';
import { checkCode, checkTopicCode, UpstreamError } from './error.ts';
import { type Address, parseAddresses } from './host.ts';
import type { SaslOptions } from './sasl.ts';
import type { TlsOptions } from './tls.ts';

const MiB = 1024 * 1024;
const LEADER_NOT_AVAILABLE = 5;

export interface ClusterOptions {
  /** `host:port,host:port`. */
  readonly bootstrap: string;
  readonly clientId?: string;
  readonly tls?: TlsOptions | undefined;
  readonly sasl?: SaslOptions | undefined;
  /** In place of `tls` and `sasl`: asked before each connection, for credentials that change meanwhile. */
  readonly credentials?: () => Pick<ClusterOptions, 'tls' | 'sasl'>;
  readonly requestTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
  /** Per connection: requests beyond it wait. */
  readonly maxInFlightBytes?: number;
  readonly maxResponseBytes?: number;
  /** Of a broker that asks about another of its cluster: it is never asked itself, whoever names it. */
  readonly ownId?: number;
}

export interface PartitionMetadata {
  readonly index: number;
  /** Broker id; -1: none at the moment. */
  readonly leader: number;
  readonly leaderEpoch: number;
  readonly replicas: readonly number[];
  readonly isr: readonly number[];
  readonly errorCode: number;
}

export interface TopicMetadata {
  readonly name: string;
  /** 32 hex digits; zeros from servers before KIP-516. */
  readonly id: string;
  readonly internal: boolean;
  readonly errorCode: number;
  /** By index. */
  readonly partitions: readonly PartitionMetadata[];
}

export interface BrokerAddress extends Address {
  readonly id: number;
  readonly rack: string | null;
}

export interface ClusterMetadata {
  readonly clusterId: string | null;
  readonly controllerId: number;
  readonly brokers: readonly BrokerAddress[];
  readonly topics: readonly TopicMetadata[];
}

export class Cluster {
  readonly env: Env;
  readonly options: ClusterOptions;
  readonly #bootstrap: readonly Address[];
  readonly #connections = new Map<string, Promise<Connection>>();
  #brokers = new Map<number, Address>();
  #controllerId = -1;
  #nextBootstrap = 0;
  #closed = false;

  /** Throws INVALID_CONFIG when `bootstrap` cannot be parsed. */
  constructor(env: Env, options: ClusterOptions) {
    this.env = env;
    this.options = options;
    this.#bootstrap = parseAddresses(options.bootstrap);
  }

  #connect(address: Address): Promise<Connection> {
    if (this.#closed) return Promise.reject(new HeadwaterError('CONNECTION_LOST', 'the client is closed'));
    const key = `${address.host}:${address.port}`;
    const known = this.#connections.get(key);
    if (known !== undefined) return known;
    const { clientId, requestTimeoutMs, connectTimeoutMs, maxInFlightBytes, maxResponseBytes } = this.options;
    const { tls, sasl } = this.options.credentials?.() ?? this.options;
    const opening = Connection.open(this.env, {
      host: address.host,
      port: address.port,
      clientId: clientId ?? 'headwater',
      tls,
      sasl,
      requestTimeoutMs: requestTimeoutMs ?? 30_000,
      connectTimeoutMs: connectTimeoutMs ?? 10_000,
      maxInFlightBytes: maxInFlightBytes ?? 8 * MiB,
      maxResponseBytes: maxResponseBytes ?? 32 * MiB,
    });
    this.#connections.set(key, opening);
    const forget = (): void => {
      if (this.#connections.get(key) === opening) this.#connections.delete(key);
    };
    opening.then((connection) => {
      connection.onClose(forget);
      if (this.#closed) connection.close();
    }, forget);
    return opening;
  }

  /** A connection to whatever broker answers: those that are known first, then the bootstrap list in turn. */
  async any(): Promise<Connection> {
    for (const opening of this.#connections.values()) {
      const connection = await opening.catch(() => null);
      if (connection !== null && !connection.closed) return connection;
    }
    let failure: unknown;
    const addresses = [
      ...this.#bootstrap.slice(this.#nextBootstrap),
      ...this.#bootstrap.slice(0, this.#nextBootstrap),
      ...this.#brokers.values(),
    ];
    this.#nextBootstrap = (this.#nextBootstrap + 1) % this.#bootstrap.length;
    const tried = new Set<string>();
    for (const address of addresses) {
      const key = `${address.host}:${address.port}`;
      if (tried.has(key)) continue;
      tried.add(key);
      try {
        return await this.#connect(address);
      } catch (error) {
        failure = error;
        // A wrong password is wrong everywhere.
        if (error instanceof HeadwaterError && error.code === 'AUTHENTICATION_FAILED') throw error;
      }
    }
    throw failure;
  }

  /** CONNECTION_LOST when the id is not in the metadata. */
  async broker(id: number): Promise<Connection> {
    const address = this.#brokers.get(id);
    if (address === undefined) throw new HeadwaterError('CONNECTION_LOST', `broker ${id} is not in the metadata`);
    return this.#connect(address);
  }

  /** Where topics are created and deleted. */
  async controller(): Promise<Connection> {
    if (!this.#brokers.has(this.#controllerId)) await this.metadata([]);
    return this.#brokers.has(this.#controllerId) ? this.broker(this.#controllerId) : this.any();
  }

  /** The broker that coordinates a group or a transactional id; not kept, because it moves. */
  async coordinator(key: string, kind: 'group' | 'transaction' = 'group'): Promise<Connection> {
    const connection = await this.any();
    const keyType = kind === 'group' ? 0 : 1;
    const found = await connection.send(findCoordinator, { key, keyType }, { maxVersion: 3 });
    checkCode(found.errorCode, `coordinator of ${kind} ${key}`, found.errorMessage);
    if (found.nodeId === this.options.ownId) {
      throw new HeadwaterError('NOT_LEADER', `the coordinator of ${kind} ${key} is said to be this broker itself`);
    }
    this.#brokers.set(found.nodeId, { host: found.host, port: found.port });
    return this.broker(found.nodeId);
  }

  /** Asks a broker; null: all topics. Errors of single topics and partitions are in the answer. */
  async metadata(topics: readonly string[] | null, options: { create?: boolean } = {}): Promise<ClusterMetadata> {
    const connection = await this.any();
    const answer = await connection.send(
      metadataApi,
      {
        // "No topics" is an empty list from v1 on.
        topics: topics === null ? null : topics.map((name) => ({ name })),
        allowAutoTopicCreation: options.create === true,
      },
      { maxVersion: 12 },
    );
    const others = answer.brokers.filter(({ nodeId }) => nodeId !== this.options.ownId);
    this.#brokers = new Map(others.map(({ nodeId, host, port }) => [nodeId, { host, port }]));
    this.#controllerId = answer.controllerId;
    return {
      clusterId: answer.clusterId,
      controllerId: answer.controllerId,
      brokers: answer.brokers.map(({ nodeId, host, port, rack }) => ({ id: nodeId, host, port, rack })),
      topics: answer.topics.map((topic) => ({
        name: topic.name ?? '',
        id: topic.topicId,
        internal: topic.isInternal,
        errorCode: topic.errorCode,
        partitions: topic.partitions
          .map((partition) => ({
            index: partition.partitionIndex,
            leader: partition.leaderId,
            leaderEpoch: partition.leaderEpoch,
            replicas: partition.replicaNodes,
            isr: partition.isrNodes,
            errorCode: partition.errorCode,
          }))
          .sort((a, b) => a.index - b.index),
      })),
    };
  }

  /** The topic's partitions; UpstreamError for an unknown topic or one without leaders yet. */
  async topic(name: string): Promise<TopicMetadata> {
    const { topics } = await this.metadata([name]);
    const topic = topics.find((candidate) => candidate.name === name);
    checkTopicCode(topic?.errorCode ?? LEADER_NOT_AVAILABLE, name);
    return topic!;
  }

  /** The connection to the leader of a partition in `topic`, as last asked. */
  leader(topic: TopicMetadata, partition: number): Promise<Connection> {
    const found = topic.partitions.find((candidate) => candidate.index === partition);
    if (found === undefined) {
      return Promise.reject(
        new UpstreamError(3, `partition ${topic.name}-${partition}`, `it has ${topic.partitions.length}`),
      );
    }
    if (found.leader < 0) return Promise.reject(new UpstreamError(LEADER_NOT_AVAILABLE, `${topic.name}-${partition}`));
    return this.broker(found.leader);
  }

  /** Drops the connection to a broker so that the next call dials again (a watchdog's tool). */
  drop(id: number, reason: HeadwaterError): void {
    const address = this.#brokers.get(id);
    if (address === undefined) return;
    this.#connections.get(`${address.host}:${address.port}`)?.then(
      (connection) => connection.close(reason),
      () => {},
    );
  }

  close(): void {
    this.#closed = true;
    for (const opening of this.#connections.values()) {
      opening.then(
        (connection) => connection.close(),
        () => {},
      );
    }
    this.#connections.clear();
  }
}
