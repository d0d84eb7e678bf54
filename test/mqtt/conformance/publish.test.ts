/** PUBLISH and its acknowledgements, ordering, flow control: 3.3 to 3.7, 4.3 to 4.9. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemEnv } from '../../../src/env.ts';
import type { Authenticator } from '../../../src/mqtt/access.ts';
import { opened, type RawClient, SteppedClock, startEdge, type TestEdge } from '../harness.ts';

const access: Authenticator = {
  authenticate: async () => ({ name: 'anyone' }),
  authorize: (_, __, ___, topic) => !topic.startsWith('forbidden/'),
};

const clock = new SteppedClock();
let edge: TestEdge;
beforeAll(async () => {
  edge = await startEdge(
    { maxPacketBytes: 70_000, retainedMaxBytes: 100_000 },
    { authenticator: access, env: { ...systemEnv, clock } },
  );
});
afterAll(async () => edge.stop());

let unique = 0;
const topicName = () => `p/${unique++}`;

describe.each([4, 5] as const)('level %i', (version) => {
  const closes = async (send: (client: RawClient) => void, reason: number) => {
    const client = await opened(edge.port, version);
    send(client);
    const rest = await client.untilClosed();
    expect(rest.filter((packet) => packet.cmd !== 'puback').map((packet) => packet.reasonCode)).toEqual(
      version === 5 ? [reason] : [],
    );
  };

  it('[MQTT-3.3.1-4] QoS 3 is malformed', () => closes((client) => client.raw('3605 0001 61 0001'), 0x81));
  it('[MQTT-3.3.1-2] DUP at QoS 0 is malformed', () => closes((client) => client.raw('3803 0001 61'), 0x81));
  it('[MQTT-2.2.1-3] packet identifier 0 is refused', () => closes((client) => client.raw('3205 0001 61 0000'), 0x82));
  it('[MQTT-3.3.2-2] a topic name with wildcards is refused', async () => {
    await closes((client) => client.raw(version === 5 ? '3006 0003 612f2b 00' : '3005 0003 612f2b'), 0x90);
    await closes((client) => client.raw(version === 5 ? '3006 0003 612f23 00' : '3005 0003 612f23'), 0x90);
  });
  it('[MQTT-4.7.3-1] an empty topic name is refused', () =>
    closes((client) => client.raw(version === 5 ? '3003 0000 00' : '3002 0000'), version === 5 ? 0x82 : 0x90));
  it('[MQTT-1.5.4-1] ill-formed UTF-8 in a topic closes the connection', () =>
    closes((client) => client.raw('3004 0002 c328'), 0x81));
  it('[MQTT-1.5.4-2] U+0000 in a topic closes the connection', () =>
    closes((client) => client.raw('3003 0001 00'), 0x81));
  it('[MQTT-1.5.4-3] a byte order mark is kept', async () => {
    const client = await opened(edge.port, version);
    await client.subscribe('\ufeffbom', 0);
    client.publish('bom', 'x');
    client.publish('\ufeffbom', 'x');
    expect((await client.next('publish')).topic).toBe('\ufeffbom');
  });

  it('[MQTT-3.3.1-3] DUP of a delivery is its own, not that of the publish', async () => {
    const topic = topicName();
    const client = await opened(edge.port, version);
    await client.subscribe(topic, 1);
    client.publish(topic, 'x', { qos: 1, messageId: 1, dup: true });
    const got = [await client.next(), await client.next()];
    expect(got.find((packet) => packet.cmd === 'publish').dup).toBe(false);
  });

  it('[MQTT-3.3.1-5] a retained message replaces the one before; a zero-length payload removes it [MQTT-3.3.1-6]', async () => {
    const topic = topicName();
    const client = await opened(edge.port, version);
    for (const [i, payload] of ['one', 'two', ''].entries()) {
      client.publish(topic, payload, { qos: 1, messageId: i + 1, retain: true });
      await client.next('puback');
      const reader = await opened(edge.port, version);
      await reader.subscribe(topic, 0);
      if (payload === '')
        await reader.quiet(); // [MQTT-3.3.1-7]
      else expect(String((await reader.next('publish')).payload)).toBe(payload);
      reader.end();
    }
  });

  it('[MQTT-3.3.1-8] a message without RETAIN neither stores nor removes', async () => {
    const topic = topicName();
    const client = await opened(edge.port, version);
    client.publish(topic, 'kept', { qos: 1, messageId: 1, retain: true });
    client.publish(topic, 'live', { qos: 1, messageId: 2 });
    await client.next('puback');
    await client.next('puback');
    await client.subscribe(topic, 1);
    const packet = await client.next('publish');
    expect([String(packet.payload), packet.retain]).toEqual(['kept', true]);
  });

  it('[MQTT-3.3.4-2] (3.3.5-1) overlapping subscriptions: the message comes at the highest QoS, once', async () => {
    const topic = topicName();
    const client = await opened(edge.port, version);
    await client.subscribe(`${topic}/x`, 0);
    await client.subscribe(`${topic}/+`, 2);
    await client.subscribe(`${topic}/#`, 1);
    const other = await opened(edge.port, version);
    other.publish(`${topic}/x`, 'x', { qos: 2, messageId: 1 });
    await other.next('pubrec');
    expect((await client.next('publish')).qos).toBe(2);
    await client.quiet();
  });

  it('[MQTT-4.3.2-2] [MQTT-4.3.3-8] QoS 1 is answered with PUBACK, QoS 2 with PUBREC then PUBCOMP, same identifier', async () => {
    const client = await opened(edge.port, version);
    client.publish('q', 'x', { qos: 1, messageId: 65535 });
    expect((await client.next('puback')).messageId).toBe(65535);
    client.publish('q', 'x', { qos: 2, messageId: 77 });
    expect((await client.next('pubrec')).messageId).toBe(77);
    client.send({ cmd: 'pubrel', messageId: 77 });
    expect((await client.next('pubcomp')).messageId).toBe(77);
    client.send({ cmd: 'pubrel', messageId: 77 });
    const unknown = await client.next('pubcomp');
    if (version === 5) expect(unknown.reasonCode).toBe(0x92);
  });

  it('[MQTT-4.4.0-1] a PUBREL sent again on a resumed session is answered as the first: the PUBCOMP was lost', async () => {
    const keep = version === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 100 } };
    const clientId = `released${version}`;
    const client = await opened(edge.port, version, { clientId, ...keep });
    client.publish('q', 'x', { qos: 2, messageId: 9 });
    await client.next('pubrec');
    client.send({ cmd: 'pubrel', messageId: 9 });
    await client.next('pubcomp');
    const again = await opened(edge.port, version, { clientId, ...keep });
    again.send({ cmd: 'pubrel', messageId: 9 });
    const answer = await again.next('pubcomp');
    expect(answer.messageId).toBe(9);
    if (version === 5) expect(answer.reasonCode).toBe(0);
  });

  it('[MQTT-4.6.0-2] [MQTT-4.6.0-3] acknowledgements come in the order of the publishes, over all partitions', async () => {
    const client = await opened(edge.port, version);
    for (let i = 1; i <= 300; i++) client.publish(`order/${i % 17}`, `${i}`, { qos: 1 + (i % 2), messageId: i });
    const seen: number[] = [];
    while (seen.length < 300) seen.push((await client.next()).messageId);
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
  });

  it('[MQTT-4.6.0-6] messages of one topic and QoS are delivered in the order published', async () => {
    const topic = topicName();
    const reader = await opened(edge.port, version);
    await reader.subscribe(topic, 1);
    const writer = await opened(edge.port, version);
    for (let i = 1; i <= 500; i++) writer.publish(topic, `${i}`, { qos: 1, messageId: i });
    for (let i = 1; i <= 500; i++) {
      const packet = await reader.next('publish');
      expect(Number(packet.payload)).toBe(i);
      reader.send({ cmd: 'puback', messageId: packet.messageId });
    }
  });

  it('[MQTT-4.4.0-1] unacknowledged deliveries are sent again on reconnect with DUP, under their identifiers, in order', async () => {
    const topic = topicName();
    const keep = version === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 100 } };
    const clientId = `resend-${version}`;
    const reader = await opened(edge.port, version, { ...keep, clientId });
    await reader.subscribe(topic, 1);
    const writer = await opened(edge.port, version);
    for (let i = 1; i <= 5; i++) writer.publish(topic, `${i}`, { qos: 1, messageId: i });
    const sent: number[] = [];
    for (let i = 1; i <= 5; i++) sent.push((await reader.next('publish')).messageId);
    reader.send({ cmd: 'puback', messageId: sent[1] });
    await reader.quiet();
    reader.end();
    await reader.untilClosed();
    const back = await opened(edge.port, version, { ...keep, clientId });
    const again: [number, string, boolean][] = [];
    for (let i = 0; i < 4; i++) {
      const packet = await back.next('publish');
      again.push([packet.messageId, String(packet.payload), packet.dup]);
    }
    expect(again).toEqual([1, 3, 4, 5].map((n) => [sent[n - 1], `${n}`, true]));
    await back.quiet();
  });

  it('a refused publish is not stored and not delivered', async () => {
    const client = await opened(edge.port, version);
    client.publish('forbidden/x', 'x', { qos: 1, messageId: 1 });
    client.publish('forbidden/x', 'x', { qos: 2, messageId: 2 });
    if (version === 5) {
      expect((await client.next('puback')).reasonCode).toBe(0x87); // [MQTT-3.3.5-2]
      expect((await client.next('pubrec')).reasonCode).toBe(0x87);
    }
    await client.quiet();
    if (version === 4) {
      for (let i = 3; i < 14; i++) client.publish('forbidden/x', 'x', { qos: 1, messageId: i });
      await client.untilClosed();
    }
  });

  it('a packet above the maximum closes the connection, and one at the maximum does not', async () => {
    const client = await opened(edge.port, version);
    const overhead = 1 + 3 + 2 + 3 + 2 + (version === 5 ? 1 : 0);
    client.publish('big', Buffer.alloc(70_000 - overhead), { qos: 1, messageId: 1 });
    await client.next('puback');
    await closes((other) => other.publish('big', Buffer.alloc(70_000), { qos: 1, messageId: 1 }), 0x95);
  });

  it('a retained message without room is refused', async () => {
    const client = await opened(edge.port, version);
    client.publish('r/0', Buffer.alloc(50_000), { qos: 1, messageId: 1, retain: true });
    await client.next('puback');
    client.publish('r/1', Buffer.alloc(60_000), { qos: 1, messageId: 2, retain: true });
    if (version === 5) expect((await client.next('puback')).reasonCode).toBe(0x97);
    else await client.quiet();
    client.publish('r/0', '', { qos: 1, messageId: 3, retain: true });
    await client.next('puback');
  });
});

describe('5.0 only', () => {
  it('[MQTT-3.3.2-4 to -20] properties travel unchanged to the subscriber, user properties in order', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5);
    await client.subscribe(topic, 1);
    const properties = {
      payloadFormatIndicator: true,
      contentType: 'text/plain',
      responseTopic: 'answer/to',
      correlationData: Buffer.from([1, 2, 3]),
      userProperties: { a: ['1', '2'], 'mqtt.x': 'y' },
    };
    const other = await opened(edge.port, 5);
    other.publish(topic, 'x', { qos: 1, messageId: 1, properties });
    const live = await client.next('publish');
    expect(JSON.parse(JSON.stringify(live.properties))).toEqual(JSON.parse(JSON.stringify(properties)));
  });

  it('properties survive the log: a session that was away gets them', async () => {
    const topic = topicName();
    const keep = { clientId: 'props', clean: false, properties: { sessionExpiryInterval: 100 } };
    const client = await opened(edge.port, 5, keep);
    await client.subscribe(topic, 1, { rap: true });
    client.end();
    await client.untilClosed();
    const properties = {
      payloadFormatIndicator: true,
      messageExpiryInterval: 100,
      contentType: 'c',
      responseTopic: 'answer/to',
      correlationData: Buffer.from([1, 2, 3]),
      userProperties: { a: ['1', '2'], 'mqtt.x': 'y' },
    };
    const other = await opened(edge.port, 5);
    other.publish(topic, 'x', { qos: 2, messageId: 1, retain: true, properties });
    await other.next('pubrec');
    const back = await opened(edge.port, 5, keep);
    const packet = await back.next('publish');
    expect([packet.qos, packet.retain]).toEqual([1, true]);
    expect(JSON.parse(JSON.stringify(packet.properties))).toEqual(JSON.parse(JSON.stringify(properties)));
  });

  it('[MQTT-3.3.2-5] [MQTT-3.3.2-6] an expired message is not delivered, and the interval counts down', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5);
    client.publish(topic, 'short', { qos: 1, messageId: 1, retain: true, properties: { messageExpiryInterval: 1 } });
    client.publish(`${topic}/long`, 'long', {
      qos: 1,
      messageId: 2,
      retain: true,
      properties: { messageExpiryInterval: 100 },
    });
    await client.next('puback');
    await client.next('puback');
    clock.step(1_200);
    await client.subscribe(`${topic}/#`, 0);
    const packet = await client.next('publish');
    expect(packet.topic).toBe(`${topic}/long`);
    expect(packet.properties.messageExpiryInterval).toBeLessThan(100);
    await client.quiet();
  });

  it('[MQTT-3.3.2-7 to -12] topic aliases of the client', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5);
    await client.subscribe(topic, 0);
    client.publish(topic, '1', { properties: { topicAlias: 32 } });
    client.publish('', '2', { properties: { topicAlias: 32 } });
    expect([(await client.next('publish')).topic, (await client.next('publish')).topic]).toEqual([topic, topic]);
    const bad = async (send: (one: RawClient) => void) => {
      const one = await opened(edge.port, 5);
      send(one);
      return (await one.untilClosed())[0].reasonCode;
    };
    expect(await bad((one) => one.publish('t', '', { properties: { topicAlias: 33 } }))).toBe(0x94); // [MQTT-3.3.2-9]
    expect(await bad((one) => one.raw('3007 0001 61 03 230000'))).toBe(0x94); // [MQTT-3.3.2-8]
    expect(await bad((one) => one.publish('', '', { properties: { topicAlias: 5 } }))).toBe(0x82);
    expect(await bad((one) => one.raw('3003 0000 00'))).toBe(0x82);
  });

  it('[MQTT-3.1.2-26] [MQTT-3.1.2-27] topic aliases towards the client stay within its maximum', async () => {
    const prefix = topicName();
    const client = await opened(edge.port, 5, { properties: { topicAliasMaximum: 1 } });
    await client.subscribe(`${prefix}/+`, 0);
    for (const name of ['a', 'a', 'b']) client.publish(`${prefix}/${name}`, 'x');
    const got = [await client.next('publish'), await client.next('publish'), await client.next('publish')];
    expect(got.map((packet) => [packet.topic, packet.properties?.topicAlias])).toEqual([
      [`${prefix}/a`, 1],
      ['', 1],
      [`${prefix}/b`, undefined],
    ]);
  });

  it.each([
    [0, [1, 1, 1]],
    // What is sent only when its state is stored uses an alias and sets none.
    [100, [undefined, 1, 1]],
  ] as const)(
    '[MQTT-3.3.2-8] an alias of the server is set before it is used, at every QoS (expiry %d)',
    async (expiry, aliases) => {
      const topic = topicName();
      const client = await opened(edge.port, 5, {
        properties: { topicAliasMaximum: 1, sessionExpiryInterval: expiry },
      });
      await client.subscribe(topic, 2);
      const got: unknown[] = [];
      for (const qos of [2, 1, 2] as const) {
        client.publish(topic, 'x', { qos, messageId: 1 });
        for (let open = true; open; ) {
          const packet = await client.next();
          if (packet.cmd === 'publish') {
            got.push(packet.properties?.topicAlias);
            expect(packet.topic).toBe(got.filter((alias) => alias !== undefined).length > 1 ? '' : topic);
            client.send({ cmd: packet.qos === 2 ? 'pubrec' : 'puback', messageId: packet.messageId });
            if (packet.qos === 1) open = false;
          } else if (packet.cmd === 'pubrec') client.send({ cmd: 'pubrel', messageId: 1 });
          else if (packet.cmd === 'pubrel') {
            client.send({ cmd: 'pubcomp', messageId: packet.messageId });
            open = false;
          }
        }
        await client.quietAfter(0).catch(() => client.received.splice(0));
      }
      expect(got).toEqual(aliases);
    },
  );

  it('[MQTT-3.3.2-14] a response topic with wildcards is a protocol error', async () => {
    const client = await opened(edge.port, 5);
    client.publish('t', 'x', { properties: { responseTopic: 'a/#' } });
    expect((await client.untilClosed())[0].reasonCode).toBe(0x82);
  });

  it('[MQTT-3.3.4-6] a subscription identifier from a client is a protocol error', async () => {
    const client = await opened(edge.port, 5);
    client.raw('3006 0001 61 02 0b01');
    expect((await client.untilClosed())[0].reasonCode).toBe(0x82);
  });

  it('[MQTT-3.3.4-9] never more than Receive Maximum unacknowledged QoS 1 and 2 deliveries', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5, { properties: { receiveMaximum: 3 } });
    await client.subscribe(topic, 2);
    const other = await opened(edge.port, 5);
    for (let i = 1; i <= 10; i++) other.publish(topic, `${i}`, { qos: 2, messageId: i });
    for (let i = 1; i <= 10; i++) await other.next('pubrec');
    await client.quietAfter(3);
    const got: string[] = [];
    while (got.length < 10) {
      const packet = await client.next();
      if (packet.cmd === 'publish') {
        got.push(String(packet.payload));
        client.send({ cmd: 'pubrec', messageId: packet.messageId });
      } else client.send({ cmd: 'pubcomp', messageId: packet.messageId });
    }
    expect(got).toEqual(Array.from({ length: 10 }, (_, i) => `${i + 1}`));
  });

  it('4.9 a client above our Receive Maximum is disconnected with 0x93', async () => {
    const client = await opened(edge.port, 5);
    // QoS 2 without PUBREL stays in flight.
    for (let i = 1; i <= 1025; i++) client.publish('rm', 'x', { qos: 2, messageId: i });
    const rest = await client.untilClosed();
    expect(rest[rest.length - 1].reasonCode).toBe(0x93);
  });

  it('[MQTT-3.1.2-24] [MQTT-3.1.2-25] a packet above the client maximum is not sent, and counts as delivered', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5, { properties: { maximumPacketSize: 100 } });
    await client.subscribe(topic, 1);
    const other = await opened(edge.port, 5);
    other.publish(topic, Buffer.alloc(200), { qos: 1, messageId: 1 });
    other.publish(topic, 'small', { qos: 1, messageId: 2 });
    expect(String((await client.next('publish')).payload)).toBe('small');
  });

  it('4.3.3 a PUBREC with an error frees the identifier', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5, { properties: { receiveMaximum: 1 } });
    await client.subscribe(topic, 2);
    const other = await opened(edge.port, 5);
    for (const id of [1, 2]) other.publish(topic, `${id}`, { qos: 2, messageId: id });
    const first = await client.next('publish');
    client.send({ cmd: 'pubrec', messageId: first.messageId, reasonCode: 0x97 });
    expect(String((await client.next('publish')).payload)).toBe('2');
  });
});
