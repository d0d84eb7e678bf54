/** An edge whose broker follows another: what is stored is a copy of the leader's, and waits for the promotion. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { copiedRows } from '../../src/standby/pair-rows.ts';
import { opened, startEdge, type TestEdge } from './harness.ts';

async function rowsOf(edge: TestEdge): Promise<string[]> {
  const rows: string[] = [];
  for await (const { key, value } of copiedRows(edge.log.meta, new Uint8Array(0))) {
    rows.push(Buffer.concat([key, value]).toString('hex'));
  }
  return rows;
}

describe('the edge of a broker that follows', () => {
  it('reads and changes nothing of sessions, wills and retained messages; the one that leads then has them all', async () => {
    const first = await startEdge();
    const expiry = { clean: false, properties: { sessionExpiryInterval: 1000 } };
    const subscriber = await opened(first.port, 5, { ...expiry, clientId: 'subscriber' });
    await subscriber.subscribe('wills', 1);
    await subscriber.subscribe('$share/group/wills', 1);
    const device = await opened(first.port, 5, {
      ...expiry,
      clientId: 'device',
      will: { topic: 'wills', payload: 'gone', qos: 1, retain: false },
    });
    device.send({ cmd: 'publish', topic: 'kept', payload: 'state', qos: 1, retain: true, messageId: 1 });
    await device.next('puback');
    const { disk } = first;
    first.crash();

    const second = await startEdge({}, { follows: () => true }, disk);
    const before = await rowsOf(second);
    expect(before.length).toBeGreaterThanOrEqual(6);
    expect(second.counterNow('headwater_mqtt_wills')).toBe(0);
    expect(second.counterNow('headwater_mqtt_retained_messages')).toBe(0);
    await second.edge.stop();
    expect(await rowsOf(second)).toEqual(before);
    disk.crash();

    const third = await startEdge({}, {}, disk);
    onTestFinished(() => third.stop());
    const again = await opened(third.port, 5, { ...expiry, clientId: 'subscriber' });
    const got = [await again.next('publish'), await again.next('publish')];
    expect(got.map(({ payload }) => String(payload))).toEqual(['gone', 'gone']);
    const other = await opened(third.port, 5, { clientId: 'other' });
    other.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'kept', qos: 1 }] });
    await other.next('suback');
    const retained = await other.next('publish');
    expect([String(retained.payload), retained.retain]).toEqual(['state', true]);
  });
});
