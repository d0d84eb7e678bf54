import { initProducerId } from '../../wire/kafka/api/22-init-producer-id.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { fencingError } from '../transaction-errors.ts';

export const initProducerIdHandler = handler({
  api: initProducerId,
  async handle(context, { transactionalId, transactionTimeoutMs, producerId, producerEpoch }, version) {
    // KIP-360: both or neither.
    if ((producerId === -1) !== (producerEpoch === -1)) {
      context.metrics.error(KAFKA_ERROR.INVALID_REQUEST);
      return { errorCode: KAFKA_ERROR.INVALID_REQUEST, producerId: -1, producerEpoch: -1 };
    }
    const expected = producerId === -1 ? null : { producerId, epoch: producerEpoch };
    const result = await context.transactions.initProducerId(transactionalId, transactionTimeoutMs, expected);
    return {
      errorCode: fencingError(context, result.error, version, 4),
      producerId: result.producerId,
      producerEpoch: result.epoch,
    };
  },
});
