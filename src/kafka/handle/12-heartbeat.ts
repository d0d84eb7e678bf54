import { heartbeat } from '../../wire/kafka/api/12-heartbeat.ts';
import { handler } from '../handler.ts';

export const heartbeatHandler = handler({
  api: heartbeat,
  async handle(context, { groupId, generationId, memberId, groupInstanceId }) {
    const errorCode = await context.groups.heartbeat(groupId, {
      generation: generationId,
      memberId,
      instanceId: groupInstanceId,
    });
    context.metrics.error(errorCode);
    return { errorCode };
  },
});
