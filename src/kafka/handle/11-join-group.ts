import { joinError } from '../../groups/step.ts';
import { joinGroup } from '../../wire/kafka/api/11-join-group.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { untilClosed } from '../until-closed.ts';

export const joinGroupHandler = handler({
  api: joinGroup,
  deviations: [
    'A member whose own earlier protocols alone stand against its new ones is not refused with INCONSISTENT_GROUP_PROTOCOL.',
  ],
  async handle(context, request, version, connection) {
    const { sessionTimeoutMs, rebalanceTimeoutMs, groupInstanceId } = request;
    const joining = context.groups.join(request.groupId, {
      memberId: request.memberId,
      instanceId: groupInstanceId,
      clientId: connection.clientId ?? '',
      clientHost: `/${connection.remoteAddress}`,
      sessionTimeoutMs,
      // v0 has none.
      rebalanceTimeoutMs: rebalanceTimeoutMs > 0 ? rebalanceTimeoutMs : sessionTimeoutMs,
      protocolType: request.protocolType,
      protocols: request.protocols,
      requireKnownMemberId: version >= 4,
      canSkipAssignment: version >= 9,
    });
    const result = await untilClosed(connection, joining, () =>
      joinError(KAFKA_ERROR.COORDINATOR_NOT_AVAILABLE, request.memberId),
    );
    context.metrics.error(result.error);
    return {
      errorCode: result.error,
      generationId: result.generation,
      protocolType: result.protocolType,
      // Nullable from v7.
      protocolName: version >= 7 ? result.protocolName : (result.protocolName ?? ''),
      leader: result.leader,
      skipAssignment: result.skipAssignment,
      memberId: result.memberId,
      members: result.members.map(({ memberId, instanceId, metadata }) => ({
        memberId,
        groupInstanceId: instanceId,
        metadata,
      })),
    };
  },
});
