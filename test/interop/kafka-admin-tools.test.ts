/** Apache Kafka's tools for operators: what one node cannot do is said clearly, what it can is done. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { beforeAll, describe, expect, it } from 'vitest';
import { haveKafka, kafkaTool, mustTool, type ToolName } from '../support/apache-kafka.ts';
import { AGAINST_KAFKA, type KafkaTarget, startTarget } from '../support/kafka-target.ts';
import { atEnd, tempDir } from '../support/scope.ts';

const lines = (text: string) => text.split('\n').filter((line) => line !== '');

describe.runIf(haveKafka("Apache Kafka's operator tools"))("Apache Kafka's operator tools", () => {
  let target: KafkaTarget;
  let kafka: Kafka;
  let nodeId: number;
  let dir: string;

  beforeAll(async () => {
    dir = tempDir('operator-tools');
    target = await startTarget();
    kafka = new Kafka({ brokers: [target.bootstrap], logLevel: logLevel.NOTHING });
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: 'held', numPartitions: 2 }] });
    nodeId = (await admin.describeCluster()).brokers[0]!.nodeId;
    await admin.disconnect();
  });

  const both = async (name: ToolName, ...args: string[]) => {
    const { code, stdout, stderr } = await kafkaTool(name, ['--bootstrap-server', target.bootstrap, ...args]);
    return { code, text: stdout + stderr };
  };
  const tool = (name: ToolName, ...args: string[]) => mustTool(name, ['--bootstrap-server', target.bootstrap, ...args]);

  it('kafka-leader-election finds nothing to elect', async () => {
    const held = ['--topic', 'held', '--partition', '0'];
    expect(await tool('kafka-leader-election', '--election-type', 'preferred', ...held)).toMatch(
      /Valid replica already elected for partitions held-0/,
    );
    expect((await both('kafka-leader-election', '--election-type', 'preferred', '--all-topic-partitions')).code).toBe(
      0,
    );
    const { code, text } = await both(
      'kafka-leader-election',
      ...['--election-type', 'preferred', '--topic', 'nowhere', '--partition', '0'],
    );
    expect(code).not.toBe(0);
    expect(text).toMatch(/nowhere-0.*UnknownTopicOrPartition|UnknownTopicOrPartition.*nowhere-0/s);
  });

  it('kafka-reassign-partitions moves nothing elsewhere and says so', async () => {
    const file = join(dir, 'reassign.json');
    const plan = (...replicas: number[]) =>
      writeFileSync(
        file,
        JSON.stringify({
          version: 1,
          partitions: [{ topic: 'held', partition: 0, replicas, log_dirs: replicas.map(() => 'any') }],
        }),
      );
    plan(nodeId);
    expect(await tool('kafka-reassign-partitions', '--reassignment-json-file', file, '--execute')).toMatch(
      /Successfully started partition reassignment for held-0/,
    );
    expect(await tool('kafka-reassign-partitions', '--reassignment-json-file', file, '--verify')).toMatch(
      /Reassignment of partition held-0 is completed/,
    );
    plan(nodeId, nodeId + 1);
    const { code, text } = await both('kafka-reassign-partitions', '--reassignment-json-file', file, '--execute');
    expect(code).not.toBe(0);
    expect(text).toMatch(/INVALID_REPLICA_ASSIGNMENT|InvalidReplicaAssignment|Unknown broker/);
    expect(await tool('kafka-reassign-partitions', '--list')).toMatch(/No partition reassignments found/);
  });

  it('kafka-acls says that no access rules are kept over the wire', async () => {
    const { text } = await both('kafka-acls', '--list');
    expect(text).toMatch(/SecurityDisabledException/);
    const add = await both(
      'kafka-acls',
      '--add',
      '--allow-principal',
      'User:a',
      '--operation',
      'read',
      '--topic',
      'held',
    );
    expect(add.text).toMatch(/SecurityDisabledException/);
  });

  it('kafka-transactions lists, describes, shows producers and aborts', async () => {
    const producer = kafka.producer({ transactionalId: 'operator', idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    atEnd(() => producer.disconnect());
    const transaction = await producer.transaction();
    await transaction.send({ topic: 'held', messages: [{ partition: 1, value: 'open' }] });
    const listed = await tool('kafka-transactions', 'list');
    const [, coordinator, producerId, state] = lines(listed)
      .map((line) => line.trim().split(/\s+/))
      .find(([id]) => id === 'operator')!;
    expect([coordinator, state]).toEqual([String(nodeId), 'Ongoing']);
    const described = await tool('kafka-transactions', 'describe', '--transactional-id', 'operator');
    expect(described).toMatch(new RegExp(`${nodeId}\\s+operator\\s+${producerId}\\s+\\d+\\s+Ongoing`));
    expect(described).toContain('held-1');
    const held = ['--topic', 'held', '--partition', '1'];
    const producers = lines(await tool('kafka-transactions', 'describe-producers', ...held));
    const row = producers.map((line) => line.trim().split(/\s+/)).find(([id]) => id === producerId)!;
    // ProducerId, ProducerEpoch, LatestCoordinatorEpoch, LastSequence, LastTimestamp, CurrentTransactionStartOffset
    expect([row[3], row[5]]).toEqual(['0', '0']);
    expect(lines(await tool('kafka-transactions', 'find-hanging', '--broker-id', String(nodeId)))).toHaveLength(1);
    await transaction.abort();
    expect(await tool('kafka-transactions', 'describe', '--transactional-id', 'operator')).toMatch(/CompleteAbort/);
  });

  it('kafka-consumer-groups deletes single offsets, and resets by duration, shift and file', async () => {
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic: 'held', messages: Array.from({ length: 10 }, () => ({ partition: 0, value: 'x' })) });
    await producer.disconnect();
    const group = ['--group', 'operated'];
    const reset = async (...how: string[]) => {
      const text = await tool('kafka-consumer-groups', '--reset-offsets', ...group, ...how);
      const rows = lines(text).map((line) => line.trim().split(/[\s,"]+/));
      const row = rows.find((cells) => cells.includes('held') && cells.includes('0'))!;
      return row.at(-1) === '' ? row.at(-2) : row.at(-1);
    };
    expect(await reset('--topic', 'held:0', '--to-latest', '--execute')).toBe('10');
    expect(await reset('--topic', 'held:0', '--shift-by', '-3', '--execute')).toBe('7');
    expect(await reset('--topic', 'held:0', '--by-duration', 'P1D', '--dry-run')).toBe('0');
    const file = join(dir, 'offsets.csv');
    writeFileSync(file, '"held",0,4\n');
    expect(await reset('--from-file', file, '--execute')).toBe('4');
    await tool('kafka-consumer-groups', '--delete-offsets', ...group, '--topic', 'held');
    const after = await both('kafka-consumer-groups', '--describe', ...group);
    expect(after.text).not.toMatch(/operated\s+held\s+0\s+4/);
  });

  it('kafka-configs sets quotas that hold a producer to its rate, also after the broker was killed', async () => {
    const slow = ['--entity-type', 'clients', '--entity-name', 'slow'];
    await tool(
      'kafka-configs',
      '--alter',
      ...slow,
      '--add-config',
      'producer_byte_rate=100000,consumer_byte_rate=200000',
    );
    await tool(
      'kafka-configs',
      '--alter',
      '--entity-type',
      'users',
      '--entity-default',
      '--add-config',
      'consumer_byte_rate=900000000',
    );
    await target.crash();
    const described = await tool('kafka-configs', '--describe', ...slow);
    expect(described).toMatch(/Quota configs for client-id 'slow' are .*producer_byte_rate=100000/);
    expect(described).toContain('consumer_byte_rate=200000');
    const since = performance.now();
    const args = ['--topic', 'held', '--num-records', '400', '--record-size', '1000', '--throughput', '-1'];
    await tool('kafka-producer-perf-test', ...args, '--command-property', 'client.id=slow');
    // 400 KB, 100 KB of which may go at once.
    expect(performance.now() - since).toBeGreaterThan(2_500);
    await tool('kafka-configs', '--alter', ...slow, '--delete-config', 'producer_byte_rate,consumer_byte_rate');
    expect(await tool('kafka-configs', '--describe', ...slow)).not.toContain('producer_byte_rate');
  });

  it.runIf(!AGAINST_KAFKA)('kafka-log-dirs and kafka-broker-api-versions name this node', async () => {
    expect(await tool('kafka-log-dirs', '--describe')).toContain(`"broker":${nodeId}`);
    expect(await tool('kafka-broker-api-versions')).toMatch(new RegExp(`id: ${nodeId} `));
  });
});
