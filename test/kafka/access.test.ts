import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ANONYMOUS, parseAcl } from '../../src/security/acl.ts';
import { produce } from '../../src/wire/kafka/api/00-produce.ts';
import { fetch } from '../../src/wire/kafka/api/01-fetch.ts';
import { listOffsets } from '../../src/wire/kafka/api/02-list-offsets.ts';
import { metadata } from '../../src/wire/kafka/api/03-metadata.ts';
import { offsetCommit } from '../../src/wire/kafka/api/08-offset-commit.ts';
import { offsetFetch } from '../../src/wire/kafka/api/09-offset-fetch.ts';
import { findCoordinator } from '../../src/wire/kafka/api/10-find-coordinator.ts';
import { joinGroup } from '../../src/wire/kafka/api/11-join-group.ts';
import { describeGroups } from '../../src/wire/kafka/api/15-describe-groups.ts';
import { createTopics } from '../../src/wire/kafka/api/19-create-topics.ts';
import { deleteTopics } from '../../src/wire/kafka/api/20-delete-topics.ts';
import { deleteRecords } from '../../src/wire/kafka/api/21-delete-records.ts';
import { initProducerId } from '../../src/wire/kafka/api/22-init-producer-id.ts';
import { offsetForLeaderEpoch } from '../../src/wire/kafka/api/23-offset-for-leader-epoch.ts';
import { describeConfigs } from '../../src/wire/kafka/api/32-describe-configs.ts';
import { describeLogDirs } from '../../src/wire/kafka/api/35-describe-log-dirs.ts';
import { createPartitions } from '../../src/wire/kafka/api/37-create-partitions.ts';
import { deleteGroups } from '../../src/wire/kafka/api/42-delete-groups.ts';
import { incrementalAlterConfigs } from '../../src/wire/kafka/api/44-incremental-alter-configs.ts';
import { describeTopicPartitions } from '../../src/wire/kafka/api/75-describe-topic-partitions.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import { batchOf, fetching, producing } from './requests.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

const { TOPIC_AUTHORIZATION_FAILED, GROUP_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED } = KAFKA_ERROR;

let started: StartedEdge;
let client: RawClient;

async function startWith(rules: string): Promise<void> {
  const acl = parseAcl(`user ${ANONYMOUS}\n${rules}`, 'acl');
  started = await startEdge(
    {},
    {
      access: {
        allowsKafka: (user, operation, resource, name) => acl.allowsKafka(user ?? ANONYMOUS, operation, resource, name),
      },
    },
  );
  client = await RawClient.connect(started.port);
  await started.log.createTopic({ name: 't', partitions: 1, config: new Map() });
  await started.log.createTopic({ name: 'open', partitions: 1, config: new Map() });
}

afterEach(async () => {
  client.close();
  await started.edge.stop();
});

