import { offsetCommit } from '../../wire/kafka/api/08-offset-commit.ts';
import { handler } from '../handler.ts';
import { commitResults, offsetsOf } from '../offsets.ts';

export const offsetCommitHandler = handler({
  api: offsetCommit,
  deviations: ['commitTimestamp of v1 is ignored: retention counts from the time of the commit here.'],
  async handle(context, request, version) {
    const errors = await context.groups.offsets.commit(request.groupId, {
      apiVersion: version,
      generation: request.generationIdOrMemberEpoch,
      memberId: request.memberId,
      instanceId: request.groupInstanceId,
      retentionMs: request.retentionTimeMs,
      offsets: offsetsOf(request.topics),
    });
    return { topics: commitResults(context, request.topics, errors) };
  },
});
