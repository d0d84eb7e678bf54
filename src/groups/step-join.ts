/** JoinGroup, and the completion of a rebalance. */
import type { Change } from './apply.ts';
import { GROUP_ERROR } from './errors.ts';
import {
  EMPTY_BYTES,
  type Group,
  type JoinResult,
  type JoinTicket,
  type Member,
  type MemberValue,
  metadataBytes,
  metadataOf,
  opaqueBytes,
  type Protocol,
  rebalanceTimeout,
  sameProtocols,
  selectProtocol,
  supportsProtocols,
} from './group.ts';
import {
  checkMember,
  type Decision,
  groupValue,
  joinError,
  NEW_MEMBER_JOIN_TIMEOUT_MS,
  NOTHING,
  release,
  type StepContext,
  startRebalance,
  together,
} from './step.ts';

export interface JoinRequest {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly protocolType: string;
  readonly protocols: readonly Protocol[];
  /** KIP-394 (JoinGroup v4+): a dynamic member without an id is first given one. */
  readonly requireKnownMemberId: boolean;
  /** KIP-814 (JoinGroup v9+). */
  readonly canSkipAssignment: boolean;
}

export function join(group: Group, request: JoinRequest, ticket: JoinTicket, context: StepContext): Decision {
  const { memberId, instanceId, sessionTimeoutMs } = request;
  const { options } = context;
  const refuse = (error: number, id = memberId): Decision => ({
    changes: [],
    answers: [() => ticket(joinError(error, id))],
  });
  if (sessionTimeoutMs < options.minSessionTimeoutMs || sessionTimeoutMs > options.maxSessionTimeoutMs) {
    return refuse(GROUP_ERROR.INVALID_SESSION_TIMEOUT);
  }
  if (group.state === 'Dead') return refuse(GROUP_ERROR.COORDINATOR_NOT_AVAILABLE);
  const staticHolder = instanceId === null ? undefined : group.instances.get(instanceId);
  const replaces = memberId === '' && staticHolder !== undefined ? staticHolder : undefined;
  if (!supportsProtocols(group, request.protocolType, request.protocols, replaces ?? memberId)) {
    return refuse(GROUP_ERROR.INCONSISTENT_GROUP_PROTOCOL);
  }
  const newId = () => context.newMemberId(instanceId ?? request.clientId);
  const isPending = group.pending.has(memberId);
  if (memberId !== '' && !(isPending && instanceId === null)) {
    const error = checkMember(group, memberId, instanceId);
    if (error !== GROUP_ERROR.NONE) return refuse(error);
  }
  const present = group.members.get(replaces ?? memberId);
  const taken = group.members.size + group.pending.size - (isPending ? 1 : 0);
  if (present === undefined && taken >= options.membersMax) {
    return refuse(GROUP_ERROR.GROUP_MAX_SIZE_REACHED, memberId);
  }
  const value = memberValue(request, memberId === '' ? newId() : memberId, present);
  const bytes = metadataBytes(group) + opaqueBytes(value) - (present === undefined ? 0 : opaqueBytes(present.value));
  if (bytes > options.metadataMaxBytes) return refuse(GROUP_ERROR.GROUP_MAX_SIZE_REACHED);
  if (replaces !== undefined) return replaceStatic(group, present!, value, request, ticket, context);
  if (memberId === '' && request.requireKnownMemberId && instanceId === null) {
    const deadline = context.now + sessionTimeoutMs;
    return {
      changes: [{ kind: 'pending', memberId: value.id, deadline }],
      answers: [() => ticket(joinError(GROUP_ERROR.MEMBER_ID_REQUIRED, value.id))],
    };
  }
  if (present === undefined) {
    return enter(group, value, request.protocolType, ticket, context.now + NEW_MEMBER_JOIN_TIMEOUT_MS, context);
  }
  return rejoin(group, present, value, request, ticket, context);
}

function memberValue(request: JoinRequest, id: string, present: Member | undefined): MemberValue {
  return {
    id,
    instanceId: request.instanceId,
    clientId: request.clientId,
    clientHost: request.clientHost,
    sessionTimeoutMs: request.sessionTimeoutMs,
    rebalanceTimeoutMs: request.rebalanceTimeoutMs,
    protocols: request.protocols,
    assignment: present?.value.assignment ?? EMPTY_BYTES,
  };
}

/** The member waits for the rebalance, which starts now if none is going on. */
function enter(
  group: Group,
  member: MemberValue,
  protocolType: string,
  ticket: JoinTicket,
  deadline: number,
  context: StepContext,
): Decision {
  const start = startRebalance(group, context, member.rebalanceTimeoutMs);
  // A JoinGroup sent again while the first one is parked: the new one takes its place.
  const parked = group.members.get(member.id)?.join ?? null;
  const answers = parked === null ? [] : [() => parked(joinError(GROUP_ERROR.REBALANCE_IN_PROGRESS, member.id))];
  // The member first, so that it does not count as a newcomer of the wait that it starts.
  return together({ changes: [{ kind: 'joining', member, protocolType, ticket, deadline }], answers }, start);
}

/** Section 8: Preparing parks, Completing resends, Stable rebalances for the leader or for changed metadata. */
function rejoin(
  group: Group,
  present: Member,
  value: MemberValue,
  request: JoinRequest,
  ticket: JoinTicket,
  context: StepContext,
): Decision {
  const { id } = value;
  const deadline = context.now + value.sessionTimeoutMs;
  const unchanged = sameProtocols(present.value.protocols, value.protocols);
  const isLeader = group.leader === id;
  const answerNow =
    group.state === 'CompletingRebalance' ? unchanged : group.state === 'Stable' && unchanged && !isLeader;
  if (!answerNow) {
    const kept = present.isNew ? present.deadline : deadline;
    return enter(group, value, request.protocolType, ticket, kept, context);
  }
  const members = isLeader
    ? membersFor(
        [...group.members.values()].map((m) => m.value),
        group.protocolName,
      )
    : [];
  const result = joined(group, id, group.leader!, false, members);
  return { changes: [{ kind: 'alive', memberId: id, deadline }], answers: [() => ticket(result)] };
}

