/** The handlers of groups and transactions behind their access rules. */

import {
  guarded,
  guardedEach,
  mayDeleteGroup,
  mayDescribeGroup,
  mayDescribeTransaction,
  mayReadGroup,
  mayUseTransaction,
} from './guards.ts';
import { offsetCommitHandler } from './handle/08-offset-commit.ts';
import { offsetFetchHandler } from './handle/09-offset-fetch.ts';
import { findCoordinatorHandler } from './handle/10-find-coordinator.ts';
import { joinGroupHandler } from './handle/11-join-group.ts';
import { heartbeatHandler } from './handle/12-heartbeat.ts';
import { leaveGroupHandler } from './handle/13-leave-group.ts';
import { syncGroupHandler } from './handle/14-sync-group.ts';
import { describeGroupsHandler } from './handle/15-describe-groups.ts';
import { listGroupsHandler } from './handle/16-list-groups.ts';
import { initProducerIdHandler } from './handle/22-init-producer-id.ts';
import { addPartitionsToTxnHandler } from './handle/24-add-partitions-to-txn.ts';
import { addOffsetsToTxnHandler } from './handle/25-add-offsets-to-txn.ts';
import { endTxnHandler } from './handle/26-end-txn.ts';
import { txnOffsetCommitHandler } from './handle/28-txn-offset-commit.ts';
import { deleteGroupsHandler } from './handle/42-delete-groups.ts';
import { offsetDeleteHandler } from './handle/47-offset-delete.ts';
import { describeProducersHandler } from './handle/61-describe-producers.ts';
import { describeTransactionsHandler } from './handle/65-describe-transactions.ts';
import { listTransactionsHandler } from './handle/66-list-transactions.ts';
import { NO_RESPONSE } from './handler.ts';

interface CommitTopics {
  readonly topics: readonly {
    readonly name: string;
    readonly partitions: readonly { readonly partitionIndex: number }[];
  }[];
}

const refusedTopics = (errorCode: number, { topics }: CommitTopics) => ({
  topics: topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partitionIndex }) => ({ partitionIndex, errorCode })),
  })),
});

const TRANSACTIONS = 1;

/** Version 4 and later carry a list; before, the one key is its own. */
const findCoordinator = guardedEach(findCoordinatorHandler, {
  anywhere: true,
  items: ({ key, coordinatorKeys }, version) => (version >= 4 ? coordinatorKeys : [key]),
  check: (connection, key, { keyType }) =>
    keyType === TRANSACTIONS ? mayDescribeTransaction(connection, key) : mayDescribeGroup(connection, key),
  keep: (request, coordinatorKeys) => ({ ...request, coordinatorKeys }),
  add: (answer, refused) => {
    const { code } = refused[0]!;
    const nowhere = { nodeId: -1, host: '', port: -1 };
    if (answer.coordinators === undefined) return { ...nowhere, errorCode: code };
    const more = refused.map(({ item, code: errorCode }) => ({ key: item, ...nowhere, errorCode }));
    return { coordinators: [...answer.coordinators, ...more] };
  },
});

const offsetFetch = guardedEach(offsetFetchHandler, {
  items: ({ groupId, groups }, version) =>
    version >= 8 ? groups : [{ groupId, topics: null, memberId: null, memberEpoch: -1 }],
  check: (connection, { groupId }) => mayDescribeGroup(connection, groupId),
  // Before version 8 there is one group: without it nothing is asked.
  keep: (request, groups) => ({ ...request, groups, topics: [] }),
  add: (answer, refused) => {
    if (answer.groups === undefined) return { topics: [], errorCode: refused[0]!.code };
    const more = refused.map(({ item, code }) => ({ groupId: item.groupId, topics: [], errorCode: code }));
    return { groups: [...answer.groups, ...more] };
  },
});

const describeGroups = guardedEach(describeGroupsHandler, {
  items: ({ groups }) => groups,
  check: mayDescribeGroup,
  keep: (request, groups) => ({ ...request, groups }),
  add: (answer, refused) => ({
    groups: [
      ...answer.groups,
      ...refused.map(({ item, code }) => ({
        errorCode: code,
        groupId: item,
        groupState: '',
        protocolType: '',
        protocolData: '',
        members: [],
      })),
    ],
  }),
});

const deleteGroups = guardedEach(deleteGroupsHandler, {
  items: ({ groupsNames }) => groupsNames,
  check: mayDeleteGroup,
  keep: (request, groupsNames) => ({ ...request, groupsNames }),
  add: ({ results }, refused) => ({
    results: [...results, ...refused.map(({ item, code }) => ({ groupId: item, errorCode: code }))],
  }),
});

