/** Two real brokers as a pair: kill -9 of the first under load, one command, and clients carry on with the second. */
import { Kafka, logLevel } from 'kafkajs';
import mqtt, { type MqttClient } from 'mqtt';
import { describe, expect, it } from 'vitest';
import { Admin } from '../../src/client/admin.ts';
import { Cluster } from '../../src/client/cluster.ts';
import { systemEnv } from '../../src/env.ts';
import { HEADWATER, TestBroker } from '../support/broker.ts';
import { mustRun } from '../support/process.ts';
import { readTopic } from '../support/readback.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { eventually, pause } from '../support/wait.ts';

interface Status {
  readonly role: string;
  readonly state: string;
  readonly lagRecords: number;
  readonly leaderEpoch: number;
}

const SYNC = 'topics: { t: { partitions: 2, min.insync.replicas: 2 } }';

function config(nodeId: number, peer: number, role: string, more: string): string {
  return [
    `node.id: ${nodeId}`,
    'replica.lag.time.max.ms: 3000',
    more,
    'links:',
    `  pair: { type: standby, bootstrap.servers: "127.0.0.1:${peer}", replicas: sync, initial.role: ${role} }`,
    '',
  ].join('\n');
}

/** Each finds the other by a proxy, because neither knows the other's port before it runs. */
async function startPair(more = SYNC) {
  const [toFirst, toSecond] = [await TcpProxy.start(), await TcpProxy.start()];
  const first = new TestBroker({ brokerId: 'first', config: config(1, toSecond.port, 'leader', more) });
  const second = new TestBroker({ brokerId: 'second', config: config(2, toFirst.port, 'follower', '') });
  await first.start();
  toFirst.target = first.ports.kafka;
  await second.start();
  toSecond.target = second.ports.kafka;
  return { first, second };
}

async function status(broker: TestBroker): Promise<Status> {
  return (await (await broker.http('/api/v1/standby')).json()) as Status;
}

async function follows(broker: TestBroker): Promise<void> {
  await eventually(`${broker.name} follows`, 60_000, async () => {
    const found = await status(broker);
    return found.role === 'follower' && found.state === 'following' && found.lagRecords === 0;
  });
}

async function promote(broker: TestBroker): Promise<string> {
  return mustRun(HEADWATER, ['promote', '--http', `127.0.0.1:${broker.ports.http}`]);
}

function clientOf(...brokers: TestBroker[]): Kafka {
  return new Kafka({
    clientId: 'app',
    brokers: brokers.map(({ bootstrap }) => bootstrap),
    logLevel: logLevel.NOTHING,
    requestTimeout: 10_000,
    retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 100 },
  });
}

/** As this one broker lists them. */
async function clientGroups(broker: TestBroker): Promise<string[]> {
  const cluster = new Cluster(systemEnv, { bootstrap: broker.bootstrap });
  const { brokers } = await cluster.metadata([]);
  const id = brokers.find(({ port }) => port === broker.ports.kafka)!.id;
  const groups = await new Admin(cluster).groups(id);
  cluster.close();
  return groups.map((group) => group.id);
}

async function createTopic(broker: TestBroker, topic: string): Promise<void> {
  const admin = clientOf(broker).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
  await admin.disconnect();
}

