import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { produce } from '../../src/wire/kafka/api/00-produce.ts';
import { listOffsets } from '../../src/wire/kafka/api/02-list-offsets.ts';
import { metadata } from '../../src/wire/kafka/api/03-metadata.ts';
import { createTopics } from '../../src/wire/kafka/api/19-create-topics.ts';
import { deleteTopics } from '../../src/wire/kafka/api/20-delete-topics.ts';
import { deleteRecords } from '../../src/wire/kafka/api/21-delete-records.ts';
import { offsetForLeaderEpoch } from '../../src/wire/kafka/api/23-offset-for-leader-epoch.ts';
import { describeAcls } from '../../src/wire/kafka/api/29-describe-acls.ts';
import { describeConfigs } from '../../src/wire/kafka/api/32-describe-configs.ts';
import { alterConfigs } from '../../src/wire/kafka/api/33-alter-configs.ts';
import { describeLogDirs } from '../../src/wire/kafka/api/35-describe-log-dirs.ts';
import { createPartitions } from '../../src/wire/kafka/api/37-create-partitions.ts';
import { electLeaders } from '../../src/wire/kafka/api/43-elect-leaders.ts';
import { incrementalAlterConfigs } from '../../src/wire/kafka/api/44-incremental-alter-configs.ts';
import { alterPartitionReassignments } from '../../src/wire/kafka/api/45-alter-partition-reassignments.ts';
import { describeCluster } from '../../src/wire/kafka/api/60-describe-cluster.ts';
import { listConfigResources } from '../../src/wire/kafka/api/74-list-config-resources.ts';
import { describeTopicPartitions } from '../../src/wire/kafka/api/75-describe-topic-partitions.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import type { RequestInput, ResponseOf } from '../../src/wire/kafka/schema.ts';
import { batchOf, producing } from './requests.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

let started: StartedEdge;
let client: RawClient;

beforeEach(async () => {
  started = await startEdge();
  client = await RawClient.connect(started.port);
});

afterEach(async () => {
  client.close();
  await started.edge.stop();
});

const topic = (name: string, more: object = {}) => ({
  name,
  numPartitions: 1,
  replicationFactor: 1,
  assignments: [],
  configs: [],
  ...more,
});

const create = async (...topics: ReturnType<typeof topic>[]) =>
  (await client.request(createTopics, 7, { topics })).topics;

