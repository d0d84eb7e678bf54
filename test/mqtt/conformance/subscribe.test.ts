/** SUBSCRIBE, UNSUBSCRIBE, topic filters, shared subscriptions, $-topics: 3.8 to 3.11, 4.7, 4.8. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Authenticator } from '../../../src/mqtt/access.ts';
import { opened, startEdge, type TestEdge } from '../harness.ts';

const access: Authenticator = {
  authenticate: async () => ({ name: 'anyone' }),
  authorize: (_, __, action, topic) => action === 'publish' || !topic.startsWith('forbidden/'),
};
let edge: TestEdge;
beforeAll(async () => {
  edge = await startEdge({}, { authenticator: access });
});
afterAll(async () => edge.stop());

let unique = 0;
const topicName = () => `s${unique++}`;

/** Removes a retained message, for the tests with wildcards. */
async function forget(topic: string): Promise<void> {
  const client = await opened(edge.port, 5);
  client.publish(topic, '', { qos: 1, messageId: 1, retain: true });
  await client.next('puback');
  client.end();
}

describe.each([4, 5] as const)('level %i', (version) => {
  const closes = async (hex: string, reason: number) => {
    const client = await opened(edge.port, version);
    client.raw(hex);
    expect((await client.untilClosed()).map((packet) => packet.reasonCode)).toEqual(version === 5 ? [reason] : []);
  };
  const empty = version === 5 ? '00' : '';
  const length = (n: number) => (n + (version === 5 ? 1 : 0)).toString(16).padStart(2, '0');

  it('[MQTT-3.8.1-1] wrong SUBSCRIBE flags are malformed', () =>
    closes(`80${length(6)} 0001 ${empty} 0001 61 00`, 0x81));
  it('[MQTT-3.8.3-2] SUBSCRIBE without filters is a protocol error', () =>
    closes(`82${length(2)} 0001 ${empty}`, 0x82));
  it('[MQTT-3.8.3-5] reserved option bits are malformed', () =>
    closes(`82${length(6)} 0001 ${empty} 0001 61 c0`, 0x81));
  it('(3.1.1 MQTT-3-8.3-4) QoS 3 is malformed', () => closes(`82${length(6)} 0001 ${empty} 0001 61 03`, 0x81));
  it('[MQTT-3.10.1-1] wrong UNSUBSCRIBE flags are malformed', () =>
    closes(`a0${length(5)} 0001 ${empty} 0001 61`, 0x81));
  it('[MQTT-3.10.3-2] UNSUBSCRIBE without filters is a protocol error', () =>
    closes(`a2${length(2)} 0001 ${empty}`, 0x82));

  it('[MQTT-3.8.4-1 to -6] SUBACK bears the identifier and one reason per filter, in order', async () => {
    const client = await opened(edge.port, version);
    client.send({
      cmd: 'subscribe',
      messageId: 12,
      subscriptions: [
        { topic: 'a/b', qos: 2 },
        { topic: 'forbidden/x', qos: 1 },
        { topic: 'c', qos: 0 },
        { topic: 'd/#', qos: 1 },
      ],
    });
    const suback = await client.next('suback');
    expect([suback.messageId, suback.granted]).toEqual([12, [2, version === 5 ? 0x87 : 0x80, 0, 1]]);
  });

  it.each(['a#', 'a/#/b', '+a', 'a/b+', '#/a', '$share//a', '$share/g', '$share/+/a'])(
    '[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-2] the filter %s is refused',
    async (filter) => {
      const client = await opened(edge.port, version);
      client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos: 1 }] });
      if (version === 5) expect((await client.next('suback')).granted).toEqual([0x8f]);
      else await client.untilClosed();
    },
  );

  const table: [string, string, boolean][] = [
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/#', 'sport', true],
    ['#', 'anything/at/all', true],
    ['sport/tennis/+', 'sport/tennis/player1', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['ACCOUNTS', 'Accounts', false],
    ['a//b', 'a/b', false],
    ['a/+/b', 'a//b', true],
    ['#', '$x/y', false],
    ['+/y', '$x/y', false],
    ['$x/#', '$x/y', true],
    ['$x/+', '$x/y', true],
  ];
  it.each(table)(
    '[MQTT-4.7.1] [MQTT-4.7.2-1] [MQTT-4.7.3-4] filter %s and topic %s: %s',
    async (filter, topic, wanted) => {
      const client = await opened(edge.port, version);
      await client.subscribe(filter, 0);
      const other = await opened(edge.port, version);
      other.publish(topic, 'x', { qos: 1, messageId: 1 });
      await other.next('puback');
      if (wanted) expect((await client.next('publish')).topic).toBe(topic);
      await client.quiet();
      client.end();
      other.end();
    },
  );

  it('[MQTT-3.8.4-3] subscribing again replaces the subscription and sends retained messages again', async () => {
    const topic = topicName();
    const client = await opened(edge.port, version);
    client.publish(topic, 'kept', { qos: 1, messageId: 1, retain: true });
    await client.next('puback');
    for (const qos of [0, 1]) {
      await client.subscribe(topic, qos);
      expect((await client.next('publish')).qos).toBe(qos);
    }
    const other = await opened(edge.port, version);
    other.publish(topic, 'x', { qos: 1, messageId: 1 });
    expect((await client.next('publish')).qos).toBe(1);
    await client.quiet();
    await forget(topic);
  });

  it('[MQTT-3.10.4-1] [MQTT-3.10.4-4] after UNSUBACK nothing more comes; unknown filters are answered too [MQTT-3.10.4-5]', async () => {
    const topic = topicName();
    const client = await opened(edge.port, version);
    await client.subscribe(topic, 1);
    client.send({ cmd: 'unsubscribe', messageId: 5, unsubscriptions: [topic, 'never'] });
    const unsuback = await client.next('unsuback');
    expect(unsuback.messageId).toBe(5);
    if (version === 5) expect(unsuback.granted).toEqual([0, 0x11]);
    const other = await opened(edge.port, version);
    other.publish(topic, 'x', { qos: 1, messageId: 1 });
    await other.next('puback');
    await client.quiet();
  });

  it('4.8.2 a shared subscription gives each message to one member, and others get their own copy', async () => {
    const topic = topicName();
    const members = [await opened(edge.port, version), await opened(edge.port, version)];
    for (const member of members) await member.subscribe(`$share/g/${topic}`, 1);
    const single = await opened(edge.port, version);
    await single.subscribe(topic, 0);
    const other = await opened(edge.port, version);
    for (let i = 1; i <= 10; i++) other.publish(topic, `${i}`, { qos: 1, messageId: i });
    for (let i = 1; i <= 10; i++) {
      await other.next('puback');
      expect(String((await single.next('publish')).payload)).toBe(`${i}`);
    }
    const shares: string[] = [];
    for (const member of members) {
      const mine: string[] = [];
      while (mine.length < 5) mine.push(String((await member.next('publish')).payload));
      await member.quiet();
      shares.push(...mine);
    }
    expect(shares.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 10 }, (_, i) => i + 1));
  });

  it('a shared subscription whose members are away or full goes on where it was', async () => {
    const topic = topicName();
    const keep = version === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 100 } };
    const clientId = `share-${version}`;
    const member = await opened(edge.port, version, { ...keep, clientId });
    await member.subscribe(`$share/away/${topic}`, 1);
    member.end();
    await member.untilClosed();
    const other = await opened(edge.port, version);
    for (let i = 1; i <= 10; i++) other.publish(topic, `${i}`, { qos: 1, messageId: i });
    for (let i = 1; i <= 10; i++) await other.next('puback');
    const back = await opened(edge.port, version, { ...keep, clientId });
    for (let i = 1; i <= 10; i++) {
      const packet = await back.next('publish');
      expect(String(packet.payload)).toBe(`${i}`);
      back.send({ cmd: 'puback', messageId: packet.messageId });
    }
    await back.quiet();
  });
});