describe('without a rule nothing is allowed', () => {
  beforeEach(() => startWith('  topic all open\n  group all open\n'));

  test('Produce and Fetch', async () => {
    const stored = await client.request(produce, 9, producing(batchOf('a')));
    expect(stored.responses[0]!.partitionResponses[0]!.errorCode).toBe(TOPIC_AUTHORIZATION_FAILED);
    expect(started.log.topic('t')!.partitions[0]!.logEndOffset).toBe(0);
    const read = await client.request(fetch, 11, fetching(0, 60_000));
    expect(read.responses[0]!.partitions[0]!.errorCode).toBe(TOPIC_AUTHORIZATION_FAILED);
  });

  test('Metadata shows what may be described and creates nothing', async () => {
    expect((await client.request(metadata, 9, { topics: null })).topics.map(({ name }) => name)).toEqual(['open']);
    const named = await client.request(metadata, 9, { topics: [{ name: 't' }, { name: 'new' }] });
    expect(named.topics.map(({ errorCode }) => errorCode)).toEqual([29, 29]);
    expect(started.log.topic('new')).toBeUndefined();
  });

  test('offsets and epochs', async () => {
    const offsets = await client.request(listOffsets, 5, {
      replicaId: -1,
      topics: [{ name: 't', partitions: [{ partitionIndex: 0, timestamp: -1 }] }],
    });
    expect(offsets.topics[0]!.partitions[0]).toMatchObject({ errorCode: TOPIC_AUTHORIZATION_FAILED, offset: -1 });
    const epochs = await client.request(offsetForLeaderEpoch, 3, {
      topics: [{ topic: 't', partitions: [{ partition: 0, leaderEpoch: 3 }] }],
    });
    expect(epochs.topics[0]!.partitions[0]).toMatchObject({ errorCode: TOPIC_AUTHORIZATION_FAILED, endOffset: -1 });
  });

  test('topics are not made, grown, emptied, changed, described or deleted', async () => {
    const topic = { name: 'x', numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] };
    const made = await client.request(createTopics, 5, { topics: [topic] });
    const grown = await client.request(createPartitions, 1, {
      topics: [{ name: 't', count: 2, assignments: null }],
      timeoutMs: 1,
      validateOnly: false,
    });
    const emptied = await client.request(deleteRecords, 1, {
      topics: [{ name: 't', partitions: [{ partitionIndex: 0, offset: -1 }] }],
      timeoutMs: 1,
    });
    const resource = { resourceType: 2, resourceName: 't' };
    const changed = await client.request(incrementalAlterConfigs, 1, {
      resources: [{ ...resource, configs: [{ name: 'retention.ms', configOperation: 0, value: '1' }] }],
      validateOnly: false,
    });
    const described = await client.request(describeConfigs, 1, {
      resources: [{ ...resource, configurationKeys: null }],
    });
    const partitions = await client.request(describeTopicPartitions, 0, { topics: [{ name: 't' }] });
    const deleted = await client.request(deleteTopics, 3, { topicNames: ['t'], timeoutMs: 1 });
    expect([
      made.topics[0]!.errorCode,
      grown.results[0]!.errorCode,
      emptied.topics[0]!.partitions[0]!.errorCode,
      changed.responses[0]!.errorCode,
      described.results[0]!.errorCode,
      partitions.topics[0]!.errorCode,
      deleted.responses[0]!.errorCode,
    ]).toEqual(new Array(7).fill(TOPIC_AUTHORIZATION_FAILED));
    expect(started.log.topic('t')!.partitions).toHaveLength(1);
  });

  test('the cluster', async () => {
    expect((await client.request(describeLogDirs, 3, { topics: null })).errorCode).toBe(CLUSTER_AUTHORIZATION_FAILED);
    const broker = await client.request(describeConfigs, 1, {
      resources: [{ resourceType: 4, resourceName: '1', configurationKeys: null }],
    });
    expect(broker.results[0]!.errorCode).toBe(CLUSTER_AUTHORIZATION_FAILED);
  });

  test('groups, one by one where a request names several', async () => {
    const joined = await client.request(joinGroup, 5, {
      groupId: 'g',
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 10_000,
      memberId: '',
      protocolType: 'consumer',
      protocols: [],
    });
    const committed = await client.request(offsetCommit, 7, {
      groupId: 'g',
      memberId: '',
      topics: [{ name: 'open', partitions: [{ partitionIndex: 0, committedOffset: 1, committedMetadata: null }] }],
    });
    expect([joined.errorCode, committed.topics[0]!.partitions[0]!.errorCode]).toEqual([30, 30]);
    expect((await client.request(offsetFetch, 5, { groupId: 'g', topics: null })).errorCode).toBe(30);
    const several = await client.request(offsetFetch, 8, {
      groups: ['open', 'g'].map((groupId) => ({ groupId, topics: null })),
    });
    expect(several.groups).toMatchObject([
      { groupId: 'open', errorCode: 0 },
      { groupId: 'g', errorCode: GROUP_AUTHORIZATION_FAILED },
    ]);
    expect((await client.request(findCoordinator, 3, { key: 'g', keyType: 0 })).errorCode).toBe(30);
    const found = await client.request(findCoordinator, 4, { keyType: 0, coordinatorKeys: ['open', 'g'] });
    expect(found.coordinators.map(({ key, errorCode }) => [key, errorCode])).toEqual([
      ['open', 0],
      ['g', 30],
    ]);
    const described = await client.request(describeGroups, 5, {
      groups: ['g', 'open'],
      includeAuthorizedOperations: false,
    });
    expect(described.groups.map(({ groupId, errorCode }) => [groupId, errorCode])).toEqual([
      ['open', 0],
      ['g', 30],
    ]);
    const deleted = await client.request(deleteGroups, 1, { groupsNames: ['g'] });
    expect(deleted.results[0]!.errorCode).toBe(30);
  });

  test('transactions; an idempotent producer needs no rule', async () => {
    const init = async (transactionalId: string | null) =>
      (await client.request(initProducerId, 3, { transactionalId, transactionTimeoutMs: 1_000 })).errorCode;
    expect(await init('tx')).toBe(KAFKA_ERROR.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    expect(await init(null)).toBe(0);
  });
});

test('reading does not allow writing', async () => {
  await startWith('  topic read t\n');
  const stored = await client.request(produce, 9, producing(batchOf('a')));
  expect(stored.responses[0]!.partitionResponses[0]!.errorCode).toBe(TOPIC_AUTHORIZATION_FAILED);
  const read = await client.request(fetch, 11, fetching(0));
  expect(read.responses[0]!.partitions[0]!.errorCode).toBe(0);
});

test('a rule for the cluster lets topics be created, also automatically', async () => {
  await startWith('  cluster create\n  topic describe new\n');
  expect((await client.request(metadata, 9, { topics: [{ name: 'new' }] })).topics[0]!.errorCode).toBe(0);
});
