/** Routes replaced while clients are connected. */
import { afterEach, describe, expect, it } from 'vitest';
import { opened, type RawClient, startEdge, type TestEdge } from './harness.ts';

let edge: TestEdge;
afterEach(() => edge.stop());

const keep = { clean: false, properties: { sessionExpiryInterval: 1000 } };

async function publish(client: RawClient, topic: string, payload: string): Promise<void> {
  client.publish(topic, payload, { qos: 1, messageId: 1 });
  await client.next('puback');
}

const ends = (topic: string) =>
  edge.log.topic(topic)?.partitions.reduce((sum, { logEndOffset }) => sum + logEndOffset, 0);

describe('routes that change while the broker runs', () => {
  it('publishes go where the new routes say, also for topics whose route was known', async () => {
    edge = await startEdge({ routes: [{ mqtt: 'a/#', topic: 'first' }] });
    const client = await opened(edge.port, 5);
    await publish(client, 'a/b', '1');
    await edge.edge.setRoutes([{ mqtt: 'a/#', topic: 'second' }]);
    await publish(client, 'a/b', '2');
    await edge.edge.setRoutes([{ mqtt: 'a/#', topic: 'unused', store: false }]);
    await publish(client, 'a/b', '3');
    await edge.edge.setRoutes([]);
    await publish(client, 'a/b', '4');
    expect(['first', 'second', 'mqtt'].map(ends)).toEqual([1, 1, 1]);
    expect(edge.log.topic('unused')).toBeUndefined();
  });

  it('live subscribers see every message once, before and after', async () => {
    edge = await startEdge({ routes: [{ mqtt: 'a/#', topic: 'first' }] });
    const subscriber = await opened(edge.port, 5);
    await subscriber.subscribe('a/#', 0);
    const client = await opened(edge.port, 5);
    // In the log before its route is there: not news.
    await edge.log.createTopic({ name: 'second', partitions: 1, config: new Map() });
    const old = { key: Buffer.from('a/old'), value: Buffer.from('old'), headers: [], timestamp: 1 };
    await new Promise((resolve) => edge.log.topic('second')!.partitions[0]!.appendRecord(old, 1, resolve));
    await publish(client, 'a/b', '1');
    await edge.edge.setRoutes([{ mqtt: 'a/#', topic: 'second' }]);
    await publish(client, 'a/b', '2');
    const got = [await subscriber.next('publish'), await subscriber.next('publish')];
    expect(got.map(({ payload }) => String(payload))).toEqual(['1', '2']);
    await subscriber.quiet();
  });

  it('a sleeping session gets what it missed from the former routes and from the new ones', async () => {
    edge = await startEdge({ routes: [{ mqtt: 'a/#', topic: 'first' }] });
    const subscriber = await opened(edge.port, 5, { ...keep, clientId: 'sleeper' });
    await subscriber.subscribe('a/#', 1);
    subscriber.end();
    await subscriber.untilClosed();
    const client = await opened(edge.port, 5);
    await publish(client, 'a/b', '1');
    await edge.edge.setRoutes([{ mqtt: 'a/#', topic: 'second' }]);
    await publish(client, 'a/b', '2');
    const back = await opened(edge.port, 5, { ...keep, clientId: 'sleeper' });
    const got: string[] = [];
    while (got.length < 2) {
      const packet = await back.next('publish');
      got.push(String(packet.payload));
      back.send({ cmd: 'puback', messageId: packet.messageId });
    }
    expect(got.sort()).toEqual(['1', '2']);
    await back.quiet();
  });

  it('a route that cannot be is refused, and those that were stay', async () => {
    edge = await startEdge({ routes: [{ mqtt: 'a/#', topic: 'first' }] });
    await expect(
      edge.edge.setRoutes([
        { mqtt: 'a/#', topic: 'second' },
        { mqtt: 'b', topic: 'third', key: '{1}' },
      ]),
    ).rejects.toThrow(/routes: b: key "\{1\}"/);
    const client = await opened(edge.port, 5);
    await publish(client, 'a/b', '1');
    expect(ends('first')).toBe(1);
    expect(edge.log.topic('second')).toBeUndefined();
  });

  it('tells others where a message goes: its topic, its key with their name, or that it is not stored', async () => {
    edge = await startEdge({
      routes: [
        { mqtt: 'd/+/+', topic: 'devices', key: '{client}:{2}', acks: 'all' },
        { mqtt: 'live/#', topic: 'unused', store: false },
      ],
    });
    expect(edge.edge.routeOf('d/1/temp', 'up')).toEqual({ topic: 'devices', key: 'up:temp', acks: 'all' });
    expect(edge.edge.routeOf('x/y', 'up')).toEqual({ topic: 'mqtt', key: 'x/y', acks: 1 });
    expect(edge.edge.routeOf('live/x', 'up')).toBeNull();
    const subscriber = await opened(edge.port, 5);
    await subscriber.subscribe('live/#', 1);
    edge.edge.deliverLive('live/x', Buffer.from('now'), 'up');
    expect(String((await subscriber.next('publish')).payload)).toBe('now');
    expect(() => edge.edge.routeOf('x/+', 'up')).toThrow(/x\/\+/);
  });
});
