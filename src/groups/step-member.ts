/** SyncGroup, Heartbeat, LeaveGroup, and what time does. */
import type { Change } from './apply.ts';
import { GROUP_ERROR } from './errors.ts';
import {
  allJoined,
  EMPTY_BYTES,
  type Group,
  hasExpired,
  type Member,
  opaqueBytes,
  type SyncResult,
  type SyncTicket,
} from './group.ts';
import {
  checkMember,
  type Decision,
  groupValue,
  NOTHING,
  release,
  type StepContext,
  startRebalance,
  syncError,
  together,
} from './step.ts';
import { completeJoin, initialWaitOver } from './step-join.ts';

export interface SyncRequest {
  readonly generation: number;
  readonly memberId: string;
  readonly instanceId: string | null;
  /** v5+; null = not given. */
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  /** Only the leader's count. */
  readonly assignments: readonly { readonly memberId: string; readonly assignment: Uint8Array }[];
}

export function sync(group: Group, request: SyncRequest, ticket: SyncTicket, context: StepContext): Decision {
  const refuse = (error: number): Decision => ({ changes: [], answers: [() => ticket(syncError(error))] });
  if (group.state === 'Dead') return refuse(GROUP_ERROR.COORDINATOR_NOT_AVAILABLE);
  const { memberId } = request;
  const error = checkMember(group, memberId, request.instanceId);
  if (error !== GROUP_ERROR.NONE) return refuse(error);
  if (request.generation !== group.generation) return refuse(GROUP_ERROR.ILLEGAL_GENERATION);
  // KIP-559
  const otherType = request.protocolType !== null && request.protocolType !== group.protocolType;
  const otherName = request.protocolName !== null && request.protocolName !== group.protocolName;
  if (otherType || otherName) return refuse(GROUP_ERROR.INCONSISTENT_GROUP_PROTOCOL);
  const member = group.members.get(memberId)!;
  const deadline = context.now + member.value.sessionTimeoutMs;
  switch (group.state) {
    case 'Empty':
      return refuse(GROUP_ERROR.UNKNOWN_MEMBER_ID);
    case 'PreparingRebalance':
      return refuse(GROUP_ERROR.REBALANCE_IN_PROGRESS);
    case 'Stable': {
      const result = synced(group, member.value.assignment);
      return {
        changes: [
          { kind: 'synced', memberId },
          { kind: 'alive', memberId, deadline },
        ],
        answers: [() => ticket(result)],
      };
    }
    case 'CompletingRebalance': {
      const parked = member.sync;
      const answers = parked === null ? [] : [() => parked(syncError(GROUP_ERROR.REBALANCE_IN_PROGRESS))];
      const wait: Decision = { changes: [{ kind: 'syncing', memberId, ticket }], answers };
      return group.leader === memberId ? together(wait, assign(group, request, ticket, context)) : wait;
    }
  }
}

/** The broker follows another: members are the leader's, and those of an earlier lead would hold a rebalance up when it leads. */
export function dropMembers(group: Group, context: StepContext): Decision {
  if (group.members.size === 0) return NOTHING;
  const value = { ...groupValue(group, context, 'Empty', []), protocolName: null, leader: null };
  return { changes: [{ kind: 'metadata', move: 'loaded', value }], answers: [] };
}

function synced(group: Group, assignment: Uint8Array): SyncResult {
  return {
    error: GROUP_ERROR.NONE,
    protocolType: group.protocolType,
    protocolName: group.protocolName,
    assignment,
  };
}

/** The leader's assignment: stored, then handed to everybody who waits. Who is left out gets empty bytes. */
function assign(group: Group, request: SyncRequest, own: SyncTicket, context: StepContext): Decision {
  const given = new Map(request.assignments.map(({ memberId, assignment }) => [memberId, assignment]));
  const values = [...group.members.values()].map(({ value }) => ({
    ...value,
    assignment: given.get(value.id) ?? EMPTY_BYTES,
  }));
  let bytes = 0;
  for (const value of values) bytes += opaqueBytes(value);
  // Subscriptions were checked against the bound when the members joined; assignments may take as much again.
  if (bytes > 2 * context.options.metadataMaxBytes) {
    return { changes: [], answers: [() => own(syncError(GROUP_ERROR.UNKNOWN_SERVER_ERROR))] };
  }
  const answers: (() => void)[] = [];
  for (const value of values) {
    const ticket = value.id === request.memberId ? own : group.members.get(value.id)!.sync;
    if (ticket !== null) answers.push(() => ticket(synced(group, value.assignment)));
  }
  const value = groupValue(group, context, 'Stable', values);
  const refusals = [() => own(syncError(GROUP_ERROR.COORDINATOR_NOT_AVAILABLE))];
  return { changes: [{ kind: 'metadata', move: 'assigned', value }], answers, refusals };
}

