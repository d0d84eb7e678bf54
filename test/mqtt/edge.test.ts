import { afterEach, describe, expect, it } from 'vitest';
import type { LogRecord } from '../../src/log/types.ts';
import { readRecords } from '../../src/mqtt/read-records.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { opened, RawClient, startEdge, type TestEdge } from './harness.ts';

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

async function records(edge: TestEdge, topic: string): Promise<LogRecord[]> {
  const found: LogRecord[] = [];
  for (const partition of edge.log.topic(topic)?.partitions ?? []) {
    await readRecords(partition, partition.logStartOffset, partition.logEndOffset, 1 << 24, (_, record) => {
      found.push(record);
      return true;
    });
  }
  return found;
}

describe.each([4, 5] as const)('publish and subscribe, protocol level %i', (version) => {
  it('a QoS 1 publish is acknowledged when it is stored, under its MQTT topic as key', async () => {
    const edge = await start();
    const client = await opened(edge.port, version);
    client.publish('a/b', 'hello', { qos: 1, messageId: 7 });
    expect((await client.next('puback')).messageId).toBe(7);
    const [record] = await records(edge, 'mqtt');
    expect([String(record!.key), String(record!.value), record!.headers]).toEqual(['a/b', 'hello', []]);
  });

  it.each([0, 1, 2])('a live subscriber of QoS 2 receives a publish of QoS %i', async (qos) => {
    const edge = await start();
    const subscriber = await opened(edge.port, version);
    expect((await subscriber.subscribe('a/+', 2)).granted).toEqual([2]);
    const publisher = await opened(edge.port, version);
    publisher.publish('a/b', 'x', { qos, messageId: 1 });
    if (qos === 1) await publisher.next('puback');
    if (qos === 2) {
      await publisher.next('pubrec');
      publisher.send({ cmd: 'pubrel', messageId: 1 });
      await publisher.next('pubcomp');
    }
    const packet = await subscriber.next('publish');
    expect([packet.topic, String(packet.payload), packet.qos, packet.retain, packet.dup]).toEqual([
      'a/b',
      'x',
      qos,
      false,
      false,
    ]);
    if (qos === 1) subscriber.send({ cmd: 'puback', messageId: packet.messageId });
    if (qos === 2) {
      subscriber.send({ cmd: 'pubrec', messageId: packet.messageId });
      expect((await subscriber.next('pubrel')).messageId).toBe(packet.messageId);
      subscriber.send({ cmd: 'pubcomp', messageId: packet.messageId });
    }
    await subscriber.quiet();
    expect(edge.edge.clients().every((client) => client.inFlight === 0)).toBe(true);
  });

  it('a repeated QoS 2 publish is stored once', async () => {
    const edge = await start();
    const client = await opened(edge.port, version);
    client.publish('a', 'x', { qos: 2, messageId: 5 });
    await client.next('pubrec');
    client.publish('a', 'x', { qos: 2, messageId: 5, dup: true });
    await client.next('pubrec');
    client.send({ cmd: 'pubrel', messageId: 5 });
    await client.next('pubcomp');
    client.publish('a', 'y', { qos: 2, messageId: 5 });
    await client.next('pubrec');
    expect((await records(edge, 'mqtt')).map((record) => String(record.value))).toEqual(['x', 'y']);
  });

  it('a persistent session gets what was published while it was away, in order, after a restart of the broker too', async () => {
    const first = await start();
    const keep = version === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 1000 } };
    const subscriber = await opened(first.port, version, { ...keep, clientId: 'sub' });
    await subscriber.subscribe('t/#', 1);
    subscriber.end();
    await subscriber.untilClosed();
    const publisher = await opened(first.port, version);
    for (let i = 1; i <= 20; i++) {
      publisher.publish('t/1', `m${i}`, { qos: 1, messageId: i });
      await publisher.next('puback');
    }
    await first.stop();
    const second = await start({}, {}, first.disk);
    const late = await opened(second.port, version);
    late.publish('t/1', 'm21', { qos: 1, messageId: 1 });
    await late.next('puback');
    const back = new RawClient(second.port, version);
    const connack = await back.connect({ ...keep, clientId: 'sub' });
    expect(connack.sessionPresent).toBe(true);
    const got: string[] = [];
    while (got.length < 21) {
      const packet = await back.next('publish');
      got.push(String(packet.payload));
      back.send({ cmd: 'puback', messageId: packet.messageId });
    }
    expect(got).toEqual(Array.from({ length: 21 }, (_, i) => `m${i + 1}`));
    late.publish('t/1', 'live', { qos: 1, messageId: 2 });
    expect(String((await back.next('publish')).payload)).toBe('live');
  });

  it('what was in flight at a crash goes out again: QoS 2 under its identifier, no message twice', async () => {
    const first = await start();
    const keep = version === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 1000 } };
    const subscriber = await opened(first.port, version, { ...keep, clientId: 'sub' });
    await subscriber.subscribe('t', 2);
    const publisher = await opened(first.port, version);
    for (const id of [1, 2, 3]) {
      publisher.publish('t', `m${id}`, { qos: 2, messageId: id });
      await publisher.next('pubrec');
    }
    const sent = [await subscriber.next('publish'), await subscriber.next('publish'), await subscriber.next('publish')];
    // The first is complete, the second is released, the third has not been answered.
    subscriber.send({ cmd: 'pubrec', messageId: sent[0].messageId });
    await subscriber.next('pubrel');
    subscriber.send({ cmd: 'pubcomp', messageId: sent[0].messageId });
    subscriber.send({ cmd: 'pubrec', messageId: sent[1].messageId });
    await subscriber.next('pubrel');
    first.crash();
    running = [];
    const second = await start({}, {}, first.disk);
    const back = new RawClient(second.port, version);
    expect((await back.connect({ ...keep, clientId: 'sub' })).sessionPresent).toBe(true);
    const again = new Map<number, string>();
    while (!again.has(sent[2].messageId)) {
      const packet = await back.next();
      again.set(packet.messageId, packet.cmd);
      if (packet.cmd === 'publish') {
        expect([packet.messageId, String(packet.payload), packet.dup]).toEqual([sent[2].messageId, 'm3', true]);
      } else back.send({ cmd: 'pubcomp', messageId: packet.messageId });
    }
    expect(again.get(sent[1].messageId)).toBe('pubrel');
    await back.quiet();
  });

  it('a QoS 2 publish whose PUBREC was lost in a crash is stored once', async () => {
    const first = await start();
    const keep = version === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 1000 } };
    const publisher = await opened(first.port, version, { ...keep, clientId: 'pub' });
    publisher.publish('t', 'once', { qos: 2, messageId: 9 });
    await publisher.next('pubrec');
    first.crash();
    running = [];
    const second = await start({}, {}, first.disk);
    const back = new RawClient(second.port, version);
    expect((await back.connect({ ...keep, clientId: 'pub' })).sessionPresent).toBe(true);
    back.publish('t', 'once', { qos: 2, messageId: 9, dup: true });
    await back.next('pubrec');
    back.send({ cmd: 'pubrel', messageId: 9 });
    await back.next('pubcomp');
    expect(await records(second, 'mqtt')).toHaveLength(1);
    back.publish('t', 'new', { qos: 2, messageId: 9 });
    await back.next('pubrec');
    expect(await records(second, 'mqtt')).toHaveLength(2);
  });

  it('retained messages go to new subscribers, survive a restart and are removed by an empty payload', async () => {
    const first = await start();
    const publisher = await opened(first.port, version);
    publisher.publish('r/1', 'old', { qos: 1, messageId: 1, retain: true });
    await publisher.next('puback');
    publisher.publish('r/1', 'new', { qos: 1, messageId: 2, retain: true });
    await publisher.next('puback');
    await first.stop();
    running = [];
    const second = await start({}, {}, first.disk);
    const subscriber = await opened(second.port, version);
    await subscriber.subscribe('r/#', 1);
    const packet = await subscriber.next('publish');
    expect([packet.topic, String(packet.payload), packet.retain, packet.qos]).toEqual(['r/1', 'new', true, 1]);
    subscriber.publish('r/1', '', { qos: 1, messageId: 3, retain: true });
    const removal = [await subscriber.next(), await subscriber.next()];
    expect(removal.map((one) => one.cmd).sort()).toEqual(['puback', 'publish']);
    expect(removal.find((one) => one.cmd === 'publish').retain).toBe(false);
    const other = await opened(second.port, version);
    await other.subscribe('r/#', 1);
    await other.quiet();
  });

  it('sends the will when the connection breaks, and not after DISCONNECT', async () => {
    const edge = await start();
    const watcher = await opened(edge.port, version);
    await watcher.subscribe('will/#', 1);
    const will = { topic: 'will/a', payload: Buffer.from('gone'), qos: 1, retain: false };
    const polite = await opened(edge.port, version, { will: { ...will, topic: 'will/b' } });
    polite.send({ cmd: 'disconnect' });
    await polite.untilClosed();
    const rude = await opened(edge.port, version, { will });
    rude.end();
    const packet = await watcher.next('publish');
    expect([packet.topic, String(packet.payload)]).toEqual(['will/a', 'gone']);
  });

  it('takes a session over: the older connection is closed', async () => {
    const edge = await start();
    const one = await opened(edge.port, version, { clientId: 'same' });
    const two = await opened(edge.port, version, { clientId: 'same' });
    const last = await one.untilClosed();
    if (version === 5) expect(last[0].reasonCode).toBe(0x8e);
    await two.quiet();
  });

  it('a subscriber with a full window falls behind, catches up in order and is live again', async () => {
    const edge = await start();
    const slow = await opened(edge.port, version, version === 5 ? { properties: { receiveMaximum: 5 } } : {});
    await slow.subscribe('s', 1);
    const publisher = await opened(edge.port, version);
    const total = 600;
    for (let i = 1; i <= total; i++) publisher.publish('s', `${i}`, { qos: 1, messageId: i });
    for (let i = 1; i <= total; i++) await publisher.next('puback');
    const got: number[] = [];
    const max = version === 5 ? 5 : 256;
    while (slow.received.length < max) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(slow.received.length).toBe(max);
    while (got.length < total) {
      const packet = await slow.next('publish');
      got.push(Number(packet.payload));
      slow.send({ cmd: 'puback', messageId: packet.messageId });
    }
    expect(got).toEqual(Array.from({ length: total }, (_, i) => i + 1));
    expect(edge.counterNow('headwater_mqtt_fell_behind_total')).toBeGreaterThan(0);
    publisher.publish('s', 'live', { qos: 1, messageId: 1 });
    expect(String((await slow.next('publish')).payload)).toBe('live');
  });
});