describe('5.0 only', () => {
  it('[MQTT-3.8.3-3] No Local: own messages do not come back', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5);
    await client.subscribe(topic, 1, { nl: true });
    client.publish(topic, 'own', { qos: 1, messageId: 1 });
    await client.next('puback');
    const other = await opened(edge.port, 5);
    other.publish(topic, 'other', { qos: 1, messageId: 1 });
    expect(String((await client.next('publish')).payload)).toBe('other');
  });

  it('[MQTT-3.8.3-4] No Local on a shared subscription is a protocol error', async () => {
    const client = await opened(edge.port, 5);
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '$share/g/t', qos: 1, nl: true }] });
    expect((await client.untilClosed())[0].reasonCode).toBe(0x82);
  });

  it('[MQTT-3.3.1-12] [MQTT-3.3.1-13] Retain As Published', async () => {
    const topic = topicName();
    const with_ = await opened(edge.port, 5);
    await with_.subscribe(topic, 0, { rap: true });
    const without = await opened(edge.port, 5);
    await without.subscribe(topic, 0);
    with_.publish(topic, 'x', { retain: true });
    expect((await with_.next('publish')).retain).toBe(true);
    expect((await without.next('publish')).retain).toBe(false);
  });

  it('[MQTT-3.3.1-9 to -11] Retain Handling 0, 1 and 2', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5);
    client.publish(topic, 'kept', { qos: 1, messageId: 1, retain: true });
    await client.next('puback');
    const other = await opened(edge.port, 5);
    await other.subscribe(topic, 0, { rh: 2 });
    await other.quiet();
    await other.subscribe(topic, 0, { rh: 1 });
    await other.quiet();
    await other.subscribe(topic, 0, { rh: 0 });
    await other.next('publish');
    await client.subscribe(topic, 0, { rh: 1 });
    await client.next('publish');
  });

  it('[MQTT-3.3.4-3] [MQTT-3.3.4-4] subscription identifiers of all matching subscriptions', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5);
    await client.subscribe(topic, 0, {}, { subscriptionIdentifier: 7 });
    await client.subscribe(`${topic}/#`, 0, {}, { subscriptionIdentifier: 268435455 });
    client.publish(topic, 'x');
    expect([(await client.next('publish')).properties.subscriptionIdentifier].flat().sort()).toEqual([268435455, 7]);
  });

  it('subscription identifier 0 is a protocol error', async () => {
    const client = await opened(edge.port, 5);
    client.raw('8209 0001 02 0b00 0001 61 00');
    expect((await client.untilClosed())[0].reasonCode).toBe(0x82);
  });

  it('[MQTT-4.8.2-3] a shared subscription gets no retained messages', async () => {
    const topic = topicName();
    const client = await opened(edge.port, 5);
    client.publish(topic, 'kept', { qos: 1, messageId: 1, retain: true });
    await client.next('puback');
    await client.subscribe(`$share/g/${topic}`, 1);
    await client.quiet();
  });

  it('clients may not publish to $SYS, and read figures there', async () => {
    const client = await opened(edge.port, 5);
    client.publish('$SYS/broker/uptime', 'x', { qos: 1, messageId: 1 });
    expect((await client.next('puback')).reasonCode).toBe(0x87);
  });
});
