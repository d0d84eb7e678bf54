/** Sessions that slept: what they read of the log, and from where each of their subscriptions goes on. */
import { afterEach, describe, expect, it } from 'vitest';
import { opened, type RawClient, startEdge, type TestEdge } from './harness.ts';

let running: TestEdge[] = [];
async function start(...args: Parameters<typeof startEdge>): Promise<TestEdge> {
  const edge = await startEdge(...args);
  running.push(edge);
  return edge;
}
afterEach(async () => {
  for (const edge of running) await edge.stop().catch(() => undefined);
  running = [];
});

const keep = (clientId: string, more: Record<string, unknown> = {}) => ({
  clientId,
  clean: false,
  properties: { sessionExpiryInterval: 1000, ...more },
});

async function leave(client: RawClient): Promise<void> {
  client.end();
  await client.untilClosed();
}

/** Takes and acknowledges `count` deliveries at QoS 1 or 2. */
async function drain(client: RawClient, count: number): Promise<[string, string][]> {
  const got: [string, string][] = [];
  let due = 0;
  while (got.length < count || due > 0) {
    const packet = await client.next();
    const { messageId } = packet;
    if (packet.cmd === 'publish') {
      got.push([packet.topic, String(packet.payload)]);
      if (packet.qos === 2) due++;
      client.send({ cmd: packet.qos === 2 ? 'pubrec' : 'puback', messageId });
    } else if (packet.cmd === 'pubrel') {
      client.send({ cmd: 'pubcomp', messageId });
      due--;
    } else throw new Error(`unexpected ${packet.cmd}`);
  }
  return got;
}

const DEVICES = 200;
const RECORDS = 6000;
const SMALL_LOG = { numPartitions: 1, writeBufferBytes: 100_000, sliceBytes: 500_000 };

/** Publishes in waves, each record 200 bytes, its number in the payload. */
async function fill(edge: TestEdge, topicOf: (i: number) => string): Promise<void> {
  const publisher = await opened(edge.port, 5);
  for (let i = 0; i < RECORDS; i += 30) {
    for (let n = 0; n < 30; n++) {
      publisher.publish(topicOf(i + n), `${i + n}`.padEnd(200, '.'), { qos: 1, messageId: n + 1 });
    }
    for (let n = 0; n < 30; n++) await publisher.next('puback');
  }
  publisher.end();
}

describe('a session that wants little', () => {
  it.each([
    ['an exact filter', 'site/17/temp', 1],
    ['an exact filter', 'site/17/temp', 2],
    ['a wildcard below', 'site/17/#', 1],
    ['a wildcard above', '+/17/temp', 1],
    ['a shared subscription', '$share/g/site/17/+', 1],
  ] as const)('%s (%s, QoS %d): gets its records in order after a crash, and reads little', async (_, filter, qos) => {
    const before = await startEdge({}, {}, undefined, SMALL_LOG);
    const client = await opened(before.port, 5, keep('sleeper'));
    await client.subscribe(filter, qos);
    await leave(client);
    await fill(before, (i) => `site/${(i * 7) % DEVICES}/temp`);
    before.crash();

    const edge = await start({}, {}, before.disk, SMALL_LOG);
    const stored = edge.log.liveBytes;
    const awake = await opened(edge.port, 5, keep('sleeper'));
    const got = await drain(awake, RECORDS / DEVICES);
    const numbers = got.map(([, payload]) => Number.parseInt(payload, 10));
    expect(numbers).toEqual([...Array(RECORDS).keys()].filter((i) => (i * 7) % DEVICES === 17));
    expect(new Set(got.map(([topic]) => topic))).toEqual(new Set(['site/17/temp']));
    await awake.quiet();
    const read = edge.counterNow('headwater_log_read_bytes_total');
    expect(read).toBeGreaterThan(0);
    // The open chunk has no filter yet, and how much lies in it depends on how the commits fell.
    expect(read).toBeLessThan(stored * 0.6);
    expect(edge.counterNow('headwater_log_passed_offsets_total')).toBeGreaterThan(RECORDS * 0.5);
  });

  it('one that subscribes to everything gets everything', async () => {
    const before = await start({}, {}, undefined, SMALL_LOG);
    const client = await opened(before.port, 5, keep('sleeper'));
    await client.subscribe('#', 1);
    await leave(client);
    await fill(before, (i) => `site/${i % DEVICES}/temp`);
    await before.stop();
    const edge = await start({}, {}, before.disk, SMALL_LOG);
    const awake = await opened(edge.port, 5, keep('sleeper'));
    const got = await drain(awake, RECORDS);
    expect(got.map(([, payload]) => Number.parseInt(payload, 10))).toEqual([...Array(RECORDS).keys()]);
  });
});

