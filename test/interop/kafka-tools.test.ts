import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { haveKafka, kafkaTool, mustTool, startTool, type ToolName } from '../support/apache-kafka.ts';
import { AGAINST_KAFKA, type KafkaTarget, startTarget } from '../support/kafka-target.ts';
import { tempDir } from '../support/scope.ts';
import { eventually } from '../support/wait.ts';

const lines = (text: string) => text.split('\n').filter((line) => line !== '');
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);
/** The row of a table whose cells start with `first`, split at blanks. */
const row = (table: string, ...first: string[]) =>
  lines(table)
    .map((line) => line.trim().split(/\s+/))
    .find((cells) => first.every((cell, i) => cells[i] === cell));

describe.runIf(haveKafka("Apache Kafka's command-line tools"))("Apache Kafka's command-line tools", () => {
  let target: KafkaTarget;
  let dir: string;

  beforeAll(async () => {
    dir = tempDir('tools');
    target = await startTarget();
  });

  const tool = (name: ToolName, ...args: string[]) => mustTool(name, ['--bootstrap-server', target.bootstrap, ...args]);
  const refused = async (name: ToolName, ...args: string[]) => {
    const { code, stdout, stderr } = await kafkaTool(name, ['--bootstrap-server', target.bootstrap, ...args]);
    expect(code, stdout + stderr).not.toBe(0);
    return stdout + stderr;
  };
  const create = (topic: string, partitions: number, ...config: string[]) =>
    tool(
      'kafka-topics',
      ...['--create', '--topic', topic, '--partitions', String(partitions), '--replication-factor', '1'],
      ...config.flatMap((pair) => ['--config', pair]),
    );
  const produce = async (topic: string, input: string[], ...options: string[]) =>
    mustTool('kafka-console-producer', ['--bootstrap-server', target.bootstrap, '--topic', topic, ...options], {
      input: `${input.join('\n')}\n`,
    });
  const consume = async (topic: string, count: number, ...options: string[]) =>
    lines(
      await tool(
        'kafka-console-consumer',
        ...['--topic', topic, '--max-messages', String(count), '--timeout-ms', '30000', ...options],
      ),
    );

  describe('kafka-topics', () => {
    it('creates, lists, describes, enlarges and deletes a topic', async () => {
      await create('t-life', 3, 'retention.ms=3600000', 'compression.type=zstd');
      expect(lines(await tool('kafka-topics', '--list'))).toContain('t-life');

      const described = await tool('kafka-topics', '--describe', '--topic', 't-life');
      expect(described).toMatch(/Topic: t-life\s+TopicId: [\w-]{22}\s+PartitionCount: 3\s+ReplicationFactor: 1/);
      expect(described).toContain('retention.ms=3600000');
      expect(described).toContain('compression.type=zstd');
      for (const partition of [0, 1, 2]) {
        expect(described).toMatch(new RegExp(`Partition: ${partition}\\s+Leader: \\d+\\s+Replicas: \\d+\\s+Isr: \\d+`));
      }

      await tool('kafka-topics', '--alter', '--topic', 't-life', '--partitions', '5');
      expect(await tool('kafka-topics', '--describe', '--topic', 't-life')).toContain('PartitionCount: 5');
      expect(await refused('kafka-topics', '--alter', '--topic', 't-life', '--partitions', '2')).toMatch(
        /InvalidPartitionsException|would not be an increase|currently has 5 partitions/,
      );

      await tool('kafka-topics', '--delete', '--topic', 't-life');
      expect(lines(await tool('kafka-topics', '--list'))).not.toContain('t-life');
      expect(await refused('kafka-topics', '--describe', '--topic', 't-life')).toMatch(/does not exist/);
    });

    it('gives a topic that is created again a new id and an empty log', async () => {
      await create('t-again', 1);
      await produce('t-again', numbered(5));
      const idOf = async () =>
        /TopicId: (\S+)/.exec(await tool('kafka-topics', '--describe', '--topic', 't-again'))?.[1];
      const before = await idOf();
      await tool('kafka-topics', '--delete', '--topic', 't-again');
      await create('t-again', 1);
      expect(await idOf()).not.toBe(before);
      expect((await tool('kafka-get-offsets', '--topic', 't-again')).trim()).toBe('t-again:0:0');
    });

    it('refuses a bad name, a known name, a bad setting and a replication factor of 3', async () => {
      expect(await refused('kafka-topics', '--create', '--topic', 'not allowed')).toMatch(
        /InvalidTopicException|illegal/i,
      );
      await create('t-known', 1);
      expect(await refused('kafka-topics', '--create', '--topic', 't-known')).toMatch(/already exists|TopicExists/);
      expect(await refused('kafka-topics', '--create', '--topic', 't-bad', '--config', 'retention.ms=soon')).toMatch(
        /retention\.ms/,
      );
      expect(await refused('kafka-topics', '--create', '--topic', 't-bad', '--config', 'no.such=1')).toMatch(
        /no\.such/,
      );
      expect(await refused('kafka-topics', '--create', '--topic', 't-bad', '--replication-factor', '3')).toMatch(
        /InvalidReplicationFactor|replication factor/i,
      );
      expect(lines(await tool('kafka-topics', '--list'))).not.toContain('t-bad');
    });
  });

  describe('kafka-console-producer and kafka-console-consumer', () => {
    it('carry lines with keys from the beginning, in order per key', async () => {
      await create('t-keys', 4);
      const input = Array.from({ length: 400 }, (_, i) => `key${i % 7}:value ${i}`);
      await produce('t-keys', input, '--reader-property', 'parse.key=true', '--reader-property', 'key.separator=:');
      const read = await consume(
        't-keys',
        ...([400, '--from-beginning', '--formatter-property', 'print.key=true'] as const),
        ...['--formatter-property', 'key.separator=:'],
      );
      expect(read).toHaveLength(400);
      for (let key = 0; key < 7; key++) {
        const of = (all: string[]) => all.filter((line) => line.startsWith(`key${key}:`));
        expect(of(read)).toEqual(of(input));
      }
    });

    it.each(['0', '1', 'all'])('produce with acks=%s', async (acks) => {
      await create(`t-acks-${acks}`, 1);
      await produce(`t-acks-${acks}`, numbered(100), '--command-property', `acks=${acks}`);
      expect(await consume(`t-acks-${acks}`, 100, '--from-beginning')).toEqual(numbered(100));
    });

    it.each(['gzip', 'snappy', 'lz4', 'zstd'])('produce with %s', async (codec) => {
      await create(`t-${codec}`, 1);
      await produce(`t-${codec}`, numbered(500), '--compression-codec', codec);
      expect(await consume(`t-${codec}`, 500, '--from-beginning')).toEqual(numbered(500));
    });

    it('see records live', async () => {
      await create('t-live', 1);
      const reader = startTool('kafka-console-consumer', [
        ...['--bootstrap-server', target.bootstrap, '--topic', 't-live', '--group', 'g-live'],
      ]);
      await eventually('the consumer to be assigned', 30_000, async () => {
        const state = await tool('kafka-consumer-groups', '--describe', '--group', 'g-live', '--state');
        return state.includes('Stable') || undefined;
      });
      await produce('t-live', numbered(10));
      await reader.until('10 records', 20_000, (stdout) => (lines(stdout).length >= 10 ? true : undefined));
      const { stdout } = await reader.stop();
      expect(lines(stdout)).toEqual(numbered(10));
    });

    it('go on in a group where they stopped, also after the broker was killed', async () => {
      await create('t-group', 1);
      await produce('t-group', numbered(30));
      const group = () => consume('t-group', 10, '--from-beginning', '--group', 'g-resumed');
      expect(await group()).toEqual(numbered(10));
      expect(await group()).toEqual(numbered(10, 10));
      await target.crash();
      expect(await group()).toEqual(numbered(10, 20));
    });
  });

  describe('kafka-consumer-groups', () => {
    const describeGroup = (group: string) => tool('kafka-consumer-groups', '--describe', '--group', group);

    it('lists, describes, resets and deletes', async () => {
      await create('t-admin', 1);
      await produce('t-admin', numbered(50));
      await consume('t-admin', 20, '--from-beginning', '--group', 'g-admin');
      expect(lines(await tool('kafka-consumer-groups', '--list'))).toContain('g-admin');
      // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG
      expect(row(await describeGroup('g-admin'), 'g-admin', 't-admin', '0')?.slice(3, 6)).toEqual(['20', '50', '30']);

      const reset = (...to: string[]) =>
        tool(
          'kafka-consumer-groups',
          '--reset-offsets',
          '--group',
          'g-admin',
          '--topic',
          't-admin',
          '--execute',
          ...to,
        );
      await reset('--to-earliest');
      expect(row(await describeGroup('g-admin'), 'g-admin', 't-admin', '0')?.slice(3, 6)).toEqual(['0', '50', '50']);
      await reset('--to-offset', '45');
      expect(row(await describeGroup('g-admin'), 'g-admin', 't-admin', '0')?.slice(3, 6)).toEqual(['45', '50', '5']);
      expect(await consume('t-admin', 5, '--group', 'g-admin')).toEqual(numbered(5, 45));

      await tool('kafka-consumer-groups', '--delete', '--group', 'g-admin');
      expect(lines(await tool('kafka-consumer-groups', '--list'))).not.toContain('g-admin');
    });

    it('shows the members of a group at work and does not delete it', async () => {
      await create('t-busy', 2);
      const reader = startTool('kafka-console-consumer', [
        ...['--bootstrap-server', target.bootstrap, '--topic', 't-busy', '--group', 'g-busy'],
        ...['--command-property', 'client.id=busy-bee'],
      ]);
      const members = await eventually('a member with both partitions', 30_000, async () => {
        const text = await tool('kafka-consumer-groups', '--describe', '--group', 'g-busy', '--members');
        return /\s2\s*$/m.test(text) ? text : undefined;
      });
      expect(members).toContain('busy-bee');
      expect(await tool('kafka-consumer-groups', '--describe', '--group', 'g-busy', '--state')).toMatch(
        /range.*Stable/,
      );
      // The tool reports the refusal with exit code 0.
      expect(await tool('kafka-consumer-groups', '--delete', '--group', 'g-busy')).toMatch(/not empty/);
      expect(lines(await tool('kafka-consumer-groups', '--list'))).toContain('g-busy');
      await reader.stop();
    });
  });

  it('kafka-configs describes and alters a topic', async () => {
    await create('t-config', 1);
    const entity = ['--entity-type', 'topics', '--entity-name', 't-config'];
    await tool('kafka-configs', '--alter', ...entity, '--add-config', 'retention.ms=60000,cleanup.policy=compact');
    let text = await tool('kafka-configs', '--describe', ...entity);
    expect(text).toContain('retention.ms=60000');
    expect(text).toContain('cleanup.policy=compact');
    await tool('kafka-configs', '--alter', ...entity, '--delete-config', 'retention.ms');
    text = await tool('kafka-configs', '--describe', ...entity);
    expect(text).not.toContain('retention.ms=60000');
    expect(text).toContain('cleanup.policy=compact');
    text = await tool('kafka-configs', '--describe', ...entity, '--all');
    expect(text).toMatch(/retention\.ms=604800000/);
    expect(text).toMatch(/max\.message\.bytes=1048588/);
    expect(await refused('kafka-configs', '--alter', ...entity, '--add-config', 'retention.ms=never')).toMatch(
      /retention\.ms/,
    );
  });

  it('kafka-configs describes the broker', async () => {
    const id = AGAINST_KAFKA ? '1' : /\(id: (\d+)/.exec(await tool('kafka-broker-api-versions'))![1]!;
    const text = await tool('kafka-configs', '--describe', '--entity-type', 'brokers', '--entity-name', id, '--all');
    expect(text).toMatch(/num\.partitions=\d+/);
    expect(text).toMatch(/message\.max\.bytes=\d+/);
  });

  it('kafka-get-offsets answers earliest, latest, the newest record and a time', async () => {
    await create('t-offsets', 1);
    await produce('t-offsets', numbered(7));
    const at = async (time: string) =>
      (await tool('kafka-get-offsets', '--topic', 't-offsets', '--time', time)).trim().replace(/^t-offsets:0:/, '');
    expect(await at('earliest')).toBe('0');
    expect(await at('latest')).toBe('7');
    expect(Number(await at('max-timestamp'))).toBeGreaterThanOrEqual(0);
    expect(await at('0')).toBe('0');
    const later = Date.now() + 1;
    while (Date.now() <= later) await new Promise((resolve) => setTimeout(resolve, 1));
    await produce('t-offsets', numbered(3, 7));
    expect(await at(String(later))).toBe('7');
  });

  it('kafka-delete-records moves the log start', async () => {
    await create('t-trim', 1);
    await produce('t-trim', numbered(10));
    const file = join(dir, 'delete.json');
    writeFileSync(file, JSON.stringify({ version: 1, partitions: [{ topic: 't-trim', partition: 0, offset: 6 }] }));
    expect(await tool('kafka-delete-records', '--offset-json-file', file)).toMatch(/low_watermark: 6/);
    expect(await consume('t-trim', 4, '--from-beginning')).toEqual(numbered(4, 6));
  });

  it('kafka-log-dirs shows sizes', async () => {
    await create('t-dirs', 1);
    await produce('t-dirs', numbered(100));
    const text = await tool('kafka-log-dirs', '--describe', '--topic-list', 't-dirs');
    const json = JSON.parse(lines(text).find((line) => line.startsWith('{'))!) as {
      brokers: { logDirs: { error: null; partitions: { partition: string; size: number }[] }[] }[];
    };
    const [partition] = json.brokers[0]!.logDirs[0]!.partitions;
    expect(partition!.partition).toBe('t-dirs-0');
    expect(partition!.size).toBeGreaterThan(100);
  });

  it('kafka-broker-api-versions finds every API it asks about usable', async () => {
    const text = await tool('kafka-broker-api-versions');
    expect(text).toContain(target.bootstrap);
    expect(text).toMatch(/Produce\(0\): 0 to \d+ \[usable: \d+\]/);
    expect(text).toMatch(/Fetch\(1\): 4 to \d+ \[usable: \d+\]/);
    for (const key of [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 32, 37, 42, 44, 60]) {
      expect(text, `API ${key}`).toMatch(new RegExp(`\\(${key}\\): [^U]*usable`));
    }
  });

  it('the performance tests write 100,000 records and read them all', async () => {
    await create('t-perf', 4);
    const written = await mustTool('kafka-producer-perf-test', [
      ...['--topic', 't-perf', '--num-records', '100000', '--record-size', '100', '--throughput', '-1'],
      ...['--bootstrap-server', target.bootstrap, '--command-property', 'acks=all'],
    ]);
    expect(written).toMatch(/^100000 records sent/m);
    const read = await mustTool('kafka-consumer-perf-test', [
      ...['--bootstrap-server', target.bootstrap, '--topic', 't-perf', '--num-records', '100000'],
      ...['--timeout', '60000'],
    ]);
    // start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, ...
    const cells = lines(read).at(-1)!.split(', ');
    expect(Number(cells[4])).toBe(100_000);
    process.stderr.write(`producer-perf-test: ${lines(written).at(-1)}\nconsumer-perf-test: ${lines(read).at(-1)}\n`);
  });

  it('the verifiable producer and consumer agree on every record', async () => {
    await create('t-verify', 3);
    const produced = lines(
      await mustTool('kafka-verifiable-producer', [
        ...['--bootstrap-server', target.bootstrap, '--topic', 't-verify', '--max-messages', '2000', '--acks', '-1'],
      ]),
    ).map((line) => JSON.parse(line) as { name: string; sent?: number; acked?: number; value?: string });
    expect(produced.filter(({ name }) => name === 'producer_send_success')).toHaveLength(2_000);
    expect(produced.find(({ name }) => name === 'tool_data')).toMatchObject({ sent: 2_000, acked: 2_000 });

    const consumed = lines(
      await mustTool('kafka-verifiable-consumer', [
        ...['--bootstrap-server', target.bootstrap, '--topic', 't-verify', '--group-id', 'g-verify'],
        ...['--max-messages', '2000', '--verbose', '--reset-policy', 'earliest'],
      ]),
    ).map((line) => JSON.parse(line) as { name: string; value?: string });
    const values = consumed.filter(({ name }) => name === 'record_data').map(({ value }) => value);
    expect(new Set(values).size).toBe(2_000);
    expect(values).toHaveLength(2_000);
  });
});
