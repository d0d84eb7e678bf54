import type { Partition } from '../../log/types.ts';
import { describeProducers } from '../../wire/kafka/api/61-describe-producers.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

function activeProducers(partition: Partition) {
  return partition.activeProducers().map((producer) => ({
    producerId: producer.producerId,
    producerEpoch: producer.producerEpoch,
    lastSequence: producer.lastSequence,
    lastTimestamp: producer.lastTimestamp,
    coordinatorEpoch: producer.transactionStartOffset >= 0 ? 0 : -1,
    currentTxnStartOffset: producer.transactionStartOffset,
  }));
}

export const describeProducersHandler = handler({
  api: describeProducers,
  handle(context, request, _version, connection) {
    return {
      topics: request.topics.map(({ name, partitionIndexes }) => ({
        name,
        partitions: partitionIndexes.map((partitionIndex) => {
          const partition = context.log.topic(name)?.partitions[partitionIndex];
          const allowed = connection.allows('read', 'topic', name);
          const missing = partition === undefined ? KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION : KAFKA_ERROR.NONE;
          const errorCode = allowed ? missing : KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED;
          context.metrics.error(errorCode);
          const producers = partition === undefined || !allowed ? [] : activeProducers(partition);
          return { partitionIndex, errorCode, activeProducers: producers };
        }),
      })),
    };
  },
});