describe('CreateTopics', () => {
  test('creates with partitions and settings and shows them', async () => {
    const [created] = await create(
      topic('a', { numPartitions: 3, configs: [{ name: 'retention.ms', value: '5000' }] }),
    );
    expect(created).toMatchObject({ errorCode: 0, numPartitions: 3, replicationFactor: 1 });
    expect(created!.topicId).toBe(started.log.topic('a')!.id);
    expect(created!.configs).toContainEqual({
      name: 'retention.ms',
      value: '5000',
      readOnly: false,
      configSource: 1,
      isSensitive: false,
    });
  });

  const refusals: [string, object, number][] = [
    ['a replication factor above 1', { replicationFactor: 3 }, KAFKA_ERROR.INVALID_REPLICATION_FACTOR],
    ['a replication factor of 0', { replicationFactor: 0 }, KAFKA_ERROR.INVALID_REPLICATION_FACTOR],
    ['no partitions', { numPartitions: 0 }, KAFKA_ERROR.INVALID_PARTITIONS],
    ['a name Kafka does not allow', { name: 'a b' }, KAFKA_ERROR.INVALID_TOPIC_EXCEPTION],
    ['an unknown setting', { configs: [{ name: 'x', value: '1' }] }, KAFKA_ERROR.INVALID_CONFIG],
    ['an impossible value', { configs: [{ name: 'retention.ms', value: 'soon' }] }, KAFKA_ERROR.INVALID_CONFIG],
    ['a unit of the wrong kind', { configs: [{ name: 'retention.ms', value: '5MiB' }] }, KAFKA_ERROR.INVALID_CONFIG],
    ['a null value', { configs: [{ name: 'retention.ms', value: null }] }, KAFKA_ERROR.INVALID_CONFIG],
    [
      'an assignment to another broker',
      { numPartitions: -1, replicationFactor: -1, assignments: [{ partitionIndex: 0, brokerIds: [2] }] },
      KAFKA_ERROR.INVALID_REPLICA_ASSIGNMENT,
    ],
    [
      'an assignment beside a number of partitions',
      { assignments: [{ partitionIndex: 0, brokerIds: [1] }] },
      KAFKA_ERROR.INVALID_REQUEST,
    ],
    [
      'an assignment with a hole',
      { numPartitions: -1, replicationFactor: -1, assignments: [{ partitionIndex: 1, brokerIds: [1] }] },
      KAFKA_ERROR.INVALID_REQUEST,
    ],
  ];
  test.each(refusals)('refuses %s and says why', async (_what, more, code) => {
    const [answer] = await create(topic('a', more));
    expect(answer!.errorCode).toBe(code);
    expect(answer!.errorMessage!.length).toBeGreaterThan(3);
    expect([...started.log.topics()]).toEqual([]);
  });

  test('one refused topic does not touch the others; a name that comes twice is refused twice', async () => {
    const answers = await create(topic('a'), topic('b'), topic('b'), topic('c', { numPartitions: 0 }));
    expect(answers.map(({ errorCode }) => errorCode)).toEqual([0, 42, 42, 37]);
    expect((await create(topic('a')))[0]!.errorCode).toBe(KAFKA_ERROR.TOPIC_ALREADY_EXISTS);
  });

  test('validateOnly creates nothing', async () => {
    const { topics } = await client.request(createTopics, 7, { topics: [topic('a')], validateOnly: true });
    expect(topics[0]!.errorCode).toBe(0);
    expect(started.log.topic('a')).toBeUndefined();
  });

  test('an assignment to this broker is taken', async () => {
    const assignments = [0, 1].map((partitionIndex) => ({ partitionIndex, brokerIds: [1] }));
    const [answer] = await create(topic('a', { numPartitions: -1, replicationFactor: -1, assignments }));
    expect(answer).toMatchObject({ errorCode: 0, numPartitions: 2 });
  });
});

describe('DeleteTopics', () => {
  test('by name and by id; a topic made again has another id', async () => {
    const [first] = await create(topic('a'));
    const deleted = await client.request(deleteTopics, 6, { topics: [{ topicId: first!.topicId }], timeoutMs: 0 });
    expect(deleted.responses[0]).toMatchObject({ name: 'a', errorCode: 0 });
    const [second] = await create(topic('a'));
    expect(second!.topicId).not.toBe(first!.topicId);
    expect((await client.request(deleteTopics, 3, { topicNames: ['a', 'b'], timeoutMs: 0 })).responses).toMatchObject([
      { name: 'a', errorCode: 0 },
      { name: 'b', errorCode: KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION },
    ]);
    const gone = await client.request(deleteTopics, 6, { topics: [{ topicId: first!.topicId }], timeoutMs: 0 });
    expect(gone.responses[0]!.errorCode).toBe(KAFKA_ERROR.UNKNOWN_TOPIC_ID);
  });
});

