import type { TxnPartition } from '../../transactions/step.ts';
import { addPartitionsToTxn } from '../../wire/kafka/api/24-add-partitions-to-txn.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import type { KafkaContext } from '../context.ts';
import { type ClientConnection, handler } from '../handler.ts';
import { fencingError } from '../transaction-errors.ts';

interface Transaction {
  readonly transactionalId: string;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly verifyOnly: boolean;
  readonly topics: readonly { readonly name: string; readonly partitions: readonly number[] }[];
}

/** One error code per partition, in order. A partition that is not there keeps the others out too. */
async function errorsOf(
  context: KafkaContext,
  connection: ClientConnection,
  transaction: Transaction,
  version: number,
): Promise<number[]> {
  const { transactionalId, producerId, producerEpoch, verifyOnly, topics } = transaction;
  const producer = { producerId, epoch: producerEpoch };
  const named = topics.flatMap(({ name, partitions }) => partitions.map((partition) => ({ topic: name, partition })));
  if (verifyOnly) {
    // KIP-890: v5 is the first whose clients know TRANSACTION_ABORTABLE.
    const absent = version >= 5 ? KAFKA_ERROR.TRANSACTION_ABORTABLE : KAFKA_ERROR.INVALID_TXN_STATE;
    return context.transactions.verify(transactionalId, producer, named, absent);
  }
  const known = named.map(({ topic: name, partition }): TxnPartition | number => {
    if (!connection.allows('write', 'topic', name)) return KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED;
    const topic = context.log.topic(name);
    const exists = topic?.partitions[partition] !== undefined && !topic.internal;
    return exists ? { topic: name, topicId: topic.id, partition } : KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION;
  });
  if (known.some((one) => typeof one === 'number')) {
    return known.map((one) => (typeof one === 'number' ? one : KAFKA_ERROR.OPERATION_NOT_ATTEMPTED));
  }
  const partitions = known.filter((one) => typeof one !== 'number');
  const error = await context.transactions.addPartitions(transactionalId, producer, partitions);
  return named.map(() => error);
}

async function resultsOf(
  context: KafkaContext,
  connection: ClientConnection,
  transaction: Transaction,
  version: number,
) {
  const errors = await errorsOf(context, connection, transaction, version);
  let at = 0;
  return transaction.topics.map(({ name, partitions }) => ({
    name,
    resultsByPartition: partitions.map((partitionIndex) => ({
      partitionIndex,
      partitionErrorCode: fencingError(context, errors[at++]!, version, 2),
    })),
  }));
}

export const addPartitionsToTxnHandler = handler({
  api: addPartitionsToTxn,
  async handle(context, request, version, connection) {
    if (version < 4) {
      const transaction = {
        transactionalId: request.v3AndBelowTransactionalId,
        producerId: request.v3AndBelowProducerId,
        producerEpoch: request.v3AndBelowProducerEpoch,
        verifyOnly: false,
        topics: request.v3AndBelowTopics,
      };
      return { resultsByTopicV3AndBelow: await resultsOf(context, connection, transaction, version) };
    }
    const resultsByTransaction = await Promise.all(
      request.transactions.map(async (transaction) => ({
        transactionalId: transaction.transactionalId,
        topicResults: await resultsOf(context, connection, transaction, version),
      })),
    );
    return { errorCode: KAFKA_ERROR.NONE, resultsByTransaction };
  },
});