describe('routes', () => {
  const routes = [
    { mqtt: 'plant/+/temp', topic: 'temperature', key: '{1}' },
    { mqtt: 'live/#', topic: 'unused', store: false },
    { mqtt: 'cmd/#', topic: 'commands' },
    { mqtt: 'dev/#', topic: 'devices', key: '{client}' },
    { mqtt: 'fast/#', topic: 'fast', acks: 0 as const },
  ];

  it('the key comes from the template and the topic goes into a header when it is not the key', async () => {
    const edge = await start({ routes });
    const client = await opened(edge.port, 4, { clientId: 'dev-1' });
    client.publish('plant/7/temp', '21', { qos: 1, messageId: 1 });
    await client.next('puback');
    client.publish('dev/x', 'y', { qos: 1, messageId: 2 });
    await client.next('puback');
    const [temperature] = await records(edge, 'temperature');
    expect([String(temperature!.key), temperature!.headers.map((one) => `${one.key}=${one.value}`)]).toEqual([
      '7',
      ['mqtt.topic=plant/7/temp'],
    ]);
    expect(String((await records(edge, 'devices'))[0]!.key)).toBe('dev-1');
    expect(edge.log.topic('unused')).toBeUndefined();
  });

  it('what Kafka clients produce to a routed topic reaches the subscribers of its MQTT topic', async () => {
    const edge = await start({ routes });
    const client = await opened(edge.port, 5);
    await client.subscribe('cmd/+', 1);
    await client.subscribe('plant/#', 1);
    const produce = (topic: string, key: string, value: string) =>
      new Promise<void>((resolve, reject) => {
        const batch = encodeBatch(
          [
            {
              key: Buffer.from(key),
              value: Buffer.from(value),
              headers: [{ key: 'who', value: Buffer.from('app') }],
              timestamp: Date.now(),
            },
          ],
          { now: Date.now() },
        );
        edge.log
          .topic(topic)!
          .partitions[0]!.appendBatch(batch, { acks: 1, origin: 'client' }, (error) =>
            error === null ? resolve() : reject(error),
          );
      });
    await produce('commands', 'cmd/valve', 'open');
    await produce('commands', 'not/routed', 'ignored');
    await produce('temperature', '9', '22');
    const one = await client.next('publish');
    expect([one.topic, String(one.payload), one.qos, { ...one.properties.userProperties }]).toEqual([
      'cmd/valve',
      'open',
      1,
      { who: 'app' },
    ]);
    const two = await client.next('publish');
    expect([two.topic, String(two.payload)]).toEqual(['plant/9/temp', '22']);
    await client.quiet();
  });

  it('a live-only route stores nothing and delivers', async () => {
    const edge = await start({ routes });
    const client = await opened(edge.port, 4);
    await client.subscribe('live/#', 0);
    client.publish('live/a', 'now', { qos: 1, messageId: 1 });
    const got = [await client.next(), await client.next()];
    expect(got.map((one) => one.cmd).sort()).toEqual(['puback', 'publish']);
    expect(await records(edge, 'mqtt')).toEqual([]);
  });
});