it('whatever way a record came, and whatever its key is, it is found by its topic', async () => {
  const routes = [
    { mqtt: 'dev/+/cmd', topic: 'commands', key: '{1}' },
    { mqtt: 'named/#', topic: 'named', key: '{client}' },
  ];
  const before = await start({ routes }, {}, undefined, { numPartitions: 1 });
  const filters = ['dev/7/cmd', 'named/a', 'plain/a'];
  for (const filter of filters) {
    const client = await opened(before.port, 5, keep(`sleeper ${filter}`));
    await client.subscribe(filter, 2);
    await leave(client);
  }
  const publisher = await opened(before.port, 5);
  for (const qos of [0, 1, 2] as const) {
    for (const name of filters.flatMap((filter) => [filter, `${filter}/other`])) {
      publisher.publish(name, `qos ${qos}`, { qos, messageId: 1 });
      if (qos === 0) await publisher.quiet();
      else await publisher.next(qos === 1 ? 'puback' : 'pubrec');
      if (qos !== 2) continue;
      publisher.send({ cmd: 'pubrel', messageId: 1 });
      await publisher.next('pubcomp');
    }
  }
  const produce = (topic: string, key: string, headers: { key: string; value: Buffer }[] = []) =>
    new Promise<void>((resolve, reject) =>
      before.log
        .topic(topic)!
        .partitions[0]!.appendRecord(
          { key: Buffer.from(key), value: Buffer.from('produced'), headers, timestamp: -1 },
          1,
          (error) => (error === null ? resolve() : reject(error)),
        ),
    );
  await produce('commands', '7');
  await produce('commands', '8');
  await produce('named', 'whatever', [{ key: 'mqtt.topic', value: Buffer.from('named/a') }]);
  await produce('mqtt', 'plain/a');
  await produce('mqtt', 'plain/b');
  await before.stop();
  const edge = await start({ routes }, {}, before.disk, { numPartitions: 1 });
  for (const filter of filters) {
    const awake = await opened(edge.port, 5, keep(`sleeper ${filter}`));
    const payloads: string[] = [];
    while (payloads.length < 4) {
      const packet = await awake.next();
      if (packet.cmd === 'publish') {
        expect(packet.topic).toBe(filter);
        payloads.push(String(packet.payload));
      }
    }
    // Order holds per QoS [MQTT-4.6.0-6].
    expect(payloads.sort()).toEqual(['produced', 'qos 0', 'qos 1', 'qos 2']);
    await awake.quiet();
  }
});

describe('a start in the past', () => {
  it('outlives sleep and a restart, each subscription from its own position', async () => {
    const before = await start({}, {}, undefined, { numPartitions: 1 });
    const publisher = await opened(before.port, 5);
    for (let i = 0; i < 6; i++) {
      publisher.publish(i % 2 === 0 ? 'past/x' : 'other/x', `${i}`, { qos: 1, messageId: i + 1 });
      await publisher.next('puback');
    }
    // One at a time: it leaves in the middle of the past.
    const client = await opened(before.port, 5, keep('c', { receiveMaximum: 1 }));
    await client.subscribe('other/#', 1);
    await client.subscribe('past/#', 1, {}, { userProperties: { 'headwater-start': 'earliest' } });
    expect(await drain(client, 1)).toEqual([['past/x', '0']]);
    const second = await client.next('publish');
    expect(String(second.payload)).toBe('2');
    await leave(client);
    publisher.publish('other/x', '6', { qos: 1, messageId: 9 });
    await publisher.next('puback');
    await before.stop();

    const edge = await start({}, {}, before.disk, { numPartitions: 1 });
    const awake = await opened(edge.port, 5, keep('c'));
    expect(await drain(awake, 3)).toEqual([
      ['past/x', '2'],
      ['past/x', '4'],
      // Not 1, 3 and 5: they were published before this subscription was made.
      ['other/x', '6'],
    ]);
    await awake.quiet();
  });
});