describe('Metadata', () => {
  test('names this broker at the address the client reached it at', async () => {
    await create(topic('a', { numPartitions: 2 }));
    const answer = await client.request(metadata, 12, { topics: null });
    expect(answer.brokers).toEqual([{ nodeId: 1, host: '127.0.0.1', port: started.port, rack: null }]);
    expect(answer).toMatchObject({ controllerId: 1, clusterId: 'HeadwaterTestCluster01' });
    expect(answer.topics[0]).toMatchObject({ name: 'a', topicId: started.log.topic('a')!.id, isInternal: false });
    expect(answer.topics[0]!.partitions).toHaveLength(2);
    expect(answer.topics[0]!.partitions[1]).toMatchObject({ leaderId: 1, leaderEpoch: 3, isrNodes: [1] });
    expect(answer.topics[0]!.topicAuthorizedOperations).toBe(-2_147_483_648);
  });

  test('version 0 asks for all with an empty list, later ones for none', async () => {
    await create(topic('a'));
    expect((await client.request(metadata, 0, { topics: [] })).topics).toHaveLength(1);
    expect((await client.request(metadata, 1, { topics: [] })).topics).toHaveLength(0);
    expect((await client.request(metadata, 1, { topics: null })).topics).toHaveLength(1);
  });

  test('creates a missing topic when both sides allow it', async () => {
    const ask = async (name: string, allowAutoTopicCreation: boolean) =>
      (await client.request(metadata, 9, { topics: [{ name }], allowAutoTopicCreation })).topics[0]!;
    expect((await ask('new', false)).errorCode).toBe(KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION);
    expect((await ask('bad name', false)).errorCode).toBe(KAFKA_ERROR.INVALID_TOPIC_EXCEPTION);
    expect((await ask('bad name', true)).errorCode).toBe(KAFKA_ERROR.INVALID_TOPIC_EXCEPTION);
    expect(await ask('new', true)).toMatchObject({ errorCode: 0, name: 'new' });
    expect(started.log.topic('new')).toBeDefined();
  });

  test('by id: an unknown one is UNKNOWN_TOPIC_ID', async () => {
    const [created] = await create(topic('a'));
    const unknown = 'ab'.repeat(16);
    const answer = await client.request(metadata, 12, {
      topics: [
        { name: null, topicId: created!.topicId },
        { name: null, topicId: unknown },
      ],
    });
    expect(answer.topics).toMatchObject([
      { errorCode: 0, name: 'a' },
      { errorCode: KAFKA_ERROR.UNKNOWN_TOPIC_ID, name: null, topicId: unknown },
    ]);
  });
});

test('CreatePartitions grows a topic and answers for each', async () => {
  await create(topic('a'));
  const grow = async (name: string, count: number, assignments: { brokerIds: number[] }[] | null = null) =>
    (
      await client.request(createPartitions, 3, {
        topics: [{ name, count, assignments }],
        timeoutMs: 0,
        validateOnly: false,
      })
    ).results[0]!.errorCode;
  expect(await grow('a', 3)).toBe(0);
  expect(started.log.topic('a')!.partitions).toHaveLength(3);
  expect(await grow('a', 3)).toBe(KAFKA_ERROR.INVALID_PARTITIONS);
  expect(await grow('b', 3)).toBe(KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION);
  expect(await grow('a', 4, [{ brokerIds: [9] }])).toBe(KAFKA_ERROR.INVALID_REPLICA_ASSIGNMENT);
  expect(await grow('a', 4, [{ brokerIds: [1] }])).toBe(0);
});

test('DeleteRecords moves the log start, -1 to the high watermark, never beyond', async () => {
  await create(topic('t'));
  await client.request(produce, 9, producing(batchOf('a', 'b', 'c')));
  const before = async (offset: number) =>
    (
      await client.request(deleteRecords, 2, {
        topics: [{ name: 't', partitions: [{ partitionIndex: 0, offset }] }],
        timeoutMs: 0,
      })
    ).topics[0]!.partitions[0]!;
  expect(await before(2)).toMatchObject({ errorCode: 0, lowWatermark: 2 });
  expect(await before(4)).toMatchObject({ errorCode: KAFKA_ERROR.OFFSET_OUT_OF_RANGE, lowWatermark: -1 });
  expect(await before(-1)).toMatchObject({ errorCode: 0, lowWatermark: 3 });
});