describe('a pair of brokers', () => {
  it('loses nothing acknowledged with acks=all when the first is killed under load, and its offsets are the same', async () => {
    const { first, second } = await startPair();
    await follows(second);
    const client = clientOf(first, second);
    const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    const acknowledged = new Map<string, string>();
    let sent = 0;
    let stopped = false;
    const load = (async () => {
      while (!stopped) {
        const messages = Array.from({ length: 5 }, () => ({ partition: sent % 2, value: String(sent++) }));
        const [answer] = await producer.send({ topic: 't', acks: -1, messages }).catch(() => []);
        if (answer?.baseOffset === undefined) continue;
        for (const [i, { partition, value }] of messages.entries()) {
          if (partition === answer.partition && i === 0) acknowledged.set(`${partition}/${answer.baseOffset}`, value);
        }
        for (const { value } of messages) acknowledged.set(value, value);
      }
    })();
    const seen: string[] = [];
    const consumer = client.consumer({ groupId: 'g', sessionTimeout: 6_000, maxWaitTimeInMs: 100 });
    await consumer.connect();
    await consumer.subscribe({ topic: 't', fromBeginning: true });
    await consumer.run({
      autoCommitInterval: 200,
      eachMessage: async ({ message }) => void seen.push(String(message.value)),
    });
    await eventually(
      '400 records acknowledged and some of them consumed',
      60_000,
      () => sent > 400 && seen.length > 100,
    );

    // The follower refuses clients, clearly, and says where the leader is.
    const other = await mqtt.connectAsync(second.mqttUrl, { protocolVersion: 5, reconnectPeriod: 0 }).catch((e) => e);
    expect(String(other)).toMatch(/another server/i);
    const described = JSON.parse(
      await mustRun(HEADWATER, ['topics', 'describe', 't', '--bootstrap', second.bootstrap, '--json']),
    );
    expect(JSON.stringify(described)).toContain('"leader":1');

    // The group has committed, and the follower, which copies that twice a second, has had the time to see it.
    const watcher = clientOf(first).admin();
    await watcher.connect();
    await eventually('a commit of the group', 30_000, async () => {
      const [topic] = await watcher.fetchOffsets({ groupId: 'g', topics: ['t'] });
      return topic?.partitions.every(({ offset }) => Number(offset) > 0) || undefined;
    });
    await watcher.disconnect();
    await pause(3_000);

    await first.kill();
    const committed = seen.length;
    expect(await promote(second)).toMatch(/leads, leader epoch 1000/);
    // min.insync.replicas is 2 and the first is gone: acks=all is refused until it is told otherwise.
    const admin = clientOf(second).admin();
    await admin.connect();
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: 2, name: 't', configEntries: [{ name: 'min.insync.replicas', value: '1' }] }],
    });
    const before = sent;
    await eventually('the producer goes on with the second', 60_000, () => acknowledged.has(String(before + 20)));
    stopped = true;
    await load;
    await eventually('the group goes on with the second', 60_000, () => seen.length > committed + 20);

    const there = await readTopic(second.bootstrap, 't');
    const values = new Set(there.map(({ value }) => value));
    const at = new Map(there.map(({ partition, offset, value }) => [`${partition}/${offset}`, value]));
    const missing = [...acknowledged].filter(([key, value]) =>
      key.includes('/') ? at.get(key) !== value : !values.has(value),
    );
    expect(missing).toEqual([]);
    // At its offset: not from the beginning again.
    expect(seen.filter((value) => value === '0').length).toBeLessThanOrEqual(1);
    expect(there.length).toBe(values.size);

    // MQTT clients are served by the second now.
    const device = await mqtt.connectAsync(second.mqttUrl, { protocolVersion: 5 });
    await device.publishAsync('plant/1', 'x', { qos: 1 });
    await device.endAsync();

    // The old one comes back, finds the higher epoch and follows; both logs are the same in the end.
    await first.start();
    await follows(first);
    await eventually('both have the same records', 60_000, async () => {
      const [here, old] = [await readTopic(second.bootstrap, 't'), await status(first)];
      return here.length === there.length && old.lagRecords === 0;
    });
    expect((await status(first)).leaderEpoch).toBe(1_000);
    await Promise.all([producer, consumer, admin].map((one) => one.disconnect()));
    await second.stop();
    await first.stop();
  });

  it('fences a leader that still runs: what only it has goes to its loss ledger', async () => {
    const { first, second } = await startPair('topics: { t: { partitions: 1 } }');
    const client = clientOf(first);
    const producer = client.producer();
    await producer.connect();
    const send = (value: string) => producer.send({ topic: 't', acks: 1, messages: [{ value }] });
    for (let i = 0; i < 20; i++) await send(`common-${i}`);
    await follows(second);
    await eventually('the follower has it all', 30_000, async () => {
      const topic = (await (await second.http('/api/v1/topics/t')).json()) as {
        partitions: { logEndOffset: number }[];
      };
      return topic.partitions[0]!.logEndOffset === 20;
    });
    await producer.disconnect();
    // The first is frozen, as behind a cut cable, with a record that the second has not.
    await second.stop();
    await producer.connect();
    await send('only the first has it');
    await producer.disconnect();
    await first.kill();
    await second.start();
    await promote(second);
    const other = clientOf(second).producer();
    await other.connect();
    await other.send({ topic: 't', acks: 1, messages: [{ value: 'the second goes on' }] });
    await other.disconnect();
    await first.start();
    await follows(first);
    await eventually('what only the first had is in its loss ledger', 30_000, async () => {
      const lost = await first.metric('headwater_loss_ledger_offsets_total', 'reason="truncated"');
      if (lost !== 1) throw new Error(`${lost} offsets\n${first.output}`);
      return true;
    });
    // Promoted in its turn, it has what the second had.
    await second.stop();
    expect(await promote(first)).toMatch(/leader epoch 2000/);
    const values = (await readTopic(first.bootstrap, 't')).map(({ value }) => value);
    expect(values).toEqual([...Array.from({ length: 20 }, (_, i) => `common-${i}`), 'the second goes on']);
    // The second comes back while the first leads: it follows.
    await second.start();
    await follows(second);
    await first.stop();
    await second.stop();
  });

  it('asks the other and never itself: what goes at the leader goes, and neither loses sight of the other', async () => {
    const { first, second } = await startPair('topics: { t: { partitions: 1 } }');
    await follows(second);
    const admin = clientOf(first).admin();
    await admin.connect();
    const groupsOf = async (broker: TestBroker) => {
      const answer = await (await broker.http('/api/v1/groups')).json();
      return ['gone', 'stays'].filter((id) => JSON.stringify(answer).includes(`"${id}"`));
    };
    for (const groupId of ['gone', 'stays']) {
      await admin.setOffsets({ groupId, topic: 't', partitions: [{ partition: 0, offset: '0' }] });
    }
    await eventually('the follower has both groups', 30_000, async () => (await groupsOf(second)).length === 2);
    await admin.deleteGroups(['gone']);
    await eventually('the follower has one', 30_000, async () => (await groupsOf(second)).length === 1);
    expect(await groupsOf(second)).toEqual(['stays']);
    // What a tool that asks every broker is told by the one that follows: it coordinates nothing.
    expect((await clientGroups(second)).filter((id) => id === 'stays')).toEqual([]);
    await admin.disconnect();

    // Each is away once while the other looks for it.
    await first.stop();
    await pause(3_000);
    await first.start();
    await follows(second);
    await createTopic(first, 'later');
    await eventually('the follower has the new topic', 30_000, async () => {
      return (await second.http('/api/v1/topics/later')).status === 200;
    });
    await second.stop();
    await pause(3_000);
    await second.start();
    await follows(second);
    // The first leads and runs when the second is promoted.
    await promote(second);
    await follows(first);
    await first.stop();
    await second.stop();
  });

  it('takes MQTT over as it was: sessions and what waits for them, shared groups, wills, retained messages', async () => {
    const { first, second } = await startPair('topics: { t: { partitions: 1 } }');
    await follows(second);
    const phone = await Phone.connect(first);
    expect(phone.present).toBe(false);
    await phone.client.subscribeAsync(['plant/#', '$share/staff/jobs/#'], { qos: 1 });
    await phone.client.endAsync();
    const device = await mqtt.connectAsync(first.mqttUrl, {
      protocolVersion: 5,
      reconnectPeriod: 0,
      clientId: 'device',
      will: { topic: 'plant/lost', payload: Buffer.from('the device is gone'), qos: 1, retain: false },
    });
    await device.publishAsync('state/pump', 'on', { qos: 1, retain: true });
    await device.publishAsync('state/valve', 'open', { qos: 1, retain: true });
    for (let i = 0; i < 5; i++) await device.publishAsync('plant/1', `reading ${i}`, { qos: 1 });
    for (let i = 0; i < 3; i++) await device.publishAsync('jobs/1', `job ${i}`, { qos: 1 });
    await follows(second);
    await pause(2_000);
    device.on('error', () => undefined);
    await first.kill();
    await promote(second);

    const onSecond = await Phone.connect(second);
    expect(onSecond.present).toBe(true);
    const waiting = [
      ...[0, 1, 2, 3, 4].map((i) => `reading ${i}`),
      ...[0, 1, 2].map((i) => `job ${i}`),
      'the device is gone',
    ];
    await eventually('what waited comes', 30_000, () => onSecond.got.length >= waiting.length);
    expect([...onSecond.got].sort()).toEqual(waiting.sort());
    expect(await retainedAt(second)).toEqual({ 'state/pump': 'on', 'state/valve': 'open' });
    await onSecond.client.publishAsync('state/pump', 'off', { qos: 1, retain: true });
    await onSecond.client.publishAsync('state/valve', '', { qos: 1, retain: true });
    await onSecond.client.endAsync();
    await device.endAsync(true);

    // The other way round: what the first had of an earlier time gives way to what the second has.
    await first.start();
    await follows(first);
    // Where a shared group is, is stored every five seconds; what was acknowledged since then is delivered again after a crash.
    await pause(8_000);
    await second.kill();
    await promote(first);
    const back = await Phone.connect(first);
    expect(back.present).toBe(true);
    await back.client.publishAsync('plant/1', 'the newest', { qos: 1 });
    await eventually('a new message comes', 30_000, () => back.got.includes('the newest'));
    expect(back.got).toEqual(['the newest']);
    expect(await retainedAt(first)).toEqual({ 'state/pump': 'off' });
    await back.client.endAsync();
    await first.stop();
  });
});

