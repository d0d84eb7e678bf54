import { CompressionTypes, ConfigResourceTypes, type Consumer, PartitionAssigners } from 'kafkajs';
import { beforeAll, describe, expect, it } from 'vitest';
import { type KafkaTarget, startTarget } from '../support/kafka-target.ts';
import { kafkaOf, readTopic } from '../support/readback.ts';
import { atEnd } from '../support/scope.ts';
import { eventually } from '../support/wait.ts';

const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);

describe('kafkajs', () => {
  let target: KafkaTarget;

  beforeAll(async () => {
    target = await startTarget();
  });

  async function admin() {
    const client = kafkaOf(target.bootstrap, 'admin').admin();
    await client.connect();
    atEnd(() => client.disconnect());
    return client;
  }

  async function produce(topic: string, values: string[], options: { acks?: number; idempotent?: boolean } = {}) {
    const producer = kafkaOf(target.bootstrap, 'producer').producer({ idempotent: options.idempotent ?? false });
    await producer.connect();
    try {
      await producer.send({
        topic,
        acks: options.acks ?? -1,
        messages: values.map((value) => ({ value, partition: 0 })),
      });
    } finally {
      await producer.disconnect();
    }
  }

  /** Reads in a group until `count` records came, commits, leaves. */
  async function readInGroup(groupId: string, topic: string, count: number): Promise<string[]> {
    const consumer = kafkaOf(target.bootstrap, groupId).consumer({ groupId, maxWaitTimeInMs: 100 });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    const seen: string[] = [];
    try {
      await new Promise<void>((resolve, reject) => {
        consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
        consumer
          .run({
            autoCommit: false,
            eachMessage: async ({ partition, message }) => {
              if (seen.length === count) return;
              seen.push(message.value!.toString());
              if (seen.length < count) return;
              const offset = String(Number(message.offset) + 1);
              await consumer.commitOffsets([{ topic, partition, offset, metadata: 'seen' }]);
              resolve();
            },
          })
          .catch(reject);
      });
    } finally {
      await consumer.disconnect();
    }
    return seen;
  }

  it.each([
    ['acks=all', { acks: -1 }],
    ['acks=1', { acks: 1 }],
    ['acks=0', { acks: 0 }],
    ['an idempotent producer', { acks: -1, idempotent: true }],
  ])('produces with %s and reads back in order', async (name, options) => {
    const topic = `js-${name.replace(/\W/g, '-')}`;
    await (await admin()).createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] });
    await produce(topic, numbered(500), options);
    const read = await eventually('500 records', 20_000, async () => {
      const records = await readTopic(target.bootstrap, topic);
      return records.length === 500 ? records : undefined;
    });
    expect(read.map(({ value }) => value)).toEqual(numbered(500));
    expect(read.map(({ offset }) => offset)).toEqual(Array.from({ length: 500 }, (_, i) => i));
  });

  it('gzip, keys, headers, timestamps and null values arrive as sent', async () => {
    const topic = 'js-fields';
    const producer = kafkaOf(target.bootstrap).producer();
    await producer.connect();
    await producer.send({
      topic,
      compression: CompressionTypes.GZIP,
      messages: [
        { key: 'k', value: 'v', headers: { unit: 'C', bytes: Buffer.from([0, 255]) }, timestamp: '1700000000000' },
        { key: 'k', value: null, timestamp: '1700000000001' },
      ],
    });
    await producer.disconnect();
    const consumer = kafkaOf(target.bootstrap).consumer({ groupId: 'js-fields' });
    await consumer.connect();
    atEnd(() => consumer.disconnect());
    await consumer.subscribe({ topic, fromBeginning: true });
    const seen: unknown[] = [];
    await consumer.run({
      eachMessage: async ({ message }) => {
        const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [
          name,
          [...Buffer.from(value as Buffer)],
        ]);
        seen.push([message.key?.toString(), message.value?.toString() ?? null, message.timestamp, headers]);
      },
    });
    await eventually('two records', 20_000, () => seen.length === 2 || undefined);
    expect(seen).toEqual([
      [
        'k',
        'v',
        '1700000000000',
        [
          ['unit', [67]],
          ['bytes', [0, 255]],
        ],
      ],
      ['k', null, '1700000000001', []],
    ]);
  });

  it('a group goes on where it stopped, also after the broker was killed', async () => {
    await (await admin()).createTopics({ topics: [{ topic: 'js-group', numPartitions: 1 }] });
    await produce('js-group', numbered(30));
    expect(await readInGroup('js-resumed', 'js-group', 10)).toEqual(numbered(10));
    await target.crash();
    expect(await readInGroup('js-resumed', 'js-group', 10)).toEqual(numbered(10, 10));
    expect(await readInGroup('js-resumed', 'js-group', 10)).toEqual(numbered(10, 20));
  });

  it('a group of three shares the partitions and takes over those of a member that leaves', async () => {
    const topic = 'js-shared';
    await (await admin()).createTopics({ topics: [{ topic, numPartitions: 6 }] });
    const owned = new Map<Consumer, number[]>();
    const join = async (name: string) => {
      const consumer = kafkaOf(target.bootstrap, name).consumer({
        groupId: 'js-shared',
        partitionAssigners: [PartitionAssigners.roundRobin],
        heartbeatInterval: 500,
        rebalanceTimeout: 10_000,
      });
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        owned.set(consumer, payload.memberAssignment[topic] ?? []);
      });
      await consumer.connect();
      await consumer.subscribe({ topic });
      await consumer.run({ eachMessage: async () => {} });
      return consumer;
    };
    const shares = () => [...owned.values()].map((partitions) => partitions.length).sort();
    const disjoint = () => [...owned.values()].flat().sort().join() === '0,1,2,3,4,5';
    const [first, second, third] = [await join('a'), await join('b'), await join('c')];
    await eventually('2 partitions each', 40_000, () => (shares().join() === '2,2,2' && disjoint()) || undefined);
    owned.delete(first);
    await first.disconnect();
    await eventually('3 partitions each', 40_000, () => (shares().join() === '3,3' && disjoint()) || undefined);
    await second.disconnect();
    await third.disconnect();
  }, 120_000);

  it('the admin client creates, describes, configures, trims and deletes', async () => {
    const client = await admin();
    const topic = 'js-admin';
    expect(await client.createTopics({ topics: [{ topic, numPartitions: 2 }] })).toBe(true);
    expect(await client.createTopics({ topics: [{ topic, numPartitions: 2 }] })).toBe(false);
    expect(await client.listTopics()).toContain(topic);
    await client.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    expect((await client.fetchTopicMetadata({ topics: [topic] })).topics[0]!.partitions).toHaveLength(3);

    await client.alterConfigs({
      validateOnly: false,
      resources: [
        { type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '5000000' }] },
      ],
    });
    const described = await client.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['retention.ms'] }],
    });
    expect(
      described.resources[0]!.configEntries.map(({ configName, configValue }) => [configName, configValue]),
    ).toEqual([['retention.ms', '5000000']]);

    await produce(topic, numbered(20));
    await client.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] });
    const [offsets] = (await client.fetchTopicOffsets(topic)).filter(({ partition }) => partition === 0);
    expect([offsets!.low, offsets!.high]).toEqual(['5', '20']);

    await client.deleteTopics({ topics: [topic] });
    expect(await client.listTopics()).not.toContain(topic);
    expect((await client.describeCluster()).brokers).toHaveLength(1);
  });

  it('groups are listed, described, reset and deleted', async () => {
    const client = await admin();
    const topic = 'js-groups';
    await client.createTopics({ topics: [{ topic, numPartitions: 1 }] });
    await produce(topic, numbered(10));
    await readInGroup('js-g', topic, 4);
    expect((await client.listGroups()).groups.map(({ groupId }) => groupId)).toContain('js-g');
    const offsets = () => client.fetchOffsets({ groupId: 'js-g', topics: [topic] });
    expect((await offsets())[0]!.partitions).toEqual([{ partition: 0, offset: '4', metadata: 'seen' }]);
    expect((await client.describeGroups(['js-g'])).groups[0]!.state).toBe('Empty');
    await client.setOffsets({ groupId: 'js-g', topic, partitions: [{ partition: 0, offset: '9' }] });
    expect((await offsets())[0]!.partitions[0]!.offset).toBe('9');
    await client.deleteGroups(['js-g']);
    expect((await client.listGroups()).groups.map(({ groupId }) => groupId)).not.toContain('js-g');
  });

  it('names an unknown topic, a bad topic name and an offset out of range', async () => {
    const client = await admin();
    await expect(client.createTopics({ topics: [{ topic: 'not allowed' }] })).rejects.toThrow();
    await expect(client.deleteTopics({ topics: ['js-nowhere'] })).rejects.toThrow();
    await expect(client.fetchTopicOffsets('js nowhere')).rejects.toThrow();
  });
});
