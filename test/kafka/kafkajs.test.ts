import { CompressionTypes, ConfigResourceTypes, Kafka, logLevel } from 'kafkajs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RecordCursor } from '../../src/wire/batch/record-cursor.ts';
import { type StartedEdge, startEdge } from './start-edge.ts';

let started: StartedEdge;
let kafka: Kafka;

beforeEach(async () => {
  started = await startEdge();
  kafka = new Kafka({
    clientId: 'kafkajs',
    brokers: [`127.0.0.1:${started.port}`],
    logLevel: logLevel.NOTHING,
    retry: { retries: 1 },
  });
});

afterEach(async () => {
  await started.edge.stop();
});

function stored(topic: string, index = 0): string[] {
  const values: string[] = [];
  for (const batch of started.log.topic(topic)!.partitions[index]!.batches) {
    const cursor = new RecordCursor(batch);
    while (cursor.next()) values.push(cursor.value!.toString());
  }
  return values;
}

test('kafkajs creates, lists, describes, grows, alters and deletes topics', async () => {
  const admin = kafka.admin();
  await admin.connect();
  expect(await admin.createTopics({ topics: [{ topic: 'plant', numPartitions: 3, replicationFactor: 1 }] })).toBe(true);
  expect(await admin.createTopics({ topics: [{ topic: 'plant' }] })).toBe(false);
  expect(await admin.listTopics()).toEqual(['plant']);
  await admin.createPartitions({ topicPartitions: [{ topic: 'plant', count: 4 }] });
  const { topics } = await admin.fetchTopicMetadata({ topics: ['plant'] });
  expect(topics[0]!.partitions.map(({ partitionId }) => partitionId).sort()).toEqual([0, 1, 2, 3]);
  await admin.alterConfigs({
    validateOnly: false,
    resources: [
      {
        type: ConfigResourceTypes.TOPIC,
        name: 'plant',
        configEntries: [{ name: 'retention.ms', value: '60000' }],
      },
    ],
  });
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: 'plant', configNames: ['retention.ms'] }],
  });
  expect(resources[0]!.configEntries[0]).toMatchObject({ configName: 'retention.ms', configValue: '60000' });
  expect((await admin.describeCluster()).controller).toBe(1);
  await admin.deleteTopics({ topics: ['plant'] });
  expect(await admin.listTopics()).toEqual([]);
  await admin.disconnect();
});

test.each([0, 1, -1])('kafkajs produces with acks=%i, creating the topic', async (acks) => {
  const producer = kafka.producer({ allowAutoTopicCreation: true });
  await producer.connect();
  await producer.send({
    topic: 'plant',
    acks,
    messages: [
      { key: 'k', value: 'one', headers: { unit: 'C' } },
      { key: 'k', value: 'two' },
    ],
  });
  await expect.poll(() => stored('plant')).toEqual(['one', 'two']);
  await producer.disconnect();
});

test('gzip batches are stored as they came and offsets are answered', async () => {
  const producer = kafka.producer();
  await producer.connect();
  const messages = Array.from({ length: 100 }, (_, i) => ({ value: `reading ${i}` }));
  const [first] = await producer.send({ topic: 'plant', messages, compression: CompressionTypes.GZIP });
  const [second] = await producer.send({ topic: 'plant', messages, compression: CompressionTypes.GZIP });
  expect([first!.baseOffset, second!.baseOffset]).toEqual(['0', '100']);
  const admin = kafka.admin();
  expect(await admin.fetchTopicOffsets('plant')).toMatchObject([{ partition: 0, high: '200', low: '0' }]);
  expect(await admin.fetchTopicOffsetsByTimestamp('plant', Date.now() + 100_000)).toMatchObject([{ offset: '200' }]);
  await admin.disconnect();
  await producer.disconnect();
});
