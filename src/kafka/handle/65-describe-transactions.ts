import type { TxnPartition } from '../../transactions/step.ts';
import { describeTransactions } from '../../wire/kafka/api/65-describe-transactions.ts';
import { handler } from '../handler.ts';

function byTopic(partitions: readonly TxnPartition[]) {
  const topics = new Map<string, number[]>();
  for (const { topic, partition } of partitions) {
    const indexes = topics.get(topic);
    if (indexes === undefined) topics.set(topic, [partition]);
    else indexes.push(partition);
  }
  return [...topics].map(([topic, indexes]) => ({ topic, partitions: indexes }));
}

export const describeTransactionsHandler = handler({
  api: describeTransactions,
  handle(context, { transactionalIds }) {
    return {
      transactionStates: transactionalIds.map((transactionalId) => {
        const { error, value } = context.transactions.describe(transactionalId);
        context.metrics.error(error);
        return {
          errorCode: error,
          transactionalId,
          transactionState: value?.state ?? '',
          transactionTimeoutMs: value?.timeoutMs ?? 0,
          transactionStartTimeMs: value?.startedAt ?? 0,
          producerId: value?.producerId ?? 0,
          producerEpoch: value?.epoch ?? 0,
          topics: byTopic(value?.partitions ?? []),
        };
      }),
    };
  },
});
