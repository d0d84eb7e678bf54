/** Every API this broker serves: the one place where handlers are registered. */

import { withConsumerQuota, withProducerQuota } from './client-quotas.ts';
import { groupHandlers } from './group-handlers.ts';
import { produceHandler } from './handle/00-produce.ts';
import { fetchHandler } from './handle/01-fetch.ts';
import { listOffsetsHandler } from './handle/02-list-offsets.ts';
import { metadataHandler } from './handle/03-metadata.ts';
import { saslHandshakeHandler } from './handle/17-sasl-handshake.ts';
import { apiVersionsHandler } from './handle/18-api-versions.ts';
import { createTopicsHandler } from './handle/19-create-topics.ts';
import { deleteTopicsHandler } from './handle/20-delete-topics.ts';
import { deleteRecordsHandler } from './handle/21-delete-records.ts';
import { offsetForLeaderEpochHandler } from './handle/23-offset-for-leader-epoch.ts';
import { describeAclsHandler } from './handle/29-describe-acls.ts';
import { createAclsHandler } from './handle/30-create-acls.ts';
import { deleteAclsHandler } from './handle/31-delete-acls.ts';
import { describeConfigsHandler } from './handle/32-describe-configs.ts';
import { alterConfigsHandler } from './handle/33-alter-configs.ts';
import { describeLogDirsHandler } from './handle/35-describe-log-dirs.ts';
import { saslAuthenticateHandler } from './handle/36-sasl-authenticate.ts';
import { createPartitionsHandler } from './handle/37-create-partitions.ts';
import { electLeadersHandler } from './handle/43-elect-leaders.ts';
import { incrementalAlterConfigsHandler } from './handle/44-incremental-alter-configs.ts';
import { alterPartitionReassignmentsHandler } from './handle/45-alter-partition-reassignments.ts';
import { listPartitionReassignmentsHandler } from './handle/46-list-partition-reassignments.ts';
import { describeClientQuotasHandler } from './handle/48-describe-client-quotas.ts';
import { alterClientQuotasHandler } from './handle/49-alter-client-quotas.ts';
import { describeUserScramCredentialsHandler } from './handle/50-describe-user-scram-credentials.ts';
import { alterUserScramCredentialsHandler } from './handle/51-alter-user-scram-credentials.ts';
import { describeClusterHandler } from './handle/60-describe-cluster.ts';
import { listConfigResourcesHandler } from './handle/74-list-config-resources.ts';
import { describeTopicPartitionsHandler } from './handle/75-describe-topic-partitions.ts';
import { fetchPairStateHandler } from './handle/20000-fetch-pair-state.ts';
import { HandlerTable } from './handler.ts';

export function createHandlers(): HandlerTable {
  const table: HandlerTable = new HandlerTable([
    withProducerQuota(produceHandler),
    withConsumerQuota(fetchHandler),
    listOffsetsHandler,
    metadataHandler,
    saslHandshakeHandler,
    apiVersionsHandler((inPair) => table.advertised(inPair)),
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
    electLeadersHandler,
    incrementalAlterConfigsHandler,
    alterPartitionReassignmentsHandler,
    listPartitionReassignmentsHandler,
    describeClientQuotasHandler,
    alterClientQuotasHandler,
    describeUserScramCredentialsHandler,
    alterUserScramCredentialsHandler,
    describeClusterHandler,
    listConfigResourcesHandler,
    describeTopicPartitionsHandler,
    ...groupHandlers,
    fetchPairStateHandler,
  ]);
  return table;
}