const describeTransactions = guardedEach(describeTransactionsHandler, {
  items: ({ transactionalIds }) => transactionalIds,
  check: mayDescribeTransaction,
  keep: (request, transactionalIds) => ({ ...request, transactionalIds }),
  add: ({ transactionStates }, refused) => ({
    transactionStates: [
      ...transactionStates,
      ...refused.map(({ item, code }) => ({
        errorCode: code,
        transactionalId: item,
        transactionState: '',
        transactionTimeoutMs: 0,
        transactionStartTimeMs: 0,
        producerId: 0,
        producerEpoch: 0,
        topics: [],
      })),
    ],
  }),
});

const addPartitionsToTxn = guarded(
  addPartitionsToTxnHandler,
  (connection, { v3AndBelowTransactionalId, transactions }) => {
    const ids =
      transactions.length === 0 ? [v3AndBelowTransactionalId] : transactions.map((one) => one.transactionalId);
    return ids.map((id) => mayUseTransaction(connection, id)).find((code) => code !== 0) ?? 0;
  },
  (code, { v3AndBelowTopics, transactions }) => {
    const refuse = (topics: typeof v3AndBelowTopics) =>
      topics.map(({ name, partitions }) => ({
        name,
        resultsByPartition: partitions.map((partitionIndex) => ({ partitionIndex, partitionErrorCode: code })),
      }));
    return {
      resultsByTopicV3AndBelow: refuse(v3AndBelowTopics),
      resultsByTransaction: transactions.map(({ transactionalId, topics }) => ({
        transactionalId,
        topicResults: refuse(topics),
      })),
    };
  },
);

/** What may not be described is left out of lists. */
const listGroups: typeof listGroupsHandler = {
  ...listGroupsHandler,
  async handle(context, request, version, connection) {
    const answer = await listGroupsHandler.handle(context, request, version, connection);
    if (answer === NO_RESPONSE) return answer;
    return { ...answer, groups: answer.groups.filter(({ groupId }) => mayDescribeGroup(connection, groupId) === 0) };
  },
};

const listTransactions: typeof listTransactionsHandler = {
  ...listTransactionsHandler,
  async handle(context, request, version, connection) {
    const answer = await listTransactionsHandler.handle(context, request, version, connection);
    if (answer === NO_RESPONSE) return answer;
    const transactionStates = answer.transactionStates.filter(
      ({ transactionalId }) => mayDescribeTransaction(connection, transactionalId) === 0,
    );
    return { ...answer, transactionStates };
  },
};

export const groupHandlers = [
  guarded(offsetCommitHandler, (connection, { groupId }) => mayReadGroup(connection, groupId), refusedTopics),
  offsetFetch,
  findCoordinator,
  guarded(
    joinGroupHandler,
    (connection, { groupId }) => mayReadGroup(connection, groupId),
    (errorCode, { memberId }) => ({
      errorCode,
      generationId: -1,
      protocolName: '',
      leader: '',
      memberId,
      members: [],
    }),
  ),
  guarded(
    heartbeatHandler,
    (connection, { groupId }) => mayReadGroup(connection, groupId),
    (errorCode) => ({ errorCode }),
  ),
  guarded(
    leaveGroupHandler,
    (connection, { groupId }) => mayReadGroup(connection, groupId),
    (errorCode) => ({ errorCode, members: [] }),
  ),
  guarded(
    syncGroupHandler,
    (connection, { groupId }) => mayReadGroup(connection, groupId),
    (errorCode) => ({ errorCode, assignment: new Uint8Array(0) }),
  ),
  describeGroups,
  listGroups,
  guarded(
    initProducerIdHandler,
    (connection, { transactionalId }) => mayUseTransaction(connection, transactionalId),
    (errorCode) => ({ errorCode, producerId: -1, producerEpoch: -1 }),
  ),
  addPartitionsToTxn,
  guarded(
    addOffsetsToTxnHandler,
    (connection, { transactionalId, groupId }) =>
      mayUseTransaction(connection, transactionalId) || mayReadGroup(connection, groupId),
    (errorCode) => ({ errorCode }),
  ),
  guarded(
    endTxnHandler,
    (connection, { transactionalId }) => mayUseTransaction(connection, transactionalId),
    (errorCode) => ({ errorCode }),
  ),
  guarded(
    txnOffsetCommitHandler,
    (connection, { transactionalId, groupId }) =>
      mayUseTransaction(connection, transactionalId) || mayReadGroup(connection, groupId),
    refusedTopics,
  ),
  deleteGroups,
  guarded(
    offsetDeleteHandler,
    (connection, { groupId }) => mayDeleteGroup(connection, groupId),
    (errorCode) => ({ errorCode, topics: [] }),
  ),
  describeProducersHandler,
  describeTransactions,
  listTransactions,
];
