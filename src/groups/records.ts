/**
 * What groups keep in the metadata database: keys under the prefix `group` and CBOR values, each beginning with its
 * format version. `m` group: the stored part of a group. `o` group topic partition: a committed offset. `p` producer
 * group topic partition: an offset that a transaction commits when it ends (KIP-98).
 */
import { Encoder } from 'cbor-x';
import { type KeyPart, metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { GroupValue, MemberValue } from './group.ts';
import type { CommittedOffset } from './offsets.ts';

const VERSION = 1;
const cbor = new Encoder({ useRecords: false, tagUint8Array: false });

export const groupKey = (groupId: string) => metaKey('group', 'm', groupId);
export const offsetKey = (groupId: string, topic: string, partition: number) =>
  metaKey('group', 'o', groupId, topic, partition);
export const pendingKey = (producerId: number, groupId: string, topic: string, partition: number) =>
  metaKey('group', 'p', producerId, groupId, topic, partition);

export const GROUP_RECORDS = metaRange('group');

export type GroupRecord =
  | { readonly kind: 'group'; readonly groupId: string; readonly value: GroupValue }
  | {
      readonly kind: 'offset';
      readonly groupId: string;
      readonly topic: string;
      readonly partition: number;
      /** null: committed; else the producer whose transaction decides. */
      readonly producerId: number | null;
      readonly topicId: string;
      readonly value: CommittedOffset;
    };

type StoredMember = [
  id: string,
  instanceId: string | null,
  clientId: string,
  clientHost: string,
  sessionTimeoutMs: number,
  rebalanceTimeoutMs: number,
  protocols: [string, Uint8Array][],
  assignment: Uint8Array,
];

export function encodeGroup(value: GroupValue): Uint8Array {
  const members = value.members.map(
    (member): StoredMember => [
      member.id,
      member.instanceId,
      member.clientId,
      member.clientHost,
      member.sessionTimeoutMs,
      member.rebalanceTimeoutMs,
      member.protocols.map(({ name, metadata }) => [name, metadata]),
      member.assignment,
    ],
  );
  const { state, stateAt, generation, protocolType, protocolName, leader } = value;
  return cbor.encode([VERSION, state, stateAt, generation, protocolType, protocolName, leader, members]);
}

export function encodeOffset(topicId: string, value: CommittedOffset): Uint8Array {
  const { offset, leaderEpoch, metadata, committedAt, expiresAt, order } = value;
  return cbor.encode([VERSION, topicId, offset, leaderEpoch, metadata, committedAt, expiresAt, order]);
}

function decodeMember(stored: StoredMember): MemberValue {
  const [id, instanceId, clientId, clientHost, sessionTimeoutMs, rebalanceTimeoutMs, protocols, assignment] = stored;
  return {
    id,
    instanceId,
    clientId,
    clientHost,
    sessionTimeoutMs,
    rebalanceTimeoutMs,
    // Copies: what cbor-x gives back is a view of the whole value.
    protocols: protocols.map(([name, metadata]) => ({ name, metadata: new Uint8Array(metadata) })),
    assignment: new Uint8Array(assignment),
  };
}

/** Throws RangeError for a record that this version cannot read. */
export function decodeRecord(key: Uint8Array, bytes: Uint8Array): GroupRecord {
  const [kind, ...parts] = parseMetaKey(key);
  const value = cbor.decode(bytes);
  if (!Array.isArray(value) || value[0] !== VERSION) {
    throw new RangeError(`a group record has format version ${String(value?.[0])}; known: ${VERSION}`);
  }
  if (kind === 'm') {
    const [, state, stateAt, generation, protocolType, protocolName, leader, members] = value;
    return {
      kind: 'group',
      groupId: parts[0] as string,
      value: {
        state,
        stateAt,
        generation,
        protocolType,
        protocolName,
        leader,
        members: (members as StoredMember[]).map(decodeMember),
      },
    };
  }
  if (kind !== 'o' && kind !== 'p') throw new RangeError(`unknown kind of group record "${String(kind)}"`);
  const producerId = kind === 'p' ? (parts.shift() as number) : null;
  const [groupId, topic, partition] = parts as [string, string, number] & KeyPart[];
  const [, topicId, offset, leaderEpoch, metadata, committedAt, expiresAt, order] = value;
  return {
    kind: 'offset',
    groupId,
    topic,
    partition,
    producerId,
    topicId,
    value: { offset, leaderEpoch, metadata, committedAt, expiresAt, order },
  };
}
