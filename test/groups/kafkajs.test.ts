/** Groups with a real client over real sockets. */
import { type Consumer, Kafka, logLevel } from 'kafkajs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { offsetCommit } from '../../src/wire/kafka/api/08-offset-commit.ts';
import { type StartedBroker, startBroker } from '../kafka/start-broker.ts';
import { RawClient } from '../kafka/start-edge.ts';

let broker: StartedBroker;
let kafka: Kafka;
let consumers: Consumer[] = [];

beforeEach(async () => {
  broker = await startBroker();
  kafka = client(broker.port);
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: 'plant', numPartitions: 4 }] });
  await admin.disconnect();
});

afterEach(async () => {
  await Promise.all(consumers.map((consumer) => consumer.disconnect().catch(() => {})));
  consumers = [];
  await broker.stop();
});

const client = (port: number) =>
  new Kafka({
    clientId: 'kafkajs',
    brokers: [`127.0.0.1:${port}`],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 20, maxRetryTime: 200, retries: 50 },
  });

async function produce(from: number, count: number): Promise<void> {
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  await producer.connect();
  const messages = Array.from({ length: count }, (_, i) => ({ partition: (from + i) % 4, value: String(from + i) }));
  await producer.send({ topic: 'plant', messages, acks: -1 });
  await producer.disconnect();
}

interface Reader {
  readonly consumer: Consumer;
  readonly seen: number[];
  readonly partitions: Set<number>;
  until(count: number): Promise<void>;
}

async function read(groupId: string, seen: number[] = []): Promise<Reader> {
  // kafkajs ends a running fetch before it joins again or disconnects: short waits keep the test short.
  const timing = { heartbeatInterval: 50, sessionTimeout: 6_000, rebalanceTimeout: 6_000, maxWaitTimeInMs: 50 };
  const consumer = kafka.consumer({ groupId, ...timing });
  consumers.push(consumer);
  const partitions = new Set<number>();
  await consumer.connect();
  await consumer.subscribe({ topics: ['plant'], fromBeginning: true });
  await consumer.run({
    autoCommitThreshold: 1,
    eachMessage: async ({ message, partition }) => {
      seen.push(Number(message.value!.toString()));
      partitions.add(partition);
    },
  });
  return {
    consumer,
    seen,
    partitions,
    // `seen` may be shared: another member may read the last record.
    until: (count) => expect.poll(() => seen.length, { timeout: 15_000 }).toBeGreaterThanOrEqual(count),
  };
}

async function commitAsAdmin(indexes: readonly number[], committedOffset: number): Promise<void> {
  const raw = await RawClient.connect(broker.port);
  const partitions = indexes.map((partitionIndex) => ({ partitionIndex, committedOffset, committedMetadata: '' }));
  const { topics } = await raw.request(offsetCommit, 8, {
    groupId: 'g',
    memberId: '',
    topics: [{ name: 'plant', partitions }],
  });
  raw.close();
  expect(topics[0]!.partitions.map(({ errorCode }) => errorCode)).toEqual(indexes.map(() => 0));
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);

test('a group reads everything once and resumes from its commits after it stopped', async () => {
  await produce(0, 20);
  const first = await read('g');
  await first.until(20);
  await first.consumer.disconnect();
  expect(broker.groups.describe('g').state).toBe('Empty');
  await produce(20, 20);
  const second = await read('g');
  await second.until(20);
  expect(sorted(first.seen)).toEqual(upTo(20));
  expect(sorted(second.seen)).toEqual(upTo(40).slice(20));
});

test('two members share the partitions, and one takes over when the other leaves', async () => {
  const seen: number[] = [];
  const first = await read('g', seen);
  const joined = new Promise<void>((resolve) => {
    first.consumer.on('consumer.group_join', ({ payload }) => {
      if ((payload.memberAssignment['plant']?.length ?? 0) === 2) resolve();
    });
  });
  const second = await read('g', seen);
  await joined;
  await produce(0, 40);
  await first.until(40);
  expect(sorted(seen)).toEqual(upTo(40));
  expect(first.partitions.size + second.partitions.size).toBe(4);
  await second.consumer.disconnect();
  await produce(40, 20);
  await first.until(60);
  expect(sorted(seen)).toEqual(upTo(60));
});

test('a group at work carries on after the broker is killed and started again', async () => {
  await produce(0, 20);
  const reader = await read('g');
  await reader.until(20);
  await expect.poll(() => broker.groups.offsets.committed('g', false)[0]?.partitions.length).toBe(4);
  const { disk, port } = broker;
  await broker.kill();
  broker = await startBroker(disk, port);
  expect(broker.groups.describe('g')).toMatchObject({ state: 'Stable', members: [{ clientId: 'kafkajs' }] });
  await produce(20, 20);
  await reader.until(40);
  // What was committed is not read again; at most the last record of a partition, whose commit the kill overtook, is.
  expect([...new Set(sorted(reader.seen))]).toEqual(upTo(40));
  expect(reader.seen.length).toBeLessThanOrEqual(44);
}, 15_000);

test('admin lists, describes, resets and deletes groups and their offsets', async () => {
  await produce(0, 8);
  const reader = await read('g');
  await reader.until(8);
  const admin = kafka.admin();
  await admin.connect();
  expect((await admin.listGroups()).groups).toEqual([{ groupId: 'g', protocolType: 'consumer' }]);
  const { groups } = await admin.describeGroups(['g', 'nobody']);
  expect(groups.map(({ state, protocol, members }) => [state, protocol, members.length])).toEqual([
    ['Stable', 'RoundRobinAssigner', 1],
    ['Dead', '', 0],
  ]);
  await expect(admin.deleteGroups(['g'])).rejects.toThrow();
  await reader.consumer.disconnect();
  const offsets = async () =>
    (await admin.fetchOffsets({ groupId: 'g', topics: ['plant'] }))[0]!.partitions.map(({ offset }) => offset);
  expect(await offsets()).toEqual(['2', '2', '2', '2']);
  // As kafka-consumer-groups resets: a commit without a generation. (kafkajs' own reset waits 5 s for a fetch of its own.)
  await commitAsAdmin([0, 1, 2, 3], 0);
  expect(await offsets()).toEqual(['0', '0', '0', '0']);
  const again = await read('g');
  await again.until(8);
  expect(sorted(again.seen)).toEqual(upTo(8));
  await again.consumer.disconnect();
  await admin.deleteGroups(['g']);
  expect((await admin.listGroups()).groups).toEqual([]);
  await admin.disconnect();
});

test('a committed offset comes back after a restart', async () => {
  await commitAsAdmin([0], 3);
  await broker.stop();
  broker = await startBroker(broker.disk, broker.port);
  const admin = kafka.admin();
  await admin.connect();
  expect((await admin.fetchOffsets({ groupId: 'g', topics: ['plant'] }))[0]!.partitions[0]!.offset).toBe('3');
  await admin.disconnect();
});
