import { endTxn } from '../../wire/kafka/api/26-end-txn.ts';
import { handler } from '../handler.ts';
import { fencingError } from '../transaction-errors.ts';

export const endTxnHandler = handler({
  api: endTxn,
  async handle(context, { transactionalId, producerId, producerEpoch, committed }, version) {
    const producer = { producerId, epoch: producerEpoch };
    const error = await context.transactions.end(transactionalId, producer, committed);
    return { errorCode: fencingError(context, error, version, 2) };
  },
});
