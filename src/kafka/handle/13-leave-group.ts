import { leaveGroup } from '../../wire/kafka/api/13-leave-group.ts';
import { handler } from '../handler.ts';

export const leaveGroupHandler = handler({
  api: leaveGroup,
  async handle(context, { groupId, memberId, members }, version) {
    const leavers =
      version < 3
        ? [{ memberId, instanceId: null }]
        : members.map((member) => ({ memberId: member.memberId, instanceId: member.groupInstanceId }));
    const { error, errors } = await context.groups.leave(groupId, leavers);
    // Before v3 there is one member, and its error is the answer's.
    const errorCode = error !== 0 || version >= 3 ? error : errors[0]!;
    for (const one of [error, ...errors]) context.metrics.error(one);
    return {
      errorCode,
      members: errors.map((one, i) => ({
        memberId: leavers[i]!.memberId,
        groupInstanceId: leavers[i]!.instanceId,
        errorCode: one,
      })),
    };
  },
});
