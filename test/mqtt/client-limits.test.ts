/** What one client may take: at the bound it gets it, above it it waits or is refused, and nobody else notices. */
import { afterEach, describe, expect, it } from 'vitest';
import { ClientLimits, NO_CLIENT_LIMITS, PublishRate } from '../../src/mqtt/client-limits.ts';
import type { MqttEdgeOptions } from '../../src/mqtt/edge.ts';
import { opened, RawClient, startEdge, type TestEdge } from './harness.ts';

let running: TestEdge[] = [];
async function start(options: Partial<MqttEdgeOptions>): Promise<TestEdge> {
  const edge = await startEdge(options);
  running.push(edge);
  return edge;
}
afterEach(async () => {
  for (const edge of running) await edge.stop().catch(() => undefined);
  running = [];
});

function labelled({ metrics }: TestEdge, name: string): Record<string, number> {
  const family = [...metrics.families()].find((one) => one.name === name);
  return Object.fromEntries([...family!.samples()].map(({ labels, value }) => [Object.values(labels)[0], value]));
}

async function attempt(edge: TestEdge, version: 4 | 5, clientId: string, username?: string) {
  const client = new RawClient(edge.port, version);
  const connack = await client.connect({ clientId, ...(username === undefined ? {} : { username }) });
  return { client, code: version === 5 ? connack.reasonCode : connack.returnCode, connack };
}

describe('without memory', () => {
  it.each([
    [4, 3],
    [5, 0x89],
  ] as const)('a CONNECT is refused, and the newest give way (level %d: %d)', async (version, code) => {
    let overloaded = false;
    const edge = await startEdge({}, { overloaded: () => overloaded });
    running.push(edge);
    const first = await attempt(edge, version, 'a');
    const second = await attempt(edge, version, 'b');
    expect([first.code, second.code]).toEqual([0, 0]);
    overloaded = true;
    const third = await attempt(edge, version, 'c');
    expect(third.code).toBe(code);
    await third.client.untilClosed();
    await expect.poll(() => edge.edge.connectionCount).toBe(2);
    edge.edge.shedNewest(1);
    await second.client.untilClosed();
    expect(labelled(edge, 'headwater_mqtt_disconnects_total')['0x89']).toBe(1);
    await first.client.quiet();
    expect(edge.edge.clients().map(({ clientId }) => clientId)).toEqual(['a']);
    overloaded = false;
    expect((await attempt(edge, version, 'c')).code).toBe(0);
  });
});

describe('connections', () => {
  it.each([
    [4, 3],
    [5, 0x97],
  ] as const)('of one address: the bound is served, one more is refused (level %d: %d)', async (version, code) => {
    const edge = await start({ limits: { connectionsPerAddress: 2 } });
    const first = await attempt(edge, version, 'a');
    const second = await attempt(edge, version, 'b');
    expect([first.code, second.code]).toEqual([0, 0]);
    const third = await attempt(edge, version, 'c');
    expect(third.code).toBe(code);
    if (version === 5) expect(third.connack.properties.reasonString).toContain('127.0.0.1');
    await third.client.untilClosed();
    expect(labelled(edge, 'headwater_mqtt_refused_total').connections_per_address).toBe(1);
    await first.client.quiet();
    first.client.end();
    await first.client.untilClosed();
    await expect.poll(() => edge.counterNow('headwater_mqtt_connections')).toBe(1);
    expect((await attempt(edge, version, 'c')).code).toBe(0);
  });

  it('of one address: sockets that do not say CONNECT are bounded too', async () => {
    const edge = await start({ limits: { connectionsPerAddress: 2 } });
    const silent = [1, 2, 3, 4, 5].map(() => new RawClient(edge.port));
    await expect.poll(() => labelled(edge, 'headwater_mqtt_refused_total').connections_per_address).toBe(2);
    expect(edge.counterNow('headwater_mqtt_connections')).toBe(3);
    for (const client of silent) client.end();
  });

  it('of one user, and a client that comes back is not refused because of its own dead connection', async () => {
    const edge = await start({ limits: { connectionsPerUser: 2 } });
    for (const id of ['a', 'b']) expect((await attempt(edge, 5, id, 'ann')).code).toBe(0);
    expect((await attempt(edge, 5, 'c', 'ann')).code).toBe(0x97);
    expect((await attempt(edge, 5, 'd', 'bob')).code).toBe(0);
    const again = await attempt(edge, 5, 'a', 'ann');
    expect(again.code).toBe(0);
    await again.client.quiet();
    expect((await attempt(edge, 5, 'c', 'ann')).code).toBe(0x97);
    expect(labelled(edge, 'headwater_mqtt_refused_total').connections_per_user).toBe(2);
  });

  it('what is closed is not counted any more, whatever came in between', () => {
    const limits = new ClientLimits({ ...NO_CLIENT_LIMITS, connectionsPerAddress: 3, connectionsPerUser: 1 });
    for (let i = 0; i < 100; i++) {
      const one = { clientId: `c${i}` };
      limits.accepted('::ffff:10.0.0.1', one);
      expect(limits.mayAccept('10.0.0.1')).toBe(true);
      expect(limits.admit(one, '10.0.0.1', `u${i % 2}`, one.clientId)).toBeNull();
      limits.closed(one, '::ffff:10.0.0.1', `u${i % 2}`);
    }
    expect(limits.tracked).toBe(0);
  });
});