function membersFor(members: readonly MemberValue[], protocolName: string | null): JoinResult['members'] {
  return members.map((member) => ({
    memberId: member.id,
    instanceId: member.instanceId,
    metadata: metadataOf(member, protocolName),
  }));
}

function joined(
  group: Pick<Group, 'generation' | 'protocolType' | 'protocolName'>,
  memberId: string,
  leader: string,
  skipAssignment: boolean,
  members: JoinResult['members'],
): JoinResult {
  return {
    error: GROUP_ERROR.NONE,
    generation: group.generation,
    protocolType: group.protocolType,
    protocolName: group.protocolName,
    leader,
    memberId,
    skipAssignment,
    members,
  };
}

/** KIP-345: a static member came back without its member id. In Stable nothing moves unless its protocols decide so. */
function replaceStatic(
  group: Group,
  old: Member,
  value: MemberValue,
  request: JoinRequest,
  ticket: JoinTicket,
  context: StepContext,
): Decision {
  const fenced = release(old, GROUP_ERROR.FENCED_INSTANCE_ID);
  const oldId = old.value.id;
  const deadline = context.now + value.sessionTimeoutMs;
  const after = [...group.members.values()].map((member) => (member === old ? value : member.value));
  const quiet = group.state === 'Stable' && selectProtocol(after) === group.protocolName;
  if (!quiet) {
    // Without the old one: it hears only of its fencing, not of the rebalance.
    const start = startRebalance(without(group, oldId), context, value.rebalanceTimeoutMs);
    const changes: Change[] = [
      { kind: 'replaced', oldId, member: value, deadline },
      { kind: 'joining', member: value, protocolType: request.protocolType, ticket, deadline },
    ];
    return together({ changes, answers: fenced }, start);
  }
  const wasLeader = group.leader === oldId;
  const stored = {
    ...groupValue(group, context, 'Stable', after),
    stateAt: group.stateAt,
    leader: wasLeader ? value.id : group.leader,
  };
  // Before v9 the old leader's id is named, so that the one who came back does not compute an assignment nobody awaits.
  const skip = request.canSkipAssignment && wasLeader;
  const result = joined(
    group,
    value.id,
    request.canSkipAssignment ? stored.leader! : group.leader!,
    skip,
    skip ? membersFor(after, group.protocolName) : [],
  );
  return {
    changes: [
      { kind: 'replaced', oldId, member: value, deadline },
      { kind: 'metadata', move: 'replaced', value: stored },
    ],
    answers: [...fenced, () => ticket(result)],
    refusals: [() => ticket(joinError(GROUP_ERROR.COORDINATOR_NOT_AVAILABLE, ''))],
  };
}

function without(group: Group, memberId: string): Group {
  const members = new Map(group.members);
  members.delete(memberId);
  return { ...group, members };
}

/** The rebalance has everybody, or its time is over: the next generation. */
export function completeJoin(group: Group, context: StepContext): Decision {
  const answers: (() => void)[] = [];
  const survivors: Member[] = [];
  const gone: Change[] = [];
  for (const member of group.members.values()) {
    if (member.join !== null || member.value.instanceId !== null) survivors.push(member);
    else gone.push({ kind: 'member-gone', memberId: member.value.id });
  }
  const first = survivors.find((member) => member.join !== null);
  if (survivors.length > 0 && first === undefined) {
    // Only static members, none of them back yet: wait on, their sessions decide.
    const rebalance = { deadline: context.now + rebalanceTimeout(group), initial: false, remainingMs: 0 };
    return { changes: [...gone, { kind: 'extended', rebalance }], answers };
  }
  const generation = group.generation === 0x7fff_ffff ? 1 : group.generation + 1;
  if (first === undefined) {
    const value = { ...groupValue(group, context, 'Empty', []), generation, protocolName: null, leader: null };
    return { changes: [{ kind: 'metadata', move: 'emptied', value }], answers };
  }
  const leads = group.leader !== null ? survivors.find((member) => member.value.id === group.leader) : undefined;
  const leader = leads !== undefined && leads.join !== null ? leads.value.id : first.value.id;
  // Static members keep their last assignment until the leader's new one is stored: a restart in between is a rebalance.
  const values = survivors.map((member) => ({ ...member.value, assignment: EMPTY_BYTES }));
  const protocolName = selectProtocol(values);
  const value = { ...groupValue(group, context, 'CompletingRebalance', values), generation, protocolName, leader };
  for (const { join: ticket, value: member } of survivors) {
    if (ticket === null) continue;
    const members = member.id === leader ? membersFor(values, protocolName) : [];
    const result = joined(value, member.id, leader, false, members);
    answers.push(() => ticket(result));
  }
  return { changes: [{ kind: 'metadata', move: 'joined', value }], answers };
}

/** The initial wait is over: once more if newcomers came and the rebalance timeout allows, else complete. */
export function initialWaitOver(group: Group, context: StepContext): Decision {
  const rebalance = group.rebalance;
  if (rebalance === null) return NOTHING;
  if (!rebalance.initial || !group.newcomers || rebalance.remainingMs === 0) return completeJoin(group, context);
  const wait = Math.min(context.options.initialRebalanceDelayMs, rebalance.remainingMs);
  const next = { deadline: context.now + wait, initial: true, remainingMs: rebalance.remainingMs - wait };
  return { changes: [{ kind: 'extended', rebalance: next }], answers: [] };
}
