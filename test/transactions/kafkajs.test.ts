/** Transactions with a real client over real sockets. */
import { type Consumer, Kafka, logLevel, type Producer } from 'kafkajs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type StartedBroker, startBroker } from '../kafka/start-broker.ts';

let broker: StartedBroker;
let kafka: Kafka;
const open: (Consumer | Producer)[] = [];

beforeEach(async () => {
  broker = await startBroker();
  kafka = new Kafka({
    clientId: 'kafkajs',
    brokers: [`127.0.0.1:${broker.port}`],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 20, maxRetryTime: 200, retries: 20 },
  });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: 'in' }, { topic: 'out', numPartitions: 2 }] });
  await admin.disconnect();
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.disconnect().catch(() => {})));
  await broker.stop();
});

async function transactional(transactionalId = 'tx'): Promise<Producer> {
  const producer = kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });
  open.push(producer);
  await producer.connect();
  return producer;
}

/** Values that a read_committed consumer of a fresh group sees up to the end of the topic. */
async function committedValues(topic: string, count: number): Promise<string[]> {
  const consumer = kafka.consumer({ groupId: `reader-${Math.random()}`, readUncommitted: false, maxWaitTimeInMs: 50 });
  open.push(consumer);
  const values: string[] = [];
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await new Promise<void>((resolve) => {
    void consumer.run({
      eachMessage: async ({ message }) => {
        values.push(message.value!.toString());
        if (values.length >= count) resolve();
      },
    });
  });
  await consumer.disconnect();
  return values.sort();
}

test('a committed transaction is seen whole, an aborted one never', async () => {
  const producer = await transactional();
  for (const [name, commit] of [
    ['a', true],
    ['b', false],
    ['c', true],
  ] as const) {
    const transaction = await producer.transaction();
    await transaction.send({
      topic: 'out',
      messages: [0, 1].map((partition) => ({ partition, value: `${name}${partition}` })),
    });
    if (commit) await transaction.commit();
    else await transaction.abort();
  }
  expect(await committedValues('out', 4)).toEqual(['a0', 'a1', 'c0', 'c1']);
});

test('consume-transform-produce moves records and offsets together', async () => {
  const plain = kafka.producer();
  open.push(plain);
  await plain.connect();
  await plain.send({ topic: 'in', messages: [{ value: 'x' }, { value: 'y' }, { value: 'z' }] });
  const producer = await transactional();
  const aborted = await producer.transaction();
  await aborted.send({ topic: 'out', messages: [{ partition: 0, value: 'lost' }] });
  await aborted.sendOffsets({
    consumerGroupId: 'g',
    topics: [{ topic: 'in', partitions: [{ partition: 0, offset: '1' }] }],
  });
  await aborted.abort();
  expect(broker.groups.offsets.fetch('g', 'in', [0], true)[0]).toMatchObject({ offset: -1, error: 0 });
  const kept = await producer.transaction();
  await kept.send({ topic: 'out', messages: [{ partition: 0, value: 'X' }] });
  await kept.sendOffsets({
    consumerGroupId: 'g',
    topics: [{ topic: 'in', partitions: [{ partition: 0, offset: '3' }] }],
  });
  expect(broker.groups.offsets.fetch('g', 'in', [0], true)[0]!.error).toBe(88);
  await kept.commit();
  expect(broker.groups.offsets.fetch('g', 'in', [0], true)[0]).toMatchObject({ offset: 3, error: 0 });
  expect(await committedValues('out', 1)).toEqual(['X']);
});

test('a second producer of the same id fences the first and aborts what it left open', async () => {
  const first = await transactional();
  const left = await first.transaction();
  await left.send({ topic: 'out', messages: [{ partition: 0, value: 'left' }] });
  const second = await transactional();
  const taken = await second.transaction();
  await taken.send({ topic: 'out', messages: [{ partition: 0, value: 'taken' }] });
  await taken.commit();
  await expect(left.commit()).rejects.toThrow();
  expect(await committedValues('out', 1)).toEqual(['taken']);
});

test('a transaction survives the kill of the broker and commits after it', async () => {
  const producer = await transactional();
  const transaction = await producer.transaction();
  await transaction.send({ topic: 'out', messages: [{ partition: 0, value: 'before' }] });
  const { disk, port } = broker;
  await broker.kill();
  broker = await startBroker(disk, port);
  // kafkajs gives up looking for the coordinator when its only connection has just died; nothing was sent then.
  const once = () => transaction.send({ topic: 'out', messages: [{ partition: 1, value: 'after' }] });
  await once().catch(once);
  await transaction.commit();
  expect(await committedValues('out', 2)).toEqual(['after', 'before']);
});
