/** Which brokers clients are told of, and who leads: this one, or the other of a pair. */
import type { Partition } from '../log/types.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import type { KafkaContext } from './context.ts';
import type { ClientConnection } from './handler.ts';

export interface ShownBroker {
  readonly nodeId: number;
  readonly host: string;
  readonly port: number;
  readonly rack: string | null;
}

export function brokersOf({ identity, pair }: KafkaContext, { advertised }: ClientConnection): ShownBroker[] {
  const self = { nodeId: identity.nodeId, ...advertised, rack: identity.rack };
  const other = pair?.other() ?? null;
  return other === null || other.nodeId === identity.nodeId ? [self] : [self, { ...other, rack: null }];
}

/** The leader of everything and the controller; -1: not known at the moment. */
export function leaderIdOf({ identity, pair }: KafkaContext): number {
  return pair?.follows() === true ? (pair.other()?.nodeId ?? -1) : identity.nodeId;
}

export function placementOf(
  context: KafkaContext,
  partition: Partition,
): { errorCode: number; leaderId: number; replicaNodes: readonly number[]; isrNodes: readonly number[] } {
  const leaderId = leaderIdOf(context);
  const { replicas, inSyncReplicas } = partition;
  if (leaderId === context.identity.nodeId) {
    return { errorCode: KAFKA_ERROR.NONE, leaderId, replicaNodes: replicas, isrNodes: inSyncReplicas };
  }
  const errorCode = leaderId < 0 ? KAFKA_ERROR.LEADER_NOT_AVAILABLE : KAFKA_ERROR.NONE;
  const known = leaderId < 0 ? [] : [leaderId];
  return { errorCode, leaderId, replicaNodes: [...known, ...replicas], isrNodes: known };
}
