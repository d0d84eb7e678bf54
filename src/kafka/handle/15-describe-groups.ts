import { describeGroups } from '../../wire/kafka/api/15-describe-groups.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

export const describeGroupsHandler = handler({
  api: describeGroups,
  handle(context, { groups }, version) {
    return {
      groups: groups.map((groupId) => {
        const { error, state, protocolType, protocolName, members } = context.groups.describe(groupId);
        const isMissing = error === KAFKA_ERROR.GROUP_ID_NOT_FOUND;
        // KIP-1043: before v6 a group that is not there is Dead, and no error.
        const errorCode = isMissing && version < 6 ? KAFKA_ERROR.NONE : error;
        context.metrics.error(errorCode);
        return {
          errorCode,
          errorMessage: isMissing ? `Group ${groupId} not found.` : null,
          groupId,
          groupState: state,
          protocolType,
          protocolData: protocolName,
          members: members.map((member) => ({
            memberId: member.memberId,
            groupInstanceId: member.instanceId,
            clientId: member.clientId,
            clientHost: member.clientHost,
            memberMetadata: member.metadata,
            memberAssignment: member.assignment,
          })),
        };
      }),
    };
  },
});