export interface MemberRequest {
  readonly generation: number;
  readonly memberId: string;
  readonly instanceId: string | null;
}

/** The error to answer, and the session's new end. */
export function heartbeat(group: Group, request: MemberRequest, context: StepContext): { error: number } & Decision {
  const refuse = (error: number) => ({ error, ...NOTHING });
  if (group.state === 'Dead') return refuse(GROUP_ERROR.COORDINATOR_NOT_AVAILABLE);
  const error = checkMember(group, request.memberId, request.instanceId);
  if (error !== GROUP_ERROR.NONE) return refuse(error);
  if (request.generation !== group.generation) return refuse(GROUP_ERROR.ILLEGAL_GENERATION);
  if (group.state === 'Empty') return refuse(GROUP_ERROR.UNKNOWN_MEMBER_ID);
  const answer = group.state === 'PreparingRebalance' ? GROUP_ERROR.REBALANCE_IN_PROGRESS : GROUP_ERROR.NONE;
  return { error: answer, changes: alive(group, request.memberId, context), answers: [] };
}

export function alive(group: Group, memberId: string, context: StepContext): Change[] {
  const member = group.members.get(memberId);
  if (member === undefined) return [];
  return [{ kind: 'alive', memberId, deadline: context.now + member.value.sessionTimeoutMs }];
}

export interface Leaver {
  readonly memberId: string;
  readonly instanceId: string | null;
}

/** One error per leaver, in their order. */
export function leave(
  group: Group,
  leavers: readonly Leaver[],
  context: StepContext,
): { errors: readonly number[] } & Decision {
  const pendingGone: Change[] = [];
  const leaving = new Set<string>();
  const errors = leavers.map(({ memberId, instanceId }): number => {
    // A static member may be named by its instance id alone (KIP-345).
    const id = memberId === '' && instanceId !== null ? group.instances.get(instanceId) : memberId;
    if (id === undefined) return GROUP_ERROR.UNKNOWN_MEMBER_ID;
    if (instanceId === null && group.pending.has(id) && !leaving.has(id)) {
      leaving.add(id);
      pendingGone.push({ kind: 'pending-gone', memberId: id });
      return GROUP_ERROR.NONE;
    }
    const error = checkMember(group, id, instanceId);
    if (error !== GROUP_ERROR.NONE) return error;
    if (leaving.has(id)) return GROUP_ERROR.UNKNOWN_MEMBER_ID;
    leaving.add(id);
    return GROUP_ERROR.NONE;
  });
  const members = [...leaving].flatMap((id) => group.members.get(id) ?? []);
  return { errors, ...together({ changes: pendingGone, answers: [] }, remove(group, members, context)) };
}

/** Takes members out; the others rebalance. */
function remove(group: Group, members: readonly Member[], context: StepContext): Decision {
  if (members.length === 0) return NOTHING;
  const answers = members.flatMap((member) => release(member, GROUP_ERROR.UNKNOWN_MEMBER_ID));
  const changes = members.map((member): Change => ({ kind: 'member-gone', memberId: member.value.id }));
  const rest = new Map(group.members);
  for (const member of members) rest.delete(member.value.id);
  return together({ changes, answers }, startRebalance({ ...group, members: rest }, context));
}

/**
 * What the group should do by itself now: one thing at a time, or null when there is nothing. The caller applies it and
 * asks again.
 */
export function tick(group: Group, context: StepContext): Decision | null {
  const { now } = context;
  if (group.state === 'Dead') return null;
  for (const [memberId, deadline] of group.pending) {
    if (deadline <= now) return { changes: [{ kind: 'pending-gone', memberId }], answers: [] };
  }
  const expired = [...group.members.values()].filter((member) => hasExpired(member, now));
  if (expired.length > 0) return remove(group, expired, context);
  if (group.syncDeadline !== null && group.syncDeadline <= now) {
    const silent = [...group.members.values()].filter((member) => member.mustSync);
    return silent.length > 0 ? remove(group, silent, context) : startRebalance(group, context);
  }
  const { rebalance } = group;
  if (rebalance === null) return null;
  if (rebalance.deadline <= now) return initialWaitOver(group, context);
  return !rebalance.initial && allJoined(group) ? completeJoin(group, context) : null;
}
