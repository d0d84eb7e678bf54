/** What every handler is given: the parts of the broker it may use, as `broker.ts` wires them. */
import type { Env } from '../env.ts';
import type { GroupCoordinator } from '../groups/coordinator.ts';
import type { Log, Partition } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Quotas } from '../quotas/quotas.ts';
import type { KafkaOperation, KafkaResource } from '../security/acl.ts';
import type { User } from '../security/users.ts';
import type { TransactionCoordinator } from '../transactions/coordinator.ts';
import type { fetchPairState } from '../wire/kafka/api/20000-fetch-pair-state.ts';
import type { RequestOf, ResponseInput } from '../wire/kafka/schema.ts';
import type { EdgeMetrics } from './metrics.ts';

/** This broker as Kafka clients see it. */
export interface BrokerIdentity {
  /** node.id: 0 to 2^31-1. Leader and controller of everything it holds. */
  readonly nodeId: number;
  /** 22 characters of base64url in Kafka's own clusters; any stable non-empty text is legal. */
  readonly clusterId: string;
  readonly rack: string | null;
}

/** A broker setting as DescribeConfigs shows it. Values never hold secrets: `sensitive` ones are given as null. */
export interface BrokerSetting {
  readonly name: string;
  readonly value: string | null;
  readonly isDefault: boolean;
  readonly sensitive: boolean;
  readonly doc: string;
}

export interface KafkaSettings {
  /** auto.create.topics.enable: Metadata for an unknown topic creates it when the client allows that too. */
  readonly autoCreateTopics: boolean;
  /** delete.topic.enable. */
  readonly deleteTopics: boolean;
  /** What DescribeConfigs answers for the broker resource, read on each request. */
  brokerSettings(): Iterable<BrokerSetting>;
  /** Broker-wide values for topic settings (`log.retention.ms` as `retention.ms`), as text; an override beats them. */
  topicDefaults(): ReadonlyMap<string, string>;
  /** Directory shown by DescribeLogDirs. */
  readonly logDir: string;
  /** Bytes of that file system: total and usable, -1 when unknown. */
  logDirSpace(): Promise<{ readonly totalBytes: number; readonly usableBytes: number }>;
}

/** What Produce asks the transaction coordinator. */
export interface TransactionGate {
  /**
   * Whether the producer may write to the partition in the transaction it has open now: 0, or the protocol's error code
   * (INVALID_TXN_STATE, INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING, ...).
   */
  admits(transactionalId: string, producerId: number, producerEpoch: number, partition: Partition): number;
}

/** Who may do what with which topic, group or transaction; `Security` is one. */
export interface Access {
  allowsKafka(user: string | null, operation: KafkaOperation, resource: KafkaResource, name: string): boolean;
}

/** The users that all edges share; `Security` is one. */
export interface UserStore {
  users(): Iterable<User>;
  /** Changes the users file. Throws INVALID_CONFIG when there is none or it may not be written. */
  editUsers(change: (users: Map<string, User>) => void): Promise<void>;
}

/** Another broker of a pair, as Metadata shows it. */
export interface OtherBroker {
  readonly nodeId: number;
  readonly host: string;
  readonly port: number;
}

/** What the edge asks about the pair that this broker is one of. */
export interface Pair {
  /** The other broker leads: clients are sent there. */
  follows(): boolean;
  /** The other broker; null: not known yet. */
  other(): OtherBroker | null;
  /** A replica asks for `offset`, which is what it has; false: it is not taken for one. */
  fetched(partition: Partition, replicaId: number, offset: number): boolean;
  /** Rows of the metadata database that the follower has as well; null: it has to begin again. */
  rows(
    request: RequestOf<typeof fetchPairState>,
  ): Promise<Omit<ResponseInput<typeof fetchPairState>, 'errorCode'> | null>;
}

export interface KafkaContext {
  /** null: nobody has a quota. */
  readonly quotas: Quotas | null;
  /** null: it stands alone. */
  readonly pair: Pair | null;
  /** null: this broker has no users. */
  readonly users: UserStore | null;
  /** null: everybody may do everything. */
  readonly access: Access | null;
  readonly metrics: EdgeMetrics;
  readonly env: Env;
  readonly logger: Logger;
  readonly log: Log;
  readonly identity: BrokerIdentity;
  readonly settings: KafkaSettings;
  readonly transactionGate: TransactionGate;
  readonly groups: GroupCoordinator;
  readonly transactions: TransactionCoordinator;
  /** Bytes that wait for sockets, all connections together. */
  readonly outputBytes: number;
}
