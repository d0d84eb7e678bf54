/** [MQTT-3.1.2-8] Wills outlive the broker: the crash is what closed the connection. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { opened, RawClient, SteppedClock, startEdge, type TestEdge } from './harness.ts';

let running: TestEdge[] = [];
async function start(...args: Parameters<typeof startEdge>): Promise<TestEdge> {
  const edge = await startEdge(...args);
  running.push(edge);
  return edge;
}
/** A dead disk answers nothing: what crashed is not stopped. */
function crash(edge: TestEdge): void {
  running = running.filter((one) => one !== edge);
  edge.crash();
}
afterEach(async () => {
  for (const edge of running) await edge.stop().catch(() => undefined);
  running = [];
});

const keep = { clean: false, properties: { sessionExpiryInterval: 1000 } };
const will = (payload: string, more = {}) => ({ topic: 'wills', payload, qos: 1, retain: true, ...more });

/** A persistent subscriber, asleep. */
async function watch(edge: TestEdge): Promise<void> {
  const watcher = await opened(edge.port, 5, { ...keep, clientId: 'watcher' });
  await watcher.subscribe('wills', 1, { rh: 2 });
  await sleep(edge, watcher);
}

async function leave(client: RawClient): Promise<void> {
  client.end();
  await client.untilClosed();
}

/** Leaves, and waits until what was acknowledged is stored. */
async function sleep(edge: TestEdge, client: RawClient): Promise<void> {
  const before = edge.counterNow('headwater_mqtt_sessions_sleeping');
  await leave(client);
  await vi.waitFor(() => expect(edge.counterNow('headwater_mqtt_sessions_sleeping')).toBe(before + 1));
}

/** What the watcher gets, and that nothing else comes. */
async function seen(edge: TestEdge, count: number): Promise<string[]> {
  const watcher = await opened(edge.port, 5, { ...keep, clientId: 'watcher' });
  const got: string[] = [];
  while (got.length < count) {
    const packet = await watcher.next('publish');
    got.push(String(packet.payload));
    watcher.send({ cmd: 'puback', messageId: packet.messageId });
  }
  await watcher.quiet();
  await sleep(edge, watcher);
  return got.sort();
}

const stored = (edge: TestEdge) => edge.counterNow('headwater_mqtt_wills');

describe('wills and a crash of the broker', () => {
  it.each([4, 5] as const)(
    'those of open connections are published at the next start, protocol %i',
    async (version) => {
      const first = await start();
      await watch(first);
      await opened(first.port, version, { clientId: 'plain', will: will('plain') });
      await opened(first.port, version, { clientId: 'kept', clean: false, will: will('kept', { qos: 2 }) });
      const polite = await opened(first.port, version, { clientId: 'polite', will: will('polite') });
      polite.send({ cmd: 'disconnect' });
      await polite.untilClosed();
      const without = await opened(first.port, version, { clientId: 'changed', will: will('older') });
      const changed = await opened(first.port, version, { clientId: 'changed', will: will('newer') });
      await without.untilClosed();
      await changed.quiet();
      expect(await seen(first, 1)).toEqual(['older']);
      crash(first);

      const second = await start({}, {}, first.disk);
      expect(await seen(second, 3)).toEqual(['kept', 'newer', 'plain']);
      // Retained, as the will asked: in the order of the start.
      const late = await opened(second.port, version);
      await late.subscribe('wills', 0);
      expect((await late.next('publish')).retain).toBe(true);
      expect(stored(second)).toBe(0);

      // Once only.
      crash(second);
      const third = await start({}, {}, second.disk);
      expect(await seen(third, 0)).toEqual([]);
    },
  );

  it('a will whose connection broke before the crash is not published again', async () => {
    const first = await start();
    await watch(first);
    await leave(await opened(first.port, 5, { clientId: 'gone', will: will('gone') }));
    expect(await seen(first, 1)).toEqual(['gone']);
    crash(first);
    const second = await start({}, {}, first.disk);
    expect(await seen(second, 0)).toEqual([]);
  });

  it('a stop in order publishes them, once', async () => {
    const first = await start();
    await watch(first);
    await opened(first.port, 5, { clientId: 'there', will: will('there') });
    await first.stop();
    const second = await start({}, {}, first.disk);
    expect(await seen(second, 1)).toEqual(['there']);
    await second.stop();
    const third = await start({}, {}, second.disk);
    expect(await seen(third, 0)).toEqual([]);
  });

  it('a delay begins again at the start, and a client that is back in time takes its will away', async () => {
    const delayed = (payload: string) => will(payload, { properties: { willDelayInterval: 60 } });
    const first = await start();
    await watch(first);
    await opened(first.port, 5, { ...keep, clientId: 'back', will: delayed('back') });
    await opened(first.port, 5, { ...keep, clientId: 'away', will: delayed('away') });
    await leave(await opened(first.port, 5, { ...keep, clientId: 'left', will: delayed('left') }));
    // The delay is never longer than the session.
    await opened(first.port, 5, { clientId: 'short', will: delayed('short') });
    crash(first);

    const clock = new SteppedClock();
    const second = await start({}, { env: { ...systemEnv, clock } }, first.disk);
    expect(await seen(second, 1)).toEqual(['short']);
    const back = await opened(second.port, 5, { ...keep, clientId: 'back' });
    clock.step(59_000);
    expect(await seen(second, 0)).toEqual([]);
    clock.step(2_000);
    expect(await seen(second, 2)).toEqual(['away', 'left']);
    await back.quiet();
    expect(stored(second)).toBe(0);
  });

  it('correlation data, user properties and content survive', async () => {
    const first = await start();
    await watch(first);
    const properties = {
      correlationData: Buffer.from([0, 255]),
      contentType: 'text/plain',
      responseTopic: 'answers',
      userProperties: { site: 'north' },
      messageExpiryInterval: 500,
    };
    await opened(first.port, 5, { clientId: 'rich', will: will('\u0000bytes', { properties }) });
    crash(first);
    const second = await start({}, {}, first.disk);
    const watcher = await opened(second.port, 5, { ...keep, clientId: 'watcher' });
    const packet = await watcher.next('publish');
    expect(packet.properties).toMatchObject({ ...properties, messageExpiryInterval: expect.any(Number) });
    expect(String(packet.payload)).toBe('\u0000bytes');
  });

  it('has a bound in bytes: the CONNECT whose will does not fit is refused, the same client may replace its own', async () => {
    const edge = await start({ willsMaxBytes: 1_500 });
    const big = 'x'.repeat(1_000);
    await opened(edge.port, 5, { clientId: 'one', will: will(big) });
    const two = new RawClient(edge.port, 5);
    expect((await two.connect({ clientId: 'two', will: will(big) })).reasonCode).toBe(0x97);
    const three = new RawClient(edge.port, 4);
    expect((await three.connect({ clientId: 'three', will: will(big) })).returnCode).toBe(3);
    const again = await opened(edge.port, 5, { clientId: 'one', will: will(`${big}!`) });
    again.send({ cmd: 'disconnect' });
    await again.untilClosed();
    const four = new RawClient(edge.port, 5);
    expect((await four.connect({ clientId: 'four', will: will(big) })).reasonCode).toBe(0);
  });
});
