/** Every API this broker serves: the one place where handlers are registered. */
import { produceHandler } from './handle/00-produce.ts';
import { fetchHandler } from './handle/01-fetch.ts';
import { listOffsetsHandler } from './handle/02-list-offsets.ts';
import { metadataHandler } from './handle/03-metadata.ts';
import { offsetCommitHandler } from './handle/08-offset-commit.ts';
import { offsetFetchHandler } from './handle/09-offset-fetch.ts';
import { findCoordinatorHandler } from './handle/10-find-coordinator.ts';
import { joinGroupHandler } from './handle/11-join-group.ts';
import { heartbeatHandler } from './handle/12-heartbeat.ts';
import { leaveGroupHandler } from './handle/13-leave-group.ts';
import { syncGroupHandler } from './handle/14-sync-group.ts';
import { describeGroupsHandler } from './handle/15-describe-groups.ts';
import { listGroupsHandler } from './handle/16-list-groups.ts';
import { saslHandshakeHandler } from './handle/17-sasl-handshake.ts';
import { apiVersionsHandler } from './handle/18-api-versions.ts';
import { createTopicsHandler } from './handle/19-create-topics.ts';
import { deleteTopicsHandler } from './handle/20-delete-topics.ts';
import { deleteRecordsHandler } from './handle/21-delete-records.ts';
import { initProducerIdHandler } from './handle/22-init-producer-id.ts';
import { offsetForLeaderEpochHandler } from './handle/23-offset-for-leader-epoch.ts';
import { addPartitionsToTxnHandler } from './handle/24-add-partitions-to-txn.ts';
import { addOffsetsToTxnHandler } from './handle/25-add-offsets-to-txn.ts';
import { endTxnHandler } from './handle/26-end-txn.ts';
import { txnOffsetCommitHandler } from './handle/28-txn-offset-commit.ts';
import { describeAclsHandler } from './handle/29-describe-acls.ts';
import { createAclsHandler } from './handle/30-create-acls.ts';
import { deleteAclsHandler } from './handle/31-delete-acls.ts';
import { describeConfigsHandler } from './handle/32-describe-configs.ts';
import { alterConfigsHandler } from './handle/33-alter-configs.ts';
import { describeLogDirsHandler } from './handle/35-describe-log-dirs.ts';
import { saslAuthenticateHandler } from './handle/36-sasl-authenticate.ts';
import { createPartitionsHandler } from './handle/37-create-partitions.ts';
import { deleteGroupsHandler } from './handle/42-delete-groups.ts';
import { incrementalAlterConfigsHandler } from './handle/44-incremental-alter-configs.ts';
import { listPartitionReassignmentsHandler } from './handle/46-list-partition-reassignments.ts';
import { offsetDeleteHandler } from './handle/47-offset-delete.ts';
import { describeClientQuotasHandler } from './handle/48-describe-client-quotas.ts';
import { alterClientQuotasHandler } from './handle/49-alter-client-quotas.ts';
import { describeClusterHandler } from './handle/60-describe-cluster.ts';
import { describeProducersHandler } from './handle/61-describe-producers.ts';
import { describeTransactionsHandler } from './handle/65-describe-transactions.ts';
import { listTransactionsHandler } from './handle/66-list-transactions.ts';
import { listConfigResourcesHandler } from './handle/74-list-config-resources.ts';
import { describeTopicPartitionsHandler } from './handle/75-describe-topic-partitions.ts';
import { HandlerTable } from './handler.ts';

export function createHandlers(): HandlerTable {
  const table: HandlerTable = new HandlerTable([
    produceHandler,
    fetchHandler,
    listOffsetsHandler,
    metadataHandler,
    saslHandshakeHandler,
    apiVersionsHandler(() => table.advertised()),
    createTopicsHandler,
    deleteTopicsHandler,
    deleteRecordsHandler,
    offsetForLeaderEpochHandler,
    describeAclsHandler,
    createAclsHandler,
    deleteAclsHandler,
    describeConfigsHandler,
    alterConfigsHandler,
    describeLogDirsHandler,
    saslAuthenticateHandler,
    createPartitionsHandler,
    incrementalAlterConfigsHandler,
    listPartitionReassignmentsHandler,
    describeClientQuotasHandler,
    alterClientQuotasHandler,
    describeClusterHandler,
    listConfigResourcesHandler,
    describeTopicPartitionsHandler,
    offsetCommitHandler,
    offsetFetchHandler,
    findCoordinatorHandler,
    joinGroupHandler,
    heartbeatHandler,
    leaveGroupHandler,
    syncGroupHandler,
    describeGroupsHandler,
    listGroupsHandler,
    initProducerIdHandler,
    addPartitionsToTxnHandler,
    addOffsetsToTxnHandler,
    endTxnHandler,
    txnOffsetCommitHandler,
    deleteGroupsHandler,
    offsetDeleteHandler,
    describeProducersHandler,
    describeTransactionsHandler,
    listTransactionsHandler,
  ]);
  return table;
}