describe('ListOffsets', () => {
  const list = async (timestamp: number, isolationLevel = 0, currentLeaderEpoch = -1, version = 9) =>
    (
      await client.request(listOffsets, version, {
        replicaId: -1,
        isolationLevel,
        topics: [{ name: 't', partitions: [{ partitionIndex: 0, timestamp, currentLeaderEpoch }] }],
      })
    ).topics[0]!.partitions[0]!;

  test('latest, earliest, by time, the largest time, and what cannot be found', async () => {
    await create(topic('t'));
    await client.request(produce, 9, producing(batchOf('a', 'b')));
    const partition = started.log.topic('t')!.partitions[0]!;
    partition.logStartOffset = 1;
    partition.stable = 1;
    expect(await list(-1)).toMatchObject({ offset: 2, timestamp: -1, leaderEpoch: 3, errorCode: 0 });
    expect(await list(-1, 1)).toMatchObject({ offset: 1 });
    expect(await list(-2)).toMatchObject({ offset: 1, timestamp: -1 });
    expect(await list(-3)).toMatchObject({ offset: 1, timestamp: 1_000 });
    expect(await list(-4)).toMatchObject({ offset: 1 });
    expect(await list(-5)).toMatchObject({ offset: -1, timestamp: -1, leaderEpoch: -1, errorCode: 0 });
    expect(await list(500)).toMatchObject({ offset: 0, timestamp: 1_000 });
    expect(await list(5_000)).toMatchObject({ offset: -1, timestamp: -1, errorCode: 0 });
    expect(await list(-1, 0, 2)).toMatchObject({ errorCode: KAFKA_ERROR.FENCED_LEADER_EPOCH });
    expect(await list(-9)).toMatchObject({ errorCode: KAFKA_ERROR.UNSUPPORTED_VERSION });
  });
});

test('OffsetForLeaderEpoch: the end of a known epoch, (-1, -1) without an error for an unknown one', async () => {
  await create(topic('t'));
  const ask = async (leaderEpoch: number, currentLeaderEpoch = -1) =>
    (
      await client.request(offsetForLeaderEpoch, 3, {
        topics: [{ topic: 't', partitions: [{ partition: 0, leaderEpoch, currentLeaderEpoch }] }],
      })
    ).topics[0]!.partitions[0]!;
  expect(await ask(3)).toMatchObject({ errorCode: 0, leaderEpoch: 3, endOffset: 0 });
  expect(await ask(1)).toMatchObject({ errorCode: 0, leaderEpoch: -1, endOffset: -1 });
  expect(await ask(3, 2)).toMatchObject({ errorCode: KAFKA_ERROR.FENCED_LEADER_EPOCH });
});