describe('reading the past over MQTT 5', () => {
  const subscribeFrom = async (edge: TestEdge, start: string) => {
    const client = await opened(edge.port, 5);
    await client.subscribe(
      'past/#',
      1,
      {},
      { userProperties: { 'headwater-start': start, 'headwater-position': 'true' } },
    );
    return client;
  };
  const fill = async (edge: TestEdge) => {
    const publisher = await opened(edge.port, 5);
    for (let i = 0; i < 5; i++) {
      publisher.publish('past/x', `${i}`, { qos: 1, messageId: i + 1 });
      await publisher.next('puback');
    }
    return publisher;
  };

  it('a subscription starts at the earliest record or an offset, with the position of each delivery, then is live', async () => {
    const edge = await start();
    const publisher = await fill(edge);
    const earliest = await subscribeFrom(edge, 'earliest');
    const later = await subscribeFrom(edge, 'offset:3');
    publisher.publish('past/x', '5', { qos: 1, messageId: 9 });
    const read = async (client: RawClient, count: number) => {
      const got: [string, string][] = [];
      while (got.length < count) {
        const packet = await client.next('publish');
        expect(packet.properties.userProperties['headwater-topic']).toBe('mqtt');
        got.push([String(packet.payload), packet.properties.userProperties['headwater-offset']]);
      }
      return got;
    };
    const all = Array.from({ length: 6 }, (_, i) => [`${i}`, `${i}`]);
    expect(await read(earliest, 6)).toEqual(all);
    expect(await read(later, 3)).toEqual(all.slice(3));
  });

  it('a subscription starts at a time; others of the session are not repeated', async () => {
    const edge = await start();
    await fill(edge);
    const client = await opened(edge.port, 5);
    await client.subscribe('past/x', 1);
    await client.subscribe(
      'past/+',
      0,
      {},
      {
        userProperties: { 'headwater-start': new Date(Date.now() - 60_000).toISOString() },
        subscriptionIdentifier: 4,
      },
    );
    for (let i = 0; i < 5; i++) {
      const packet = await client.next('publish');
      expect([String(packet.payload), packet.qos, packet.properties.subscriptionIdentifier]).toEqual([`${i}`, 0, 4]);
    }
    await client.quiet();
  });

  it('what is no position is refused and says what is allowed', async () => {
    const edge = await start();
    const client = await opened(edge.port, 5);
    client.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [{ topic: 'a', qos: 0 }],
      properties: { userProperties: { 'headwater-start': 'yesterday' } },
    });
    const [disconnect] = await client.untilClosed();
    expect([disconnect.reasonCode, disconnect.properties.reasonString]).toEqual([
      0x83,
      expect.stringContaining('earliest'),
    ]);
  });
});

describe('a refused append', () => {
  it.each([4, 5] as const)(
    'is told in 5.0 and not acknowledged in 3.1.1; nothing is stored (level %i)',
    async (version) => {
      const edge = await start();
      const client = await opened(edge.port, version);
      await client.subscribe('full/#', 1);
      edge.disk.capacityBytes = 0;
      client.publish('full/a', 'x', { qos: 1, messageId: 1 });
      client.publish('full/a', 'x', { qos: 2, messageId: 2 });
      if (version === 5) {
        expect((await client.next('puback')).reasonCode).toBe(0x97);
        expect((await client.next('pubrec')).reasonCode).toBe(0x97);
      } else {
        while (edge.counterNow('headwater_mqtt_publishes_refused_total') < 2) await client.quiet();
      }
      await client.quiet();
      edge.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
      // The log opens its database again after a full disk; until then it refuses.
      while ((await records(edge, 'mqtt')).length === 0) {
        client.publish('full/a', 'y', { qos: 1, messageId: 3 });
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect((await records(edge, 'mqtt')).every((record) => String(record.value) === 'y')).toBe(true);
    },
  );
});
