import { syncError } from '../../groups/step.ts';
import { syncGroup } from '../../wire/kafka/api/14-sync-group.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { untilClosed } from '../until-closed.ts';

export const syncGroupHandler = handler({
  api: syncGroup,
  async handle(context, request, _version, connection) {
    const syncing = context.groups.sync(request.groupId, {
      generation: request.generationId,
      memberId: request.memberId,
      instanceId: request.groupInstanceId,
      protocolType: request.protocolType,
      protocolName: request.protocolName,
      assignments: request.assignments,
    });
    const result = await untilClosed(connection, syncing, () => syncError(KAFKA_ERROR.COORDINATOR_NOT_AVAILABLE));
    context.metrics.error(result.error);
    const { error, protocolType, protocolName, assignment } = result;
    return { errorCode: error, protocolType, protocolName, assignment };
  },
});
