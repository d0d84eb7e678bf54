import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Admin } from '../../src/client/admin.ts';
import { Cluster } from '../../src/client/cluster.ts';
import { Consumer } from '../../src/client/consumer.ts';
import { UpstreamError } from '../../src/client/error.ts';
import { Producer } from '../../src/client/producer.ts';
import { systemEnv } from '../../src/env.ts';
import { type StartedEdge, startEdge } from '../kafka/start-edge.ts';

let edge: StartedEdge;
let cluster: Cluster;

beforeEach(async () => {
  edge = await startEdge();
  cluster = new Cluster(systemEnv, { bootstrap: `127.0.0.1:${edge.port}`, clientId: 'test' });
});
afterEach(async () => {
  cluster.close();
  await edge.edge.stop();
});

describe('Admin', () => {
  it('creates, describes, grows, configures and deletes a topic', async () => {
    const admin = new Admin(cluster);
    const created = await admin.createTopic({
      name: 'plans',
      partitions: 3,
      replicationFactor: -1,
      configs: { 'retention.ms': '1000' },
    });
    expect(created.partitions).toBe(3);
    const [topic] = await admin.topics(['plans']);
    expect(topic).toMatchObject({ name: 'plans', errorCode: 0 });
    expect(topic!.partitions.map(({ index, leader }) => [index, leader])).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
    ]);
    expect((await admin.topicConfigs('plans')).find(({ name }) => name === 'retention.ms')).toMatchObject({
      value: '1000',
      source: 'topic',
    });
    await admin.deleteTopics(['plans']);
    await expect(admin.topics(['plans'])).rejects.toMatchObject({ kafka: 3 });
    await expect(admin.deleteTopics(['plans'])).rejects.toBeInstanceOf(UpstreamError);
  });

  it('answers offsets by position and by time', async () => {
    const admin = new Admin(cluster);
    await admin.createTopic({ name: 'offsets', partitions: 1, replicationFactor: 1 });
    const producer = new Producer(cluster);
    await producer.send('offsets', [{ key: null, value: Buffer.from('a'), timestamp: 1000 }]);
    await producer.send('offsets', [{ key: null, value: Buffer.from('b'), timestamp: 2000 }]);
    const at = async (timestamp: number) =>
      (await admin.offsets([{ topic: 'offsets', partition: 0, timestamp }]))[0]!.offset;
    expect([await at(-2), await at(-1), await at(1500), await at(3000)]).toEqual([0, 2, 1, -1]);
  });
});

describe('Producer and Consumer', () => {
  it.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const)(
    'carry records with %s, in order per key',
    async (compression) => {
      const admin = new Admin(cluster);
      await admin.createTopic({ name: 'readings', partitions: 4, replicationFactor: 1 });
      const producer = new Producer(cluster, { compression });
      const records = Array.from({ length: 200 }, (_, index) => ({
        key: Buffer.from(`sensor-${index % 9}`),
        value: Buffer.from(`reading ${index} of a rather compressible kind kind kind`),
        headers: [{ key: 'n', value: Buffer.from(String(index)) }],
      }));
      const produced = await producer.send('readings', records);
      expect(produced.reduce((sum, { count }) => sum + count, 0)).toBe(200);
      const consumer = new Consumer(cluster, { from: 'earliest', maxWaitMs: 50 });
      await consumer.subscribe(['readings']);
      const found = await consumer.poll();
      expect(found).toHaveLength(200);
      for (let sensor = 0; sensor < 9; sensor++) {
        const mine = found.filter(({ key }) => key?.toString() === `sensor-${sensor}`);
        const numbers = mine.map(({ headers }) => Number(headers[0]!.value));
        expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => index * 9 + sensor));
      }
      expect(await consumer.poll()).toEqual([]);
      expect(consumer.positions().every(({ offset, highWatermark }) => offset === highWatermark)).toBe(true);
      await consumer.close();
    },
  );

  it('acks=0 is written without an answer', async () => {
    await new Admin(cluster).createTopic({ name: 'quiet', partitions: 1, replicationFactor: 1 });
    const producer = new Producer(cluster, { acks: 0 });
    expect(await producer.send('quiet', [{ key: null, value: Buffer.from('x') }])).toEqual([
      { partition: 0, baseOffset: -1, count: 1 },
    ]);
    const consumer = new Consumer(cluster, { from: 'earliest', maxWaitMs: 500 });
    await consumer.subscribe(['quiet']);
    expect(await consumer.poll()).toHaveLength(1);
  });
});
