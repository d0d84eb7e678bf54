/** Whether a commit of offsets is admitted (OffsetCommit, TxnOffsetCommit): section 8 of the protocol facts. */
import { GROUP_ERROR } from './errors.ts';
import type { Group } from './group.ts';
import { checkMember } from './step.ts';

export interface CommitRequest {
  /** -1: not given. */
  readonly generation: number;
  readonly memberId: string;
  readonly instanceId: string | null;
}

/**
 * A group that is not there takes commits without a generation and is made by them. `fromVersion9`: OffsetCommit v9+
 * names the missing group, earlier ones say ILLEGAL_GENERATION.
 */
export function checkCommit(
  group: Group | undefined,
  request: CommitRequest,
  transactional: boolean,
  fromVersion9: boolean,
): number {
  const { generation, memberId, instanceId } = request;
  if (group === undefined) {
    if (generation < 0) return GROUP_ERROR.NONE;
    return fromVersion9 && !transactional ? GROUP_ERROR.GROUP_ID_NOT_FOUND : GROUP_ERROR.ILLEGAL_GENERATION;
  }
  if (group.state === 'Dead') return GROUP_ERROR.COORDINATOR_NOT_AVAILABLE;
  if (generation < 0 && group.state === 'Empty') return GROUP_ERROR.NONE;
  if (generation >= 0 || memberId !== '' || instanceId !== null) {
    const error = checkMember(group, memberId, instanceId);
    if (error !== GROUP_ERROR.NONE) return error;
    if (generation !== group.generation) return GROUP_ERROR.ILLEGAL_GENERATION;
  } else if (!transactional) {
    return GROUP_ERROR.UNKNOWN_MEMBER_ID;
  }
  return !transactional && group.state === 'CompletingRebalance' ? GROUP_ERROR.REBALANCE_IN_PROGRESS : GROUP_ERROR.NONE;
}
