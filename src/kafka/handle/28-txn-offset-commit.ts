import { txnOffsetCommit } from '../../wire/kafka/api/28-txn-offset-commit.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { offsetsOf, perPartition } from '../offsets.ts';

export const txnOffsetCommitHandler = handler({
  api: txnOffsetCommit,
  async handle(context, request, _version, connection) {
    const { transactionalId, groupId, producerId, producerEpoch } = request;
    const producer = { producerId, epoch: producerEpoch };
    const member = {
      generation: request.generationId,
      memberId: request.memberId,
      instanceId: request.groupInstanceId,
    };
    const mayRead = (topic: string) => connection.allows('read', 'topic', topic);
    const topics = await perPartition(context, request.topics, mayRead, async (allowed) => {
      if (groupId === '') return KAFKA_ERROR.INVALID_GROUP_ID;
      const refused = context.transactions.admitsGroup(transactionalId, producer, groupId);
      if (refused !== KAFKA_ERROR.NONE) return refused;
      return context.groups.offsets.commitPending(groupId, producerId, member, offsetsOf(allowed));
    });
    return { topics };
  },
});
