import { offsetCommit } from '../../wire/kafka/api/08-offset-commit.ts';
import { handler } from '../handler.ts';
import { offsetsOf, perPartition } from '../offsets.ts';

export const offsetCommitHandler = handler({
  api: offsetCommit,
  deviations: [
    'commitTimestamp of v1 is ignored: retention counts from the time of the commit here.',
    'A commit that says what is stored already is written again only after ten minutes; retention waits as much longer.',
  ],
  async handle(context, request, version, connection) {
    const mayRead = (topic: string) => connection.allows('read', 'topic', topic);
    const topics = await perPartition(context, request.topics, mayRead, (allowed) =>
      context.groups.offsets.commit(request.groupId, {
        apiVersion: version,
        generation: request.generationIdOrMemberEpoch,
        memberId: request.memberId,
        instanceId: request.groupInstanceId,
        retentionMs: request.retentionTimeMs,
        offsets: offsetsOf(allowed),
      }),
    );
    return { topics };
  },
});
