/**
 * What a link makes of records, against Apache Kafka: packed by each codec, chosen by rules, turned into JSON, and pulled down. Kafka's
 * Java clients write and read at the far end; the edge is killed in the middle.
 */
import { Encoder } from 'cbor-x';
import { beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../../src/client/cluster.ts';
import { systemEnv } from '../../src/env.ts';
import { codecOf, splitBatches } from '../../src/wire/batch/record-batch.ts';
import { fetch } from '../../src/wire/kafka/api/01-fetch.ts';
import { ApacheKafka, haveKafka, mustTool, startJavaSource } from '../support/apache-kafka.ts';
import { TestBroker } from '../support/broker.ts';
import { havePeers } from '../support/peers.ts';
import type { Child } from '../support/process.ts';
import { byKey, endOffsets, readTopic, type StoredRecord } from '../support/readback.ts';
import { publishAll } from '../support/replay.ts';
import { atEnd } from '../support/scope.ts';
import type { Reading } from '../support/series.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { eventually } from '../support/wait.ts';

const TESTS = 'what a link makes of records, against Apache Kafka';
const CODECS = ['gzip', 'snappy', 'lz4', 'zstd'] as const;
const WAIT_MS = 60_000;

/** Bytes as text that differs wherever they differ. */
const textOf = (bytes: Buffer) => bytes.toString('latin1');
/** What `byKey` must find of these. */
function valuesByKey(readings: readonly Reading[]): Map<string | null, string[]> {
  const values = new Map<string | null, string[]>();
  for (const { topic, payload } of readings) {
    const list = values.get(topic);
    if (list === undefined) values.set(topic, [textOf(payload)]);
    else list.push(textOf(payload));
  }
  return values;
}
const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);
const range = (from: number, end: number) => Array.from({ length: end - from }, (_, index) => from + index);

