/** Shared subscriptions of persistent sessions: what is written of them, and what outlives their connections. */
import { afterEach, describe, expect, it, type MockInstance, vi } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import type { MetaOperation } from '../../src/store/meta.ts';
import { opened, RawClient, SteppedClock, startEdge, type TestEdge } from './harness.ts';

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

const GROUP = '$share/readers/plant/+';
const keep = (clientId: string, more: Record<string, unknown> = {}) => ({
  clientId,
  clean: false,
  properties: { sessionExpiryInterval: 1000, ...more },
});

/** What was written of groups since this was asked last, after all that moves with the clock has run. */
function watch(
  { log }: TestEdge,
  clock: SteppedClock,
): { written: () => Promise<(string | null)[]>; write: MockInstance } {
  const write = vi.spyOn(log.meta, 'write');
  const isGroup = ({ key }: MetaOperation) => Buffer.from(key).includes(GROUP);
  const written = async () => {
    write.mockClear();
    clock.step(5_000);
    await Promise.allSettled(write.mock.results.map(({ value }) => value));
    return write.mock.calls
      .flatMap(([operations]) => operations.filter(isGroup))
      .map(({ value }) => (value === null ? null : 'value'));
  };
  return { written, write };
}

async function publish(publisher: RawClient, topic: string, payload: string): Promise<void> {
  publisher.publish(topic, payload, { qos: 1, messageId: 1 });
  await publisher.next('puback');
}

async function leave(client: RawClient): Promise<void> {
  client.end();
  await client.untilClosed();
}

async function startWatched() {
  const clock = new SteppedClock();
  const edge = await start({}, { env: { ...systemEnv, clock } });
  const member = await opened(edge.port, 5, keep('member'));
  await member.subscribe(GROUP, 1);
  return { edge, clock, member, publisher: await opened(edge.port, 5), ...watch(edge, clock) };
}

describe('the store has of a group what changed, no more', () => {
  it('a tick without a change writes nothing, connected or asleep; a record is a change', async () => {
    const { member, publisher, written } = await startWatched();
    expect(await written()).toEqual([]);
    await publish(publisher, 'plant/1', 'one');
    const { messageId } = await member.next('publish');
    member.send({ cmd: 'puback', messageId });
    await member.quiet();
    expect(await written()).toEqual(['value']);
    expect(await written()).toEqual([]);
    await leave(member);
    await written();
    expect(await written()).toEqual([]);
    // Where the group is has not changed: it reads on from there.
    await publish(publisher, 'plant/1', 'two');
    expect(await written()).toEqual([]);
  });

  it('a write that failed is tried again until it succeeds, though nothing changes any more', async () => {
    const { member, publisher, written, write } = await startWatched();
    await publish(publisher, 'plant/1', 'one');
    await member.next('publish');
    write.mockImplementation(() => Promise.reject(new Error('the disk is full')));
    expect(await written()).toEqual(['value']);
    expect(await written()).toEqual(['value']);
    write.mockReset();
    expect(await written()).toEqual(['value']);
    expect(await written()).toEqual([]);
  });

  it('what it has from before a restart counts', async () => {
    const { edge, publisher, member, written } = await startWatched();
    await publish(publisher, 'plant/1', 'one');
    await leave(member);
    await written();
    await edge.stop();
    running = [];
    const clock = new SteppedClock();
    const second = await start({}, { env: { ...systemEnv, clock } }, edge.disk);
    expect(await watch(second, clock).written()).toEqual([]);
  });

  it('the last persistent member unsubscribes while another client reads on: nothing of the group outlives a restart', async () => {
    const { edge, member, written } = await startWatched();
    const other = await opened(edge.port, 5);
    await other.subscribe(GROUP, 1);
    member.send({ cmd: 'unsubscribe', messageId: 7, unsubscriptions: [GROUP] });
    await member.next('unsuback');
    expect(await written()).toEqual([null]);
    expect(await written()).toEqual([]);
  });

  it("reaches a member once the member's own backlog is read, though it has acknowledged nothing", async () => {
    const { edge, member, publisher } = await startWatched();
    await member.subscribe('plant/own', 1);
    await leave(member);
    await publish(publisher, 'plant/1', 'a');
    const again = await opened(edge.port, 5, keep('member'));
    expect(String((await again.next('publish')).payload)).toBe('a');
  });
});

describe('a session taken over by a newer connection', () => {
  it('does not lose what its group has not delivered, being the only member', async () => {
    const { edge, member, publisher } = await startWatched();
    await leave(member);
    const narrow = new RawClient(edge.port, 5);
    await narrow.connect(keep('member', { receiveMaximum: 1 }));
    const payloads = ['one', 'two', 'three'];
    for (const payload of payloads) await publish(publisher, 'plant/1', payload);
    expect(String((await narrow.next('publish')).payload)).toBe('one');
    const newer = new RawClient(edge.port, 5);
    await newer.connect(keep('member'));
    const got: string[] = [];
    while (got.length < payloads.length) {
      const { payload, messageId } = await newer.next('publish');
      got.push(String(payload));
      newer.send({ cmd: 'puback', messageId });
    }
    expect(got).toEqual(payloads);
  });
});