describe('settings', () => {
  const describeTopic = async (keys: string[] | null = null) =>
    (
      await client.request(describeConfigs, 4, {
        resources: [{ resourceType: 2, resourceName: 'a', configurationKeys: keys }],
        includeSynonyms: true,
        includeDocumentation: true,
      })
    ).results[0]!;

  test('every topic setting is shown with its default and source', async () => {
    await create(topic('a', { configs: [{ name: 'segment.ms', value: '7000' }] }));
    const { configs, errorCode } = await describeTopic();
    expect(errorCode).toBe(0);
    expect(configs.length).toBeGreaterThanOrEqual(11);
    const find = (name: string) => configs.find((config) => config.name === name)!;
    expect(find('segment.ms')).toMatchObject({ value: '7000', configSource: 1, configType: 5, readOnly: false });
    expect(find('segment.ms').synonyms.map(({ source }) => source)).toEqual([1, 5]);
    expect(find('retention.ms')).toMatchObject({ configSource: 4 });
    expect(find('cleanup.policy')).toMatchObject({ value: 'delete', configSource: 5, configType: 7 });
    expect(find('cleanup.policy').documentation!.length).toBeGreaterThan(10);
    expect((await describeTopic(['cleanup.policy'])).configs).toHaveLength(1);
  });

  test('broker settings are readable without their secrets', async () => {
    const ask = async (resourceName: string) =>
      (
        await client.request(describeConfigs, 1, {
          resources: [{ resourceType: 4, resourceName, configurationKeys: null }],
        })
      ).results[0]!;
    expect((await ask('1')).configs).toMatchObject([
      { name: 'num.partitions', value: '1', readOnly: true, configSource: 5 },
      { name: 'ssl.key', value: null, isSensitive: true, configSource: 4 },
    ]);
    expect((await ask('')).configs).toEqual([]);
    expect((await ask('7')).errorCode).toBe(KAFKA_ERROR.INVALID_REQUEST);
  });

  test('IncrementalAlterConfigs sets, deletes, appends, subtracts; a bad value changes nothing', async () => {
    await create(topic('a'));
    const alter = async (...configs: [string, number, string | null][]) =>
      (
        await client.request(incrementalAlterConfigs, 1, {
          resources: [
            {
              resourceType: 2,
              resourceName: 'a',
              configs: configs.map(([name, configOperation, value]) => ({ name, configOperation, value })),
            },
          ],
          validateOnly: false,
        })
      ).responses[0]!.errorCode;
    const config = () => started.log.topic('a')!.config;
    expect(await alter(['retention.ms', 0, '9000'], ['cleanup.policy', 2, 'compact'])).toBe(0);
    expect(config()).toMatchObject({ 'retention.ms': 9000, 'cleanup.policy': 'compact,delete' });
    expect(await alter(['cleanup.policy', 3, 'delete'])).toBe(0);
    expect(config()['cleanup.policy']).toBe('compact');
    expect(await alter(['retention.ms', 0, 'x'], ['segment.ms', 0, '5'])).toBe(KAFKA_ERROR.INVALID_CONFIG);
    expect(await alter(['retention.ms', 0, '1kB'])).toBe(KAFKA_ERROR.INVALID_CONFIG);
    expect(await alter(['retention.ms', 2, '1'])).toBe(KAFKA_ERROR.INVALID_CONFIG);
    expect(await alter(['retention.ms', 0, '1'], ['retention.ms', 0, '2'])).toBe(KAFKA_ERROR.INVALID_REQUEST);
    expect(await alter(['retention.ms', 9, '1'])).toBe(KAFKA_ERROR.INVALID_REQUEST);
    expect(config()['retention.ms']).toBe(9000);
    expect(await alter(['retention.ms', 1, null])).toBe(0);
    expect(started.log.topic('a')!.overrides.has('retention.ms')).toBe(false);
  });

  test('AlterConfigs replaces all overrides', async () => {
    await create(topic('a', { configs: [{ name: 'segment.ms', value: '7000' }] }));
    const { responses } = await client.request(alterConfigs, 2, {
      resources: [
        { resourceType: 2, resourceName: 'a', configs: [{ name: 'retention.ms', value: '9000' }] },
        { resourceType: 4, resourceName: '1', configs: [{ name: 'num.partitions', value: '4' }] },
        { resourceType: 2, resourceName: 'none', configs: [] },
      ],
      validateOnly: false,
    });
    expect(responses.map(({ errorCode }) => errorCode)).toEqual([0, 42, 3]);
    expect([...started.log.topic('a')!.overrides]).toEqual([['retention.ms', '9000']]);
    const wrong = [{ resourceType: 2, resourceName: 'a', configs: [{ name: 'retention.bytes', value: '5m' }] }];
    const refused = await client.request(alterConfigs, 2, { resources: wrong, validateOnly: false });
    expect(refused.responses[0]).toMatchObject({
      errorCode: KAFKA_ERROR.INVALID_CONFIG,
      errorMessage: expect.stringContaining('retention.bytes: "5m" is not a whole number'),
    });
    expect([...started.log.topic('a')!.overrides]).toEqual([['retention.ms', '9000']]);
  });

  test('ListConfigResources lists topics and the broker', async () => {
    await create(topic('a'));
    const { configResources } = await client.request(listConfigResources, 1, { resourceTypes: [] });
    expect(configResources).toEqual([
      { resourceName: 'a', resourceType: 2 },
      { resourceName: '1', resourceType: 4 },
    ]);
    expect((await client.request(listConfigResources, 0, {})).configResources).toEqual([]);
  });
});

test('DescribeCluster shows one broker and knows that it is no controller', async () => {
  const answer = await client.request(describeCluster, 2, { includeClusterAuthorizedOperations: false });
  expect(answer).toMatchObject({ errorCode: 0, clusterId: 'HeadwaterTestCluster01', controllerId: 1 });
  expect(answer.brokers).toEqual([{ brokerId: 1, host: '127.0.0.1', port: started.port, rack: null, isFenced: false }]);
  const controllers = await client.request(describeCluster, 1, {
    includeClusterAuthorizedOperations: false,
    endpointType: 2,
  });
  expect(controllers.errorCode).toBe(KAFKA_ERROR.MISMATCHED_ENDPOINT_TYPE);
});