describe.runIf(havePeers(TESTS, 'javac') && haveKafka(TESTS))(TESTS, () => {
  let kafka: ApacheKafka;
  /** Every client of this Kafka goes through it. */
  let proxy: TcpProxy;
  let peer: Child;
  /** Commands given to the peer so far. */
  let told = 0;

  beforeAll(async () => {
    // Quotas are reckoned over two seconds, not eleven: what is above them shows at once.
    proxy = await TcpProxy.start();
    kafka = await ApacheKafka.start('4.3.1', { 'quota.window.num': '2' }, proxy.port);
    proxy.target = kafka.port;
    peer = startJavaSource('test/interop/kafka/LinkPeer.java', [kafka.bootstrap]);
    atEnd(async () => {
      await peer.stop('SIGKILL');
    });
  });

  /** One command for LinkPeer.java; what it printed. */
  async function tell(...words: (string | number)[]): Promise<string> {
    const before = peer.stdout.length;
    told++;
    peer.write(`${words.join(' ')}\n`);
    await peer.until(words.join(' '), 90_000, (stdout) =>
      stdout.match(/^done$/gm)?.length === told ? true : undefined,
    );
    return peer.stdout.slice(before);
  }

  /** What Kafka's own consumer reads of these topics, in the order of their partitions. */
  async function consumed(...topics: string[]): Promise<Map<string, StoredRecord[]>> {
    const found = new Map<string, StoredRecord[]>(topics.map((topic) => [topic, []]));
    for (const line of (await tell('read', ...topics)).split('\n')) {
      const [topic, partition, offset, key, value] = line.split('\t');
      if (value === undefined) continue;
      const text = textOf(Buffer.from(value, 'base64'));
      found.get(topic!)!.push({ partition: Number(partition), offset: Number(offset), key: key!, value: text });
    }
    for (const records of found.values()) records.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
    return found;
  }

  /** Records of a topic upstream; 0 while it is not there. */
  const upstream = (topic: string) => endOffsets(kafka.bootstrap, topic).then(sum, () => 0);

  const link = (name: string, ...more: string[]) =>
    [
      `  ${name}:`,
      '    type: kafka',
      `    bootstrap.servers: ${kafka.bootstrap}`,
      `    rename: "${name}.{topic}"`,
      '    acks: all',
      '    retry.backoff.ms: 50',
      '    retry.backoff.max.ms: 500',
      ...more.map((line) => `    ${line}`),
      '',
    ].join('\n');
  const config = (...links: string[]) =>
    [
      'memory.budget: 256MiB',
      'topics:',
      '  readings: { partitions: 2 }',
      'routes:',
      '  - { mqtt: "plant/#", topic: readings }',
      'links:',
      ...links,
    ].join('\n');

  /** Kills the edge when some of what is due, and not all of it, is upstream in every topic. */
  async function killHalfway(edge: TestBroker, topics: readonly string[], due: number): Promise<void> {
    await eventually(`some of ${due} records in ${topics.join(', ')}`, WAIT_MS, async () =>
      (await Promise.all(topics.map(upstream))).every((count) => count > 0),
    );
    await edge.kill();
    for (const topic of topics) expect(await upstream(topic), `${topic} when the edge died`).toBeLessThan(due);
  }

  /** The codecs of the batches in partition 0. */
  async function codecs(topic: string): Promise<string[]> {
    const cluster = new Cluster(systemEnv, { bootstrap: kafka.bootstrap });
    try {
      const leader = await cluster.leader(await cluster.topic(topic), 0);
      const partitions = [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 8 * 1024 * 1024 }];
      const body = {
        maxWaitMs: 100,
        minBytes: 1,
        maxBytes: 8 * 1024 * 1024,
        isolationLevel: 0,
        topics: [{ topic, partitions }],
      };
      const answer = await leader.send(fetch, body, { maxVersion: 12 });
      const { records } = answer.responses[0]!.partitions[0]!;
      return [...new Set(splitBatches(records ?? new Uint8Array(0)).map((batch) => codecOf(batch)))];
    } finally {
      cluster.close();
    }
  }

  it('packed by each codec, every record is upstream once and in order, also over a kill -9', async () => {
    const links = (cap: string) =>
      CODECS.map((codec) =>
        link(codec, 'topics: [readings]', `compression.type: ${codec}`, `max.bytes.per.second: ${cap}`),
      );
    const edge = await TestBroker.start({ brokerId: 'edge', config: config(...links('8KiB')) });
    const readings = range(0, 2_500).map((n) => ({
      topic: `plant/${n % 11}/temp`,
      payload: Buffer.from(
        JSON.stringify({ n, sensor: `kiln ${n % 11}`, celsius: 600 + (n % 37) / 4, note: 'as measured' }),
      ),
    }));
    await publishAll(edge.mqttUrl, readings);
    const topics = CODECS.map((codec) => `${codec}.readings`);
    await killHalfway(edge, topics, readings.length);
    edge.configure(config(...links('0')));
    await edge.start();
    await eventually('everything upstream', WAIT_MS, async () =>
      (await Promise.all(topics.map(upstream))).every((count) => count >= readings.length),
    );
    await eventually(
      'nothing left to send',
      WAIT_MS,
      async () => (await edge.metric('headwater_link_backlog_records')) === 0,
    );
    const here = await readTopic(edge.bootstrap, 'readings');
    expect(here).toHaveLength(readings.length);
    const published = valuesByKey(readings);
    const there = await consumed(...topics);
    for (const codec of CODECS) {
      const records = there.get(`${codec}.readings`)!;
      expect(byKey(records), codec).toEqual(published);
      // Nothing was left out, so offsets are the same as well.
      expect(records, codec).toEqual(here);
      expect(await codecs(`${codec}.readings`)).toEqual([codec]);
    }
    await edge.stop();
  });

  it('chosen by rules and turned into JSON, exactly the wanted records are upstream over a kill -9', async () => {
    const rules = (cap: string) => [
      link(
        'rules',
        'topics: [readings]',
        'filter: ["plant/+/temp", "!plant/3/#"]',
        'where: ["celsius >= 20", "site.name = north"]',
        `max.bytes.per.second: ${cap}`,
      ),
      link(
        'json',
        'topics: [readings]',
        'filter: ["plant/+/temp"]',
        'transform: cbor-to-json',
        `max.bytes.per.second: ${cap}`,
      ),
    ];
    const edge = await TestBroker.start({ brokerId: 'edge', config: config(...rules('20KiB')) });
    const { encode } = new Encoder({ useRecords: false });
    const values = range(0, 4_000).map((n) => ({
      n,
      celsius: (n * 7) % 40,
      site: { name: n % 5 === 0 ? 'south' : 'north' },
    }));
    const keyOf = (n: number) => `plant/${n % 6}/${n % 4 === 3 ? 'humidity' : 'temp'}`;
    // Every third one comes as JSON: it has to pass the same rules, and the transformation lets it be.
    const readings = values.map((value) => ({
      topic: keyOf(value.n),
      payload: value.n % 3 === 0 ? Buffer.from(JSON.stringify(value)) : Buffer.from(encode(value)),
    }));
    await publishAll(edge.mqttUrl, readings);
    const temperatures = values.filter(({ n }) => keyOf(n).endsWith('/temp'));
    const wanted = temperatures.filter(({ n, celsius, site }) => n % 6 !== 3 && celsius >= 20 && site.name === 'north');
    expect(wanted.length).toBeGreaterThan(300);
    await killHalfway(edge, ['rules.readings'], wanted.length);
    expect(await upstream('json.readings')).toBeLessThan(temperatures.length);
    edge.configure(config(...rules('0')));
    await edge.start();
    await eventually(
      'everything upstream',
      WAIT_MS,
      async () =>
        (await upstream('rules.readings')) >= wanted.length && (await upstream('json.readings')) >= temperatures.length,
    );
    await eventually(
      'nothing left to send',
      WAIT_MS,
      async () => (await edge.metric('headwater_link_backlog_records')) === 0,
    );
    const there = await consumed('rules.readings', 'json.readings');
    expect(byKey(there.get('rules.readings')!)).toEqual(valuesByKey(wanted.map(({ n }) => readings[n]!)));
    const asJson = temperatures.map((value) => ({
      topic: keyOf(value.n),
      payload: Buffer.from(JSON.stringify(value)),
    }));
    expect(byKey(there.get('json.readings')!)).toEqual(valuesByKey(asJson));
    expect(await edge.metric('headwater_link_lost_records_total')).toBe(0);
    await edge.stop();
  });

  it('pulls what every kind of producer wrote, once and in order, over a kill -9 of the edge and a restart of Kafka', async () => {
    const next = new Map<string, number>();
    /** Numbers of a partition go on from one producer to the next; what is aborted has none. */
    const produce = async (topic: string, partition: number, how: string, count: number): Promise<void> => {
      const from = how === 'aborted' ? 1_000_000 : (next.get(`${topic}/${partition}`) ?? 0);
      if (how !== 'aborted') next.set(`${topic}/${partition}`, from + count);
      await tell('produce', topic, partition, how, from, from + count);
    };
    const stored = (edge: TestBroker, topic: string) => endOffsets(edge.bootstrap, topic).then(sum, () => 0);
    const complete = (edge: TestBroker) =>
      eventually('everything pulled', WAIT_MS, async () => {
        for (const topic of ['commands.a', 'commands.b']) {
          const due = sum([...next].map(([name, count]) => (name.startsWith(`${topic}/`) ? count : 0)));
          if ((await stored(edge, topic)) < due) return undefined;
        }
        return true;
      });
    await tell('create', 'commands.a', 2);
    await tell('create', 'commands.b', 1);
    await tell('create', 'answers', 1);
    for (const how of ['plain', 'aborted', 'gzip', 'committed', 'zstd', 'aborted', 'idempotent', 'lz4', 'snappy']) {
      await produce('commands.a', 0, how, 300);
    }
    await produce('commands.a', 1, 'committed', 100);
    await produce('commands.b', 0, 'zstd', 12_000);
    await tell('produce', 'answers', 0, 'plain', 0, 10);

    const edge = await TestBroker.start({
      brokerId: 'edge',
      config: config(link('down', 'topics: []', 'pull: ["commands.*"]')),
    });
    await eventually('some of it pulled', WAIT_MS, async () => (await stored(edge, 'commands.b')) > 0);
    proxy.cut();
    expect(await stored(edge, 'commands.b'), 'pulled when the edge died').toBeLessThan(12_000);
    await edge.kill();
    proxy.restore();
    // Open while the edge is down and when it comes back.
    const from = next.get('commands.a/1')!;
    await tell('begin', 'commands.a', 1, from, from + 50);
    await edge.start();
    await complete(edge);
    await tell('end', 'commit');
    next.set('commands.a/1', from + 50);
    await complete(edge);

    await tell('begin', 'commands.a', 1, 1_000_000, 1_000_050);
    await tell('end', 'abort');
    await kafka.stop();
    await kafka.start();
    await produce('commands.a', 0, 'zstd', 200);
    await produce('commands.a', 1, 'aborted', 50);
    await produce('commands.a', 1, 'gzip', 100);
    await produce('commands.b', 0, 'committed', 100);
    await complete(edge);
    for (const [name, count] of next) {
      const [topic, partition] = name.split('/');
      const found = (await readTopic(edge.bootstrap, topic!)).filter(
        (record) => record.partition === Number(partition),
      );
      expect(
        found.map(({ value }) => Number(value)),
        name,
      ).toEqual(range(0, count));
    }
    expect(await stored(edge, 'answers')).toBe(0);
    await edge.stop();
  });

  it('is slowed by a client quota: nothing is lost or doubled, and the links wait instead of asking again', async () => {
    await mustTool('kafka-configs', [
      ...['--bootstrap-server', kafka.bootstrap, '--alter', '--add-config', 'producer_byte_rate=40000'],
      ...['--entity-type', 'clients', '--entity-default'],
    ]);
    // A pause may be longer than a request may take.
    const slow = (name: string, ...more: string[]) =>
      link(name, 'topics: [readings]', 'request.timeout.ms: 2s', `client.id: ${name}`, ...more);
    const links = ['slow', 'transactions'];
    const edge = await TestBroker.start({
      brokerId: 'edge',
      config: config(slow('slow'), slow('transactions', 'transactional: true')),
    });
    const readings = range(0, 4_000).map((n) => ({
      topic: `plant/${n % 5}/temp`,
      payload: Buffer.from(`${n}: ${'x'.repeat(60)}`),
    }));
    const since = performance.now();
    await publishAll(edge.mqttUrl, readings);
    const connections = proxy.connections;
    await eventually(
      'everything upstream',
      WAIT_MS,
      async () => (await edge.metric('headwater_link_backlog_records')) === 0,
    );
    expect((performance.now() - since) / 1000).toBeGreaterThan(3);
    for (const name of links) {
      const of = (what: string) => edge.metric(`headwater_link_${what}_total`, `link="${name}"`);
      expect(await of('throttle_seconds'), name).toBeGreaterThan(3);
      expect(await of('resends'), name).toBe(0);
      expect(await of('rebuilds'), name).toBe(0);
    }
    expect(await edge.metric('headwater_link_refusals_total')).toBe(0);
    expect(proxy.connections - connections).toBeLessThan(3);
    const there = await consumed(...links.map((name) => `${name}.readings`));
    for (const name of links) expect(byKey(there.get(`${name}.readings`)!), name).toEqual(valuesByKey(readings));
    await edge.stop();
  });
});
