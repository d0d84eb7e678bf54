/** What retention removed before a session came back is counted, for that session. */
import { afterEach, expect, it } from 'vitest';
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

const keep = (clientId: string) => ({ clientId, clean: false, properties: { sessionExpiryInterval: 1000 } });

async function leave(client: RawClient): Promise<void> {
  client.end();
  await client.untilClosed();
}

function skippedOf({ metrics }: TestEdge): Record<string, number> {
  const family = [...metrics.families()].find(({ name }) => name === 'headwater_mqtt_session_skipped_records_total');
  return Object.fromEntries([...family!.samples()].map(({ labels, value }) => [labels.session, value]));
}

it('is told per session, in its metric and with the client, and outlives a restart', async () => {
  const routes = [
    { mqtt: 'a/#', topic: 'a' },
    { mqtt: 'b/#', topic: 'b' },
  ];
  const first = await start({ routes });
  for (const [name, filter] of [
    ['one', 'a/#'],
    ['two', 'b/#'],
    ['three', '$share/g/a/#'],
  ]) {
    const client = await opened(first.port, 5, keep(name!));
    await client.subscribe(filter!, 1);
    await leave(client);
  }
  const publisher = await opened(first.port, 5);
  for (let i = 1; i <= 10; i++) {
    publisher.publish(i <= 7 ? 'a/x' : 'b/x', `${i}`, { qos: 1, messageId: i });
    await publisher.next('puback');
  }
  for (const partition of first.log.topic('a')!.partitions) {
    await partition.deleteRecordsBefore(Math.min(5, partition.logEndOffset));
  }
  const one = await opened(first.port, 5, keep('one'));
  expect(String((await one.next('publish')).payload)).toBe('6');
  const two = await opened(first.port, 5, keep('two'));
  expect(String((await two.next('publish')).payload)).toBe('8');
  const three = await opened(first.port, 5, keep('three'));
  expect(String((await three.next('publish')).payload)).toBe('6');
  expect(skippedOf(first)).toEqual({ one: 5, '$share/g/a/#': 5 });
  expect(first.counterNow('headwater_mqtt_skipped_records_total')).toBe(10);
  const told = first.edge.clients().map(({ clientId, skippedRecords }) => [clientId, skippedRecords]);
  expect(told).toEqual(
    expect.arrayContaining([
      ['one', 5],
      ['two', 0],
      ['three', 0],
    ]),
  );
  await first.stop();

  const second = await start({ routes }, {}, first.disk);
  await opened(second.port, 5, keep('one'));
  expect(second.edge.clients().map(({ skippedRecords }) => skippedRecords)).toEqual([5]);
});