test('DescribeLogDirs shows sizes and space', async () => {
  await create(topic('t'));
  await client.request(produce, 9, producing(batchOf('a')));
  const { results } = await client.request(describeLogDirs, 4, { topics: null });
  expect(results[0]).toMatchObject({ errorCode: 0, logDir: '/data', totalBytes: 1000, usableBytes: 400 });
  expect(results[0]!.topics[0]!.partitions[0]!.partitionSize).toBe(started.log.topic('t')!.partitions[0]!.sizeBytes);
  const some = await client.request(describeLogDirs, 4, { topics: [{ topic: 'other', partitions: [0] }] });
  expect(some.results[0]!.topics).toEqual([]);
});

test('DescribeTopicPartitions pages through topics in name order', async () => {
  await create(topic('b', { numPartitions: 3 }), topic('a', { numPartitions: 2 }));
  const seen: string[] = [];
  let cursor: ResponseOf<typeof describeTopicPartitions>['nextCursor'] = null;
  do {
    const request: RequestInput<typeof describeTopicPartitions> = { topics: [], responsePartitionLimit: 2, cursor };
    const answer: ResponseOf<typeof describeTopicPartitions> = await client.request(
      describeTopicPartitions,
      0,
      request,
    );
    for (const { name, partitions } of answer.topics) {
      for (const { partitionIndex } of partitions) seen.push(`${name}-${partitionIndex}`);
    }
    cursor = answer.nextCursor;
  } while (cursor !== null);
  expect(seen).toEqual(['a-0', 'a-1', 'b-0', 'b-1', 'b-2']);
});

test('DescribeTopicPartitions gives the lists of KIP-966 as empty, not null: the Java client fails on null', async () => {
  await create(topic('a'));
  const answer = await client.request(describeTopicPartitions, 0, { topics: [{ name: 'a' }] });
  expect(answer.topics[0]!.partitions[0]).toMatchObject({ eligibleLeaderReplicas: [], lastKnownElr: [] });
});

test('deleting broker settings that nobody set is no error: kafka-reassign-partitions does it', async () => {
  const configs = [{ name: 'leader.replication.throttled.rate', configOperation: 1, value: null }];
  const { responses } = await client.request(incrementalAlterConfigs, 1, {
    resources: [{ resourceType: 4, resourceName: '1', configs }],
    validateOnly: false,
  });
  expect(responses[0]).toMatchObject({ errorCode: 0 });
});

test('an election is not needed where a partition is, and unknown where there is none', async () => {
  await create(topic('a'));
  const answer = await client.request(electLeaders, 2, { topicPartitions: [{ topic: 'a', partitions: [0, 7] }] });
  expect(answer.errorCode).toBe(0);
  expect(answer.replicaElectionResults[0]!.partitionResult.map(({ errorCode }) => errorCode)).toEqual([84, 3]);
  const all = await client.request(electLeaders, 0, { topicPartitions: null });
  expect(all.replicaElectionResults).toEqual([]);
});

test('partitions stay where they are: moving elsewhere and cancelling are refused by name', async () => {
  await create(topic('a', { numPartitions: 3 }));
  const partitions = [
    { partitionIndex: 0, replicas: [1] },
    { partitionIndex: 1, replicas: [1, 2] },
    { partitionIndex: 2, replicas: null },
    { partitionIndex: 3, replicas: [1] },
  ];
  const answer = await client.request(alterPartitionReassignments, 1, { topics: [{ name: 'a', partitions }] });
  expect(answer.responses[0]!.partitions).toMatchObject([
    { errorCode: 0, errorMessage: null },
    { errorCode: KAFKA_ERROR.INVALID_REPLICA_ASSIGNMENT, errorMessage: expect.stringContaining('[1, 2]') },
    { errorCode: KAFKA_ERROR.NO_REASSIGNMENT_IN_PROGRESS },
    { errorCode: KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION, errorMessage: expect.stringContaining('a-3') },
  ]);
});

test('access rules are SECURITY_DISABLED', async () => {
  const answer = await client.request(describeAcls, 3, {
    resourceTypeFilter: 1,
    resourceNameFilter: null,
    principalFilter: null,
    hostFilter: null,
    operation: 1,
    permissionType: 1,
  });
  expect(answer.errorCode).toBe(KAFKA_ERROR.SECURITY_DISABLED);
});
