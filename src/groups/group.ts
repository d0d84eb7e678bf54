/**
 * A consumer group as the coordinator holds it, and the rules that only read it. The durable part (generation, protocol,
 * leader, members, assignments) is what a GroupValue holds; tickets, deadlines and members that are only pending live in
 * memory and are rebuilt by the clients after a restart.
 */
import type { GroupState } from './states.ts';

export interface Protocol {
  readonly name: string;
  /** Opaque to the broker (KIP-429: assignors are a matter of the clients). */
  readonly metadata: Uint8Array;
}

export interface JoinResult {
  readonly error: number;
  readonly generation: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly leader: string;
  readonly memberId: string;
  /** KIP-814: the leader keeps the assignment that is stored. */
  readonly skipAssignment: boolean;
  /** Only for the leader. */
  readonly members: readonly { memberId: string; instanceId: string | null; metadata: Uint8Array }[];
}

export interface SyncResult {
  readonly error: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly assignment: Uint8Array;
}

/** Where an answer goes. Steps keep and hand back tickets; only the coordinator calls them. */
export type JoinTicket = (result: JoinResult) => void;
export type SyncTicket = (result: SyncResult) => void;

/** The part of a member that is stored. */
export interface MemberValue {
  readonly id: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  /** In the member's order of preference. */
  readonly protocols: readonly Protocol[];
  readonly assignment: Uint8Array;
}

export interface Member {
  value: MemberValue;
  /** A JoinGroup that waits for the rebalance to complete. */
  join: JoinTicket | null;
  /** A SyncGroup that waits for the leader's assignment. */
  sync: SyncTicket | null;
  /** Not yet in a completed generation. */
  isNew: boolean;
  /** Has the generation but has not asked for its assignment. */
  mustSync: boolean;
  /** Monotonic milliseconds: when the session ends unless the member is heard of. */
  deadline: number;
}

/** What is stored of a group: one value replaces the one before. */
export interface GroupValue {
  readonly state: 'Empty' | 'CompletingRebalance' | 'Stable';
  /** Milliseconds since 1970 of the change into `state`; -1 when the clock was not to be trusted. */
  readonly stateAt: number;
  readonly generation: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly leader: string | null;
  readonly members: readonly MemberValue[];
}

export interface Rebalance {
  /** Monotonic milliseconds. */
  readonly deadline: number;
  /** The first join of an empty group waits for others even when all have joined. */
  readonly initial: boolean;
  /** What newcomers may still add to an initial wait. */
  readonly remainingMs: number;
}

export interface Group {
  readonly id: string;
  state: GroupState;
  stateAt: number;
  generation: number;
  protocolType: string | null;
  protocolName: string | null;
  leader: string | null;
  /** In the order of joining. */
  members: Map<string, Member>;
  /** Static members: instance id to member id. */
  readonly instances: Map<string, string>;
  /** KIP-394: ids handed out and not used yet, with their deadline (monotonic milliseconds). */
  readonly pending: Map<string, number>;
  rebalance: Rebalance | null;
  /** A member joined during the initial wait since it was last extended. */
  newcomers: boolean;
  /** When members that did not ask for their assignment are dropped (monotonic milliseconds). */
  syncDeadline: number | null;
}

export const EMPTY_BYTES = new Uint8Array(0);

export function emptyGroup(id: string): Group {
  return {
    id,
    state: 'Empty',
    stateAt: -1,
    generation: 0,
    protocolType: null,
    protocolName: null,
    leader: null,
    members: new Map(),
    instances: new Map(),
    pending: new Map(),
    rebalance: null,
    newcomers: false,
    syncDeadline: null,
  };
}

/** Whether a member with these protocols can live with those that are there (INCONSISTENT_GROUP_PROTOCOL otherwise). */
export function supportsProtocols(
  group: Group,
  protocolType: string,
  protocols: readonly Protocol[],
  except?: string,
): boolean {
  if (protocolType === '' || protocols.length === 0) return false;
  const others = [...group.members.values()].filter((member) => member.value.id !== except);
  if (group.members.size === 0) return true;
  if (group.protocolType !== protocolType) return false;
  return protocols.some(({ name }) => others.every((other) => other.value.protocols.some((own) => own.name === name)));
}

/** The protocol that all support, with the most first preferences; among equals the one voted for first. */
export function selectProtocol(members: readonly MemberValue[]): string | null {
  const votes = new Map<string, number>();
  for (const member of members) {
    const vote = member.protocols.find(({ name }) =>
      members.every((other) => other.protocols.some((own) => own.name === name)),
    );
    if (vote !== undefined) votes.set(vote.name, (votes.get(vote.name) ?? 0) + 1);
  }
  let best: string | null = null;
  for (const [name, count] of votes) if (best === null || count > votes.get(best)!) best = name;
  return best;
}

export function sameProtocols(a: readonly Protocol[], b: readonly Protocol[]): boolean {
  return (
    a.length === b.length &&
    a.every((protocol, i) => protocol.name === b[i]!.name && sameBytes(protocol.metadata, b[i]!.metadata))
  );
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function metadataOf(member: MemberValue, protocolName: string | null): Uint8Array {
  return member.protocols.find(({ name }) => name === protocolName)?.metadata ?? EMPTY_BYTES;
}

export function rebalanceTimeout(group: Group): number {
  let timeout = 0;
  for (const { value } of group.members.values()) timeout = Math.max(timeout, value.rebalanceTimeoutMs);
  return timeout;
}

export function allJoined(group: Group): boolean {
  if (group.pending.size > 0) return false;
  for (const member of group.members.values()) if (member.join === null) return false;
  return true;
}

/** Whether the member's session can end while it is silent: not while one of its own requests is parked here. */
function canExpire(member: Member): boolean {
  return member.isNew || (member.join === null && member.sync === null);
}

export function hasExpired(member: Member, now: number): boolean {
  return canExpire(member) && member.deadline <= now;
}

/** When the group wants to be looked at again (monotonic milliseconds), or null. */
export function nextDeadline(group: Group): number | null {
  let next = Number.POSITIVE_INFINITY;
  for (const member of group.members.values()) if (canExpire(member)) next = Math.min(next, member.deadline);
  for (const deadline of group.pending.values()) next = Math.min(next, deadline);
  if (group.rebalance !== null) next = Math.min(next, group.rebalance.deadline);
  if (group.syncDeadline !== null) next = Math.min(next, group.syncDeadline);
  return next === Number.POSITIVE_INFINITY ? null : next;
}

/** What clients hand over to be kept: protocol metadata and assignment. Bounded per group (GROUP_METADATA_MAX_BYTES). */
export function opaqueBytes(member: MemberValue): number {
  let bytes = member.assignment.length;
  for (const { name, metadata } of member.protocols) bytes += name.length + metadata.length;
  return bytes;
}

export function metadataBytes(group: Group): number {
  let bytes = 0;
  for (const member of group.members.values()) bytes += opaqueBytes(member.value);
  return bytes;
}

/** Bytes that a member adds to the stored value and to memory, estimated from above. */
export function memberBytes(member: MemberValue): number {
  const names = member.id.length + member.clientId.length + member.clientHost.length + (member.instanceId?.length ?? 0);
  return 256 + names + 32 * member.protocols.length + opaqueBytes(member);
}

export function groupBytes(group: Group): number {
  let bytes = 256 + group.id.length + group.pending.size * 128;
  for (const member of group.members.values()) bytes += memberBytes(member.value);
  return bytes;
}
