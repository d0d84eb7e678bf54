/** A topic with an in-sync replica elsewhere: subscribers see what it has confirmed, and nothing before. */
import { afterEach, expect, it } from 'vitest';
import { opened, startEdge, type TestEdge } from './harness.ts';

let edge: TestEdge;
afterEach(async () => edge.stop());

async function replicated() {
  edge = await startEdge({ routes: [{ mqtt: 'sync/#', topic: 'sync' }] }, {}, undefined, { numPartitions: 1 });
  const partition = edge.log.topic('sync')!.partitions[0]!;
  const replica = partition.addReplica(9, 60_000);
  replica.advance(0);
  expect(replica.inSync).toBe(true);
  return { partition, replica };
}

const keep = { clientId: 'sleeper', clean: false, properties: { sessionExpiryInterval: 1000 } };

it('a live subscriber gets a record when the replica has confirmed it, in order, once', async () => {
  const { replica } = await replicated();
  const subscriber = await opened(edge.port, 5);
  await subscriber.subscribe('sync/#', 0);
  const publisher = await opened(edge.port, 5);
  for (let i = 0; i < 6; i++) {
    publisher.publish('sync/x', `${i}`, { qos: 1, messageId: i + 1 });
    await publisher.next('puback');
  }
  await subscriber.quiet();
  replica.advance(2);
  expect(String((await subscriber.next('publish')).payload)).toBe('0');
  expect(String((await subscriber.next('publish')).payload)).toBe('1');
  await subscriber.quiet();
  replica.advance(6);
  for (let i = 2; i < 6; i++) expect(String((await subscriber.next('publish')).payload)).toBe(`${i}`);
  publisher.publish('sync/x', '6', { qos: 1, messageId: 9 });
  await publisher.next('puback');
  await subscriber.quiet();
  replica.advance(7);
  expect(String((await subscriber.next('publish')).payload)).toBe('6');
  // Without the replica the log end counts again.
  replica.remove();
  publisher.publish('sync/x', '7', { qos: 1, messageId: 10 });
  expect(String((await subscriber.next('publish')).payload)).toBe('7');
  await subscriber.quiet();
});

it('a session that comes back, one that begins in the past, and a shared subscription read no further either', async () => {
  const { replica } = await replicated();
  const sleeper = await opened(edge.port, 5, keep);
  await sleeper.subscribe('sync/#', 1);
  sleeper.end();
  await sleeper.untilClosed();
  const shared = await opened(edge.port, 5, { clientId: 'shared' });
  await shared.subscribe('$share/g/sync/#', 1);
  const publisher = await opened(edge.port, 5);
  for (let i = 0; i < 4; i++) {
    publisher.publish('sync/x', `${i}`, { qos: 1, messageId: i + 1 });
    await publisher.next('puback');
  }
  replica.advance(2);
  const back = await opened(edge.port, 5, keep);
  const past = await opened(edge.port, 5);
  await past.subscribe('sync/#', 1, {}, { userProperties: { 'headwater-start': 'earliest' } });
  for (const client of [back, past, shared]) {
    for (const wanted of ['0', '1']) expect(String((await client.next('publish')).payload)).toBe(wanted);
    await client.quiet();
  }
  replica.advance(4);
  for (const client of [back, past, shared]) {
    for (const wanted of ['2', '3']) expect(String((await client.next('publish')).payload)).toBe(wanted);
    await client.quiet();
  }
});

it('a retained message is not given to new subscribers before the replica has it', async () => {
  const { replica } = await replicated();
  const publisher = await opened(edge.port, 5);
  publisher.publish('sync/r', 'old', { qos: 1, messageId: 1, retain: true });
  await publisher.next('puback');
  replica.advance(1);
  publisher.publish('sync/r', 'new', { qos: 1, messageId: 2, retain: true });
  await publisher.next('puback');
  const retained = async (filter: string) => {
    const client = await opened(edge.port, 5);
    await client.subscribe(filter, 0);
    const packet = await client.next('publish');
    expect(packet.retain).toBe(true);
    await client.quiet();
    return String(packet.payload);
  };
  expect([await retained('sync/r'), await retained('sync/+')]).toEqual(['old', 'old']);
  replica.advance(2);
  expect([await retained('sync/r'), await retained('sync/+')]).toEqual(['new', 'new']);
});
