import { addOffsetsToTxn } from '../../wire/kafka/api/25-add-offsets-to-txn.ts';
import { handler } from '../handler.ts';
import { fencingError } from '../transaction-errors.ts';

export const addOffsetsToTxnHandler = handler({
  api: addOffsetsToTxn,
  async handle(context, { transactionalId, producerId, producerEpoch, groupId }, version) {
    const producer = { producerId, epoch: producerEpoch };
    const error = await context.transactions.addGroup(transactionalId, producer, groupId);
    return { errorCode: fencingError(context, error, version, 2) };
  },
});
