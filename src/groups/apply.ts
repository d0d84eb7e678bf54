/**
 * Changes are the only way a group changes: a step decides them, `metadata` changes are made durable, then all of a
 * decision are applied in order. A restart applies the stored `metadata` values through the same function.
 */
import type { Group, GroupValue, JoinTicket, Member, MemberValue, Rebalance, SyncTicket } from './group.ts';
import { type GroupMove, nextState } from './states.ts';

export type Change =
  /** Durable. The whole stored part of the group; members that are not in it are gone. */
  | { readonly kind: 'metadata'; readonly move: GroupMove | 'loaded'; readonly value: GroupValue }
  /** Durable. The group and its offsets are deleted. */
  | { readonly kind: 'removed' }
  | { readonly kind: 'pending'; readonly memberId: string; readonly deadline: number }
  | { readonly kind: 'pending-gone'; readonly memberId: string }
  /** A member joins or joins again, and waits. */
  | {
      readonly kind: 'joining';
      readonly member: MemberValue;
      readonly protocolType: string;
      readonly ticket: JoinTicket;
      readonly deadline: number;
    }
  | { readonly kind: 'member-gone'; readonly memberId: string }
  /** KIP-345: `member` takes the place of `oldId`. */
  | { readonly kind: 'replaced'; readonly oldId: string; readonly member: MemberValue; readonly deadline: number }
  | { readonly kind: 'rebalance'; readonly rebalance: Rebalance }
  | { readonly kind: 'extended'; readonly rebalance: Rebalance }
  | { readonly kind: 'alive'; readonly memberId: string; readonly deadline: number }
  | { readonly kind: 'syncing'; readonly memberId: string; readonly ticket: SyncTicket }
  | { readonly kind: 'synced'; readonly memberId: string };

function memberOf(value: MemberValue, deadline: number): Member {
  return { value, join: null, sync: null, isNew: false, mustSync: false, deadline };
}

function known(group: Group, memberId: string): Member {
  const member = group.members.get(memberId);
  if (member === undefined) throw new TypeError(`a change names ${memberId}, which is not a member of ${group.id}`);
  return member;
}

function drop(group: Group, memberId: string): void {
  const member = known(group, memberId);
  group.members.delete(memberId);
  const { instanceId } = member.value;
  if (instanceId !== null && group.instances.get(instanceId) === memberId) group.instances.delete(instanceId);
  if (group.leader === memberId) group.leader = group.members.keys().next().value ?? null;
}

/** Puts `value` where the member `oldId` was, keeping the order of joining. */
function replace(group: Group, oldId: string, value: MemberValue, deadline: number): void {
  known(group, oldId);
  const members = new Map<string, Member>();
  for (const [id, member] of group.members) {
    if (id !== oldId) members.set(id, member);
    else members.set(value.id, { ...member, value, join: null, sync: null, deadline });
  }
  group.members = members;
  group.instances.set(value.instanceId!, value.id);
  if (group.leader === oldId) group.leader = value.id;
}

function applyMetadata(group: Group, value: GroupValue, move: GroupMove | 'loaded', now: number): void {
  group.state = move === 'loaded' ? value.state : nextState(group.state, move);
  if (group.state !== value.state) throw new TypeError(`"${move}" leads to ${group.state}, not to ${value.state}`);
  group.stateAt = value.stateAt;
  group.generation = value.generation;
  group.protocolType = value.protocolType;
  group.protocolName = value.protocolName;
  group.leader = value.leader;
  const members = new Map<string, Member>();
  for (const stored of value.members) {
    const present = group.members.get(stored.id);
    if (present !== undefined) present.value = stored;
    members.set(stored.id, present ?? memberOf(stored, now + stored.sessionTimeoutMs));
  }
  group.members = members;
  group.instances.clear();
  for (const { id, instanceId } of value.members) if (instanceId !== null) group.instances.set(instanceId, id);
  group.rebalance = null;
  group.newcomers = false;
  if (move === 'joined' || (move === 'loaded' && value.state === 'CompletingRebalance')) {
    let timeout = 0;
    for (const member of members.values()) {
      timeout = Math.max(timeout, member.value.rebalanceTimeoutMs);
      member.join = null;
      member.sync = null;
      member.isNew = false;
      member.mustSync = true;
      member.deadline = now + member.value.sessionTimeoutMs;
    }
    group.syncDeadline = now + timeout;
  } else if (move === 'assigned') {
    for (const member of members.values()) {
      if (member.sync === null) continue;
      member.sync = null;
      member.mustSync = false;
      member.deadline = now + member.value.sessionTimeoutMs;
    }
  }
  if (group.state === 'Empty') group.syncDeadline = null;
  settle(group);
}

/** Nobody left to wait for: the deadline for SyncGroup falls away. */
function settle(group: Group): void {
  if (group.syncDeadline === null || group.state === 'CompletingRebalance') return;
  for (const member of group.members.values()) if (member.mustSync) return;
  group.syncDeadline = null;
}

function applyJoining(group: Group, change: Extract<Change, { kind: 'joining' }>): void {
  const { member: value, ticket, deadline } = change;
  group.pending.delete(value.id);
  const present = group.members.get(value.id);
  if (present !== undefined) {
    present.value = value;
    present.join = ticket;
    present.deadline = deadline;
    return;
  }
  if (group.members.size === 0) {
    group.protocolType = change.protocolType;
    group.leader = null;
  }
  const member = memberOf(value, deadline);
  member.isNew = true;
  member.join = ticket;
  group.members.set(value.id, member);
  if (value.instanceId !== null) group.instances.set(value.instanceId, value.id);
  group.leader ??= value.id;
  if (group.rebalance?.initial === true) group.newcomers = true;
}

/** `now` is monotonic milliseconds. */
export function apply(group: Group, change: Change, now: number): void {
  switch (change.kind) {
    case 'metadata':
      applyMetadata(group, change.value, change.move, now);
      return;
    case 'removed':
      group.state = nextState(group.state, 'removed');
      group.pending.clear();
      return;
    case 'pending':
      group.pending.set(change.memberId, change.deadline);
      return;
    case 'pending-gone':
      group.pending.delete(change.memberId);
      return;
    case 'joining':
      applyJoining(group, change);
      return;
    case 'member-gone':
      drop(group, change.memberId);
      settle(group);
      return;
    case 'replaced':
      replace(group, change.oldId, change.member, change.deadline);
      return;
    case 'rebalance':
      group.state = nextState(group.state, 'rebalance');
      group.rebalance = change.rebalance;
      group.newcomers = false;
      group.syncDeadline = null;
      for (const member of group.members.values()) {
        member.sync = null;
        member.mustSync = false;
      }
      return;
    case 'extended':
      group.rebalance = change.rebalance;
      group.newcomers = false;
      return;
    case 'alive':
      known(group, change.memberId).deadline = change.deadline;
      return;
    case 'syncing':
      known(group, change.memberId).sync = change.ticket;
      known(group, change.memberId).mustSync = false;
      return;
    case 'synced':
      known(group, change.memberId).mustSync = false;
      settle(group);
      return;
  }
}
