/**
 * What every step knows and gives back. A step only reads the group; it decides changes (persisted if durable, then
 * applied), answers (sent after that), and nothing else. Time enters as two numbers, new member ids through a function.
 */
import type { Change } from './apply.ts';
import { GROUP_ERROR } from './errors.ts';
import {
  EMPTY_BYTES,
  type Group,
  type GroupValue,
  type JoinResult,
  type Member,
  type MemberValue,
  rebalanceTimeout,
  type SyncResult,
} from './group.ts';

export interface GroupOptions {
  /** `group.initial.rebalance.delay.ms`: the first join of an empty group waits this long for others. */
  readonly initialRebalanceDelayMs: number;
  /** `group.min.session.timeout.ms`, `group.max.session.timeout.ms`. */
  readonly minSessionTimeoutMs: number;
  readonly maxSessionTimeoutMs: number;
  /** `group.max.size`. */
  readonly membersMax: number;
  /** What members and their metadata may take per group. */
  readonly metadataMaxBytes: number;
}

export interface StepContext {
  /** Monotonic milliseconds. */
  readonly now: number;
  /** Milliseconds since 1970, or -1 when the clock is not to be trusted (DESIGN 8). */
  readonly wall: number;
  readonly options: GroupOptions;
  /** `prefix` and a random UUID. */
  newMemberId(prefix: string): string;
}

export interface Decision {
  readonly changes: readonly Change[];
  /** Run after the changes are applied; each calls one ticket. */
  readonly answers: readonly (() => void)[];
  /** Run instead when the changes could not be stored: nothing of the decision has happened then. */
  readonly refusals?: readonly (() => void)[];
}

export const NOTHING: Decision = { changes: [], answers: [] };

/** A member that never completed its first rebalance is given up after this, whatever its session timeout (KAFKA-7610). */
export const NEW_MEMBER_JOIN_TIMEOUT_MS = 300_000;

export function joinError(error: number, memberId: string): JoinResult {
  return {
    error,
    generation: -1,
    protocolType: null,
    protocolName: null,
    leader: '',
    memberId,
    skipAssignment: false,
    members: [],
  };
}

export function syncError(error: number): SyncResult {
  return { error, protocolType: null, protocolName: null, assignment: EMPTY_BYTES };
}

/** KIP-345: whether (memberId, instanceId) names a member of the group as it is now. 0 when it does. */
export function checkMember(group: Group, memberId: string, instanceId: string | null): number {
  if (instanceId !== null) {
    const holder = group.instances.get(instanceId);
    if (holder === undefined) return GROUP_ERROR.UNKNOWN_MEMBER_ID;
    if (holder !== memberId) return GROUP_ERROR.FENCED_INSTANCE_ID;
  }
  return group.members.has(memberId) ? GROUP_ERROR.NONE : GROUP_ERROR.UNKNOWN_MEMBER_ID;
}

/** Answers whatever of `member` is parked here with `error`: it was removed, or another took its place. */
export function release(member: Member, error: number): (() => void)[] {
  const { join, sync, value } = member;
  const answers: (() => void)[] = [];
  if (join !== null) answers.push(() => join(joinError(error, value.id)));
  if (sync !== null) answers.push(() => sync(syncError(error)));
  return answers;
}

/**
 * Asks everybody to join again, unless that is going on. `extraTimeoutMs` is the rebalance timeout of a member that the
 * same decision adds.
 */
export function startRebalance(group: Group, context: StepContext, extraTimeoutMs = 0): Decision {
  if (group.state === 'PreparingRebalance' || group.state === 'Dead') return NOTHING;
  const timeout = Math.max(rebalanceTimeout(group), extraTimeoutMs);
  const answers: (() => void)[] = [];
  for (const { sync } of group.members.values()) {
    if (sync !== null) answers.push(() => sync(syncError(GROUP_ERROR.REBALANCE_IN_PROGRESS)));
  }
  const delay = context.options.initialRebalanceDelayMs;
  const initial = group.state === 'Empty' && delay > 0;
  const wait = initial ? delay : timeout;
  const rebalance = {
    deadline: context.now + wait,
    initial,
    remainingMs: initial ? Math.max(timeout - delay, 0) : 0,
  };
  return { changes: [{ kind: 'rebalance', rebalance }], answers };
}

export function groupValue(
  group: Group,
  context: StepContext,
  state: GroupValue['state'],
  members: readonly MemberValue[],
): GroupValue {
  return {
    state,
    stateAt: context.wall,
    generation: group.generation,
    protocolType: group.protocolType,
    protocolName: group.protocolName,
    leader: group.leader,
    members,
  };
}

export function together(...decisions: readonly Decision[]): Decision {
  return {
    changes: decisions.flatMap(({ changes }) => changes),
    answers: decisions.flatMap(({ answers }) => answers),
    refusals: decisions.flatMap(({ refusals }) => refusals ?? []),
  };
}
