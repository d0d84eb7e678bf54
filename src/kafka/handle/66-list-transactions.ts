import { listTransactions } from '../../wire/kafka/api/66-list-transactions.ts';
import { handler } from '../handler.ts';

export const listTransactionsHandler = handler({
  api: listTransactions,
  deviations: ['Patterns (v2) take at most two repetitions and none of a group: what RE2 allows beyond is refused.'],
  handle(context, { stateFilters, producerIdFilters, durationFilter, transactionalIdPattern }) {
    const { error, unknownStates, transactions } = context.transactions.list({
      states: stateFilters,
      producerIds: producerIdFilters,
      longerThanMs: durationFilter,
      pattern: transactionalIdPattern,
    });
    context.metrics.error(error);
    return {
      errorCode: error,
      unknownStateFilters: unknownStates,
      transactionStates: transactions.map(({ transactionalId, producerId, state }) => ({
        transactionalId,
        producerId,
        transactionState: state,
      })),
    };
  },
});