describe('publish rate', () => {
  it('saves up a second, goes into debt by one packet, and says how long to wait and why', () => {
    const rate = new PublishRate(1000, 10, 0);
    rate.received(999, 1, 0);
    expect(rate.wait(0)).toBeNull();
    rate.received(500, 1, 0);
    expect(rate.wait(0)).toEqual({ ms: 500, bound: 'bytes_per_second' });
    expect(rate.wait(300)).toEqual({ ms: 200, bound: 'bytes_per_second' });
    expect(rate.wait(501)).toBeNull();
    rate.received(1, 20, 501);
    expect(rate.wait(501)!.bound).toBe('messages_per_second');
    expect(rate.wait(60_000)).toBeNull();
    // No more than a second is saved up.
    rate.received(1000, 0, 60_000);
    expect(rate.wait(60_000)).toEqual({ ms: 1, bound: 'bytes_per_second' });
  });

  it.each([
    ['messages_per_second', { publishMessagesPerSecond: 20 }],
    ['bytes_per_second', { publishBytesPerSecond: 20 * 57 }],
  ] as const)(
    '%s: above it the socket is not read; everything is stored, and others are served',
    async (bound, limits) => {
      const edge = await start({ limits });
      const greedy = await opened(edge.port, 5);
      const total = 50;
      const began = performance.now();
      for (let i = 1; i <= total; i++) greedy.publish('rate/x', 'y'.repeat(42), { qos: 1, messageId: i });
      const modest = await opened(edge.port, 5);
      modest.publish('rate/z', 'z', { qos: 1, messageId: 1 });
      await modest.next('puback');
      for (let i = 1; i <= total; i++) expect((await greedy.next('puback')).messageId).toBe(i);
      // A second's worth at once, the others at 20 a second.
      expect(performance.now() - began).toBeGreaterThan(1_300);
      expect(labelled(edge, 'headwater_mqtt_throttled_total')[bound]).toBeGreaterThan(0);
    },
  );
});

describe('in-flight bytes', () => {
  it('towards a client: deliveries stop at the bound, though its Receive Maximum allows more, and go on in order', async () => {
    const edge = await start({ maxInflightBytes: 4096 });
    const slow = await opened(edge.port, 5);
    await slow.subscribe('big', 1);
    const publisher = await opened(edge.port, 5);
    for (let i = 0; i < 20; i++) {
      publisher.publish('big', Buffer.alloc(1000, i), { qos: 1, messageId: i + 1 });
      await publisher.next('puback');
    }
    // Four are 4 KB and a little: the bound is passed with the fifth at most.
    await slow.quietAfter(5);
    expect(labelled(edge, 'headwater_mqtt_throttled_total').inflight_bytes).toBeGreaterThan(0);
    for (let i = 0; i < 20; i++) {
      const packet = await slow.next('publish');
      expect(packet.payload[0]).toBe(i);
      slow.send({ cmd: 'puback', messageId: packet.messageId });
    }
    await slow.quiet();
  });

  it('from a client: its socket is not read while more wait to be stored, and all are', async () => {
    const edge = await start({ maxInflightBytes: 4096 });
    const client = await opened(edge.port, 5);
    for (let i = 1; i <= 200; i++) client.publish('up', Buffer.alloc(1000, i), { qos: 1, messageId: i });
    for (let i = 1; i <= 200; i++) expect((await client.next('puback')).messageId).toBe(i);
    expect(edge.counterNow('headwater_mqtt_pauses_total')).toBeGreaterThan(0);
  });
});