/** A subscriber whose session outlives its connections. */
class Phone {
  readonly client: MqttClient;
  readonly got: string[] = [];
  present = false;

  private constructor(url: string) {
    this.client = mqtt.connect(url, {
      protocolVersion: 5,
      reconnectPeriod: 0,
      clientId: 'phone',
      clean: false,
      properties: { sessionExpiryInterval: 3_600 },
    });
    // Before the connection stands: what waits comes right behind the CONNACK.
    this.client.on('message', (_, payload) => this.got.push(String(payload)));
  }

  static async connect(broker: TestBroker): Promise<Phone> {
    const phone = new Phone(broker.mqttUrl);
    await new Promise<void>((resolve, reject) => {
      phone.client.once('connect', ({ sessionPresent }) => {
        phone.present = sessionPresent;
        resolve();
      });
      phone.client.once('error', reject);
    });
    return phone;
  }
}

/** What a new subscriber is given at once, by topic. */
async function retainedAt(broker: TestBroker): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const client = await mqtt.connectAsync(broker.mqttUrl, { protocolVersion: 5, reconnectPeriod: 0 });
  client.on('message', (topic, payload) => {
    found[topic] = String(payload);
  });
  await client.subscribeAsync('state/#', { qos: 1 });
  await pause(1_000);
  await client.endAsync();
  return found;
}
