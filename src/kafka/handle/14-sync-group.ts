import { syncGroup } from '../../wire/kafka/api/14-sync-group.ts';
import { handler } from '../handler.ts';

export const syncGroupHandler = handler({
  api: syncGroup,
  async handle(context, request) {
    const result = await context.groups.sync(request.groupId, {
      generation: request.generationId,
      memberId: request.memberId,
      instanceId: request.groupInstanceId,
      protocolType: request.protocolType,
      protocolName: request.protocolName,
      assignments: request.assignments,
    });
    context.metrics.error(result.error);
    const { error, protocolType, protocolName, assignment } = result;
    return { errorCode: error, protocolType, protocolName, assignment };
  },
});
