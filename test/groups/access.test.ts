/** Offsets and transactions ask for each topic they touch; what is refused disturbs nothing else. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import type { GroupCoordinator } from '../../src/groups/coordinator.ts';
import { ANONYMOUS, type KafkaOperation, type KafkaResource, parseAcl } from '../../src/security/acl.ts';
import { offsetCommit } from '../../src/wire/kafka/api/08-offset-commit.ts';
import { offsetFetch } from '../../src/wire/kafka/api/09-offset-fetch.ts';
import { initProducerId } from '../../src/wire/kafka/api/22-init-producer-id.ts';
import { addPartitionsToTxn } from '../../src/wire/kafka/api/24-add-partitions-to-txn.ts';
import { addOffsetsToTxn } from '../../src/wire/kafka/api/25-add-offsets-to-txn.ts';
import { txnOffsetCommit } from '../../src/wire/kafka/api/28-txn-offset-commit.ts';
import { offsetDelete } from '../../src/wire/kafka/api/47-offset-delete.ts';
import { startCoordinators } from '../kafka/coordinators.ts';
import { MemoryLog } from '../kafka/memory-log.ts';
import { RawClient, type StartedEdge, startEdge } from '../kafka/start-edge.ts';

const RULES = `user ${ANONYMOUS}\n  topic read readable\n  topic write writable\n  group all g\n  transaction all tx\n`;
const TOPICS = ['readable', 'closed', 'writable'];

let started: StartedEdge;
let client: RawClient;
let groups: GroupCoordinator;
let log: MemoryLog;

beforeEach(async () => {
  const acl = parseAcl(RULES, 'acl');
  const access = {
    allowsKafka: (user: string | null, operation: KafkaOperation, resource: KafkaResource, name: string) =>
      acl.allowsKafka(user ?? ANONYMOUS, operation, resource, name),
  };
  log = new MemoryLog();
  const coordinators = await startCoordinators(systemEnv, log);
  groups = coordinators.groups;
  started = await startEdge({}, { access, log, ...coordinators });
  for (const name of TOPICS) await log.createTopic({ name, partitions: 1, config: new Map() });
  client = await RawClient.connect(started.port);
});

afterEach(async () => {
  client.close();
  await started.edge.stop();
});

const offsets = TOPICS.map((name) => ({
  name,
  partitions: [{ partitionIndex: 0, committedOffset: 5, committedMetadata: null }],
}));
const codes = (topics: readonly { partitions: readonly { errorCode: number }[] }[]) =>
  topics.map(({ partitions }) => partitions[0]!.errorCode);

test('OffsetCommit needs read, OffsetFetch describe, OffsetDelete read', async () => {
  const committed = await client.request(offsetCommit, 8, { groupId: 'g', memberId: '', topics: offsets });
  expect(codes(committed.topics)).toEqual([0, 29, 29]);
  const asked = TOPICS.map((name) => ({ name, partitionIndexes: [0] }));
  const fetched = await client.request(offsetFetch, 7, { groupId: 'g', topics: asked });
  expect(fetched.topics.map(({ partitions }) => [partitions[0]!.errorCode, partitions[0]!.committedOffset])).toEqual([
    [0, 5],
    [29, -1],
    [0, -1],
  ]);
  await log.deleteTopic('closed');
  const named = TOPICS.map((name) => ({ name, partitions: [{ partitionIndex: 0 }] }));
  const deleted = await client.request(offsetDelete, 0, { groupId: 'g', topics: named });
  expect(codes(deleted.topics)).toEqual([0, 29, 29]);
});

test('OffsetFetch of everything leaves out what may not be described', async () => {
  const commit = { generation: -1, memberId: '', instanceId: null, apiVersion: 8, retentionMs: -1 };
  const all = TOPICS.map((topic) => ({ topic, partition: 0, offset: 5, leaderEpoch: -1, metadata: '' }));
  expect(await groups.offsets.commit('g', { ...commit, offsets: all })).toEqual([0, 0, 0]);
  const { topics } = await client.request(offsetFetch, 7, { groupId: 'g', topics: null });
  expect(topics.map(({ name }) => name)).toEqual(['readable', 'writable']);
});

test('AddPartitionsToTxn needs write on every topic, or adds none', async () => {
  const { producerId, producerEpoch } = await client.request(initProducerId, 4, {
    transactionalId: 'tx',
    transactionTimeoutMs: 1_000,
  });
  const add = async (names: readonly string[]) => {
    const { resultsByTopicV3AndBelow } = await client.request(addPartitionsToTxn, 3, {
      v3AndBelowTransactionalId: 'tx',
      v3AndBelowProducerId: producerId,
      v3AndBelowProducerEpoch: producerEpoch,
      v3AndBelowTopics: names.map((name) => ({ name, partitions: [0] })),
    });
    return resultsByTopicV3AndBelow.map(({ resultsByPartition }) => resultsByPartition[0]!.partitionErrorCode);
  };
  expect(await add(TOPICS)).toEqual([29, 29, 55]);
  expect(await add(['writable'])).toEqual([0]);
  const producer = { transactionalId: 'tx', producerId, producerEpoch, groupId: 'g' };
  expect((await client.request(addOffsetsToTxn, 3, producer)).errorCode).toBe(0);
  const held = await client.request(txnOffsetCommit, 3, { ...producer, topics: offsets });
  expect(codes(held.topics)).toEqual([0, 29, 29]);
});
