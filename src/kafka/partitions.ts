/** Finding the partition that a request means, and the checks that Kafka makes before it is used. */
import { HeadwaterError } from '../errors.ts';
import type { Log, Partition, Topic } from '../log/types.ts';
import type { KafkaOperation } from '../security/acl.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import { ZERO_UUID } from '../wire/kafka/schema.ts';
import type { KafkaContext } from './context.ts';
import type { ClientConnection } from './handler.ts';

/** By id where the version carries one, otherwise by name. */
export function findTopic(log: Log, name: string | null, id: string): Topic | undefined {
  return id === ZERO_UUID ? (name === null ? undefined : log.topic(name)) : log.topicById(id);
}

/** The error for a topic that is not there: asked for by id it is another than by name. */
export function missingTopic(id: string): number {
  return id === ZERO_UUID ? KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION : KAFKA_ERROR.UNKNOWN_TOPIC_ID;
}

/** What a broker that follows another answers about a partition, so that clients look for the leader; 0: it leads. */
export function checkLeads({ pair }: KafkaContext): number {
  return pair?.follows() === true ? KAFKA_ERROR.NOT_LEADER_OR_FOLLOWER : KAFKA_ERROR.NONE;
}

/** KIP-320: -1 asks for no check; older than ours is fenced; newer means that we are behind. */
export function checkLeaderEpoch(partition: Partition, currentLeaderEpoch: number): number {
  if (currentLeaderEpoch === -1 || currentLeaderEpoch === partition.leaderEpoch) return KAFKA_ERROR.NONE;
  return currentLeaderEpoch < partition.leaderEpoch
    ? KAFKA_ERROR.FENCED_LEADER_EPOCH
    : KAFKA_ERROR.UNKNOWN_LEADER_EPOCH;
}

/** As in Kafka: by a rule for the topic, or for the cluster. */
export function mayCreateTopic(connection: ClientConnection, name: string): boolean {
  return connection.allows('create', 'topic', name) || connection.allows('create', 'cluster', '');
}

/** Throws NOT_AUTHORIZED. */
export function requireTopic(connection: ClientConnection, operation: KafkaOperation, name: string): void {
  if (connection.allows(operation, 'topic', name)) return;
  throw new HeadwaterError(
    'NOT_AUTHORIZED',
    `user ${connection.user ?? 'anonymous'} may not ${operation} topic "${name}"`,
  );
}

/** This broker is the only one that partitions can be assigned to. Throws INVALID_REPLICA_ASSIGNMENT naming what was asked for. */
export function checkAssignment(nodeId: number, brokerIds: readonly number[]): void {
  if (brokerIds.length === 1 && brokerIds[0] === nodeId) return;
  throw new HeadwaterError(
    'INVALID_REPLICA_ASSIGNMENT',
    `partition assigned to brokers [${brokerIds.join(', ')}]: only [${nodeId}] is possible`,
  );
}
