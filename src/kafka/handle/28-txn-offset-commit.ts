import { txnOffsetCommit } from '../../wire/kafka/api/28-txn-offset-commit.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { commitResults, offsetsOf } from '../offsets.ts';

export const txnOffsetCommitHandler = handler({
  api: txnOffsetCommit,
  async handle(context, request) {
    const { transactionalId, groupId, producerId, producerEpoch, topics } = request;
    const producer = { producerId, epoch: producerEpoch };
    const refused =
      groupId === ''
        ? KAFKA_ERROR.INVALID_GROUP_ID
        : context.transactions.admitsGroup(transactionalId, producer, groupId);
    if (refused !== KAFKA_ERROR.NONE) return { topics: commitResults(context, topics, refused) };
    const member = {
      generation: request.generationId,
      memberId: request.memberId,
      instanceId: request.groupInstanceId,
    };
    const errors = await context.groups.offsets.commitPending(groupId, producerId, member, offsetsOf(topics));
    return { topics: commitResults(context, topics, errors) };
  },
});
