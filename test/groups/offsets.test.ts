import { beforeEach, describe, expect, it } from 'vitest';
import type { OffsetToCommit } from '../../src/groups/group-offsets.ts';
import { GROUPS_TOTAL_MAX_BYTES } from '../../src/limits.ts';
import { turns } from '../support/virtual-env.ts';
import { Bench, joinRequest, now, park, stableGroup, subscription } from './harness.ts';

const DAY = 86_400_000;
const MINUTE = 60_000;

let bench: Bench;

beforeEach(async () => {
  bench = await new Bench({ retentionCheckMs: 10 * MINUTE }).start();
});

const entry = (partition: number, offset: number, changes: Partial<OffsetToCommit> = {}): OffsetToCommit => ({
  topic: 't',
  partition,
  offset,
  leaderEpoch: -1,
  metadata: '',
  ...changes,
});

const SIMPLE = { generation: -1, memberId: '', instanceId: null, apiVersion: 8, retentionMs: -1 };

const commit = (groupId: string, ...offsets: OffsetToCommit[]) =>
  now(bench.coordinator.offsets.commit(groupId, { ...SIMPLE, offsets }));

const committed = (groupId: string, topic = 't', partition = 0) =>
  bench.coordinator.offsets.fetch(groupId, topic, [partition], false)[0]!.offset;

const pending = (producerId: number, ...offsets: OffsetToCommit[]) =>
  now(bench.coordinator.offsets.commitPending('g', producerId, SIMPLE, offsets));

describe('OffsetCommit', () => {
  it('of a group that is not there makes a simple group', async () => {
    expect(await commit('g', entry(0, 5))).toEqual([0]);
    expect(bench.coordinator.list()).toEqual([{ groupId: 'g', protocolType: '', state: 'Empty' }]);
  });

  it('refuses commits while the disk is full, in a way that clients try again, and keeps those it has', async () => {
    expect(await commit('g', entry(0, 5))).toEqual([0]);
    bench.hasSpace = false;
    expect(await commit('g', entry(0, 6), entry(1, 6))).toEqual([15, 15]);
    expect(await commit('other', entry(0, 6))).toEqual([15]);
    expect(bench.coordinator.list().map(({ groupId }) => groupId)).toEqual(['g']);
    expect(bench.coordinator.offsets.fetch('g', 't', [0, 1], false).map(({ offset }) => offset)).toEqual([5, -1]);
    bench.hasSpace = true;
    expect(await commit('g', entry(0, 6))).toEqual([0]);
  });

  it('answers each partition on its own', async () => {
    const answer = await commit(
      'g',
      entry(0, 5),
      entry(12, 5),
      entry(0, 5, { topic: 'nowhere' }),
      entry(1, 6, { metadata: 'x'.repeat(4_096) }),
      entry(2, 6, { metadata: 'x'.repeat(4_097) }),
      entry(3, 6, { metadata: null }),
    );
    expect(answer).toEqual([0, 3, 3, 0, 12, 0]);
    expect(bench.coordinator.offsets.fetch('g', 't', [1, 2, 3], false).map(({ metadata }) => metadata.length)).toEqual([
      4_096, 0, 0,
    ]);
  });

  it('of many groups shares synced writes', async () => {
    bench.disk.arm();
    const answers = Array.from({ length: 100 }, (_, i) =>
      park(bench.coordinator.offsets.commit(`g${i}`, { ...SIMPLE, offsets: [entry(0, i)] })),
    );
    await turns();
    expect(answers.every(({ result }) => result?.[0] === 0)).toBe(true);
    expect(bench.disk.counts.write).toBeLessThanOrEqual(2);
  });

  it('takes any group id that fits, also an empty one', async () => {
    expect(await commit('', entry(0, 1))).toEqual([0]);
    expect(await commit('grüße\u0000/x', entry(0, 2))).toEqual([0]);
    expect(await commit('x'.repeat(1_025), entry(0, 2))).toEqual([89]);
    await bench.restart();
    expect([committed(''), committed('grüße\u0000/x')]).toEqual([1, 2]);
  });

  it('refuses new partitions above GROUPS_TOTAL_MAX_BYTES, not those it has', async () => {
    const metadata = 'x'.repeat(4_096);
    let taken = 0;
    let refused = 0;
    const bytes = () => taken * (128 + 2 * 4_096);
    for (let g = 0; refused === 0 && g < 200; g++) {
      const offsets = Array.from({ length: 12 }, (_, p) => entry(p, 1, { metadata }));
      for (const error of await commit(`g${g}`, ...offsets)) error === 0 ? taken++ : refused++;
    }
    expect(refused).toBeGreaterThan(0);
    expect(bytes()).toBeGreaterThan(GROUPS_TOTAL_MAX_BYTES * 0.9);
    expect(bytes()).toBeLessThan(GROUPS_TOTAL_MAX_BYTES * 1.1);
    expect(await commit('g0', entry(0, 2, { metadata: '' }))).toEqual([0]);
    expect((await now(bench.coordinator.join('new', joinRequest()))).error).toBe(89);
  });
});

describe('a commit of what is stored already', () => {
  const writes = async (...offsets: OffsetToCommit[]) => {
    bench.disk.arm();
    expect(await commit('g', ...offsets)).toEqual(offsets.map(() => 0));
    return bench.disk.counts.write;
  };

  it('is acknowledged without a write, for ten minutes', async () => {
    expect(await writes(entry(0, 5))).toBe(1);
    for (let i = 0; i < 119; i++) {
      await bench.clock.advance(5_000);
      expect(await writes(entry(0, 5))).toBe(0);
    }
    await bench.clock.advance(5_000);
    expect(await writes(entry(0, 5))).toBe(1);
    await bench.restart();
    expect(committed('g')).toBe(5);
    expect(await writes(entry(0, 5))).toBe(0);
  });

  it.each([
    ['offset', { offset: 4 }],
    ['leader epoch', { leaderEpoch: 3 }],
    ['metadata', { metadata: 'x' }],
    ['partition', { partition: 1 }],
  ])('with another %s it is another', async (_, changes) => {
    await commit('g', entry(0, 5));
    expect(await writes({ ...entry(0, 5), ...changes })).toBe(1);
    expect(await writes({ ...entry(0, 5), ...changes })).toBe(0);
  });

  it('beside one that is not: both are acknowledged, the new one is stored', async () => {
    await commit('g', entry(0, 5), entry(1, 5));
    expect(await writes(entry(0, 5), entry(1, 6))).toBe(1);
    await bench.restart();
    expect([committed('g'), committed('g', 't', 1)]).toEqual([5, 6]);
  });

  it('is stored when another one is still being written: the last one counts', async () => {
    await commit('g', entry(0, 5));
    const both = [6, 5].map((offset) =>
      park(bench.coordinator.offsets.commit('g', { ...SIMPLE, offsets: [entry(0, offset)] })),
    );
    await turns();
    expect(both.map(({ result }) => result)).toEqual([[0], [0]]);
    await bench.restart();
    expect(committed('g')).toBe(5);
  });

  it('is stored after a write that failed: what the disk has is not known', async () => {
    await commit('g', entry(0, 5));
    // The sync fails, the write does not.
    bench.disk.arm({ at: 1, code: 'STORE_FAILED', kind: 'write', applied: true });
    expect(await commit('g', entry(0, 6))).toEqual([15]);
    expect(await writes(entry(0, 5))).toBeGreaterThan(0);
    await bench.restart();
    expect(committed('g')).toBe(5);
  });

  it('wins over a transaction that was there before it', async () => {
    await commit('g', entry(0, 5));
    await pending(7, entry(0, 9));
    await commit('g', entry(0, 5));
    await now(bench.coordinator.offsets.endTransaction('g', 7, true).then(() => true));
    expect(committed('g')).toBe(5);
  });

  it('to a topic made anew is one of that topic', async () => {
    await commit('g', entry(0, 5));
    bench.topics.delete('t');
    bench.topics.add('t', 12);
    await commit('g', entry(0, 5));
    await turns();
    await bench.restart();
    expect(committed('g')).toBe(5);
  });

  it('with a clock that is not believed: none that has a time, one that has none', async () => {
    await commit('g', entry(0, 5));
    bench.trusted = false;
    expect([await writes(entry(0, 5)), await writes(entry(0, 5))]).toEqual([1, 0]);
    bench.trusted = true;
    expect([await writes(entry(0, 5)), await writes(entry(0, 5))]).toEqual([1, 0]);
  });

  it('keeps the offset for the whole retention from then on, over a crash too', async () => {
    await commit('g', entry(0, 5));
    await bench.clock.advance(9 * MINUTE);
    expect(await writes(entry(0, 5))).toBe(0);
    await bench.clock.advance(3 * MINUTE);
    await bench.restart();
    await bench.clock.advance(7 * DAY - 3 * MINUTE - 1);
    expect(committed('g')).toBe(5);
    await bench.clock.advance(20 * MINUTE);
    expect(committed('g')).toBe(-1);
  });
});

describe('OffsetFetch', () => {
  it('of everything lists what is committed', async () => {
    await commit('g', entry(3, 7), entry(1, 8, { topic: 'u' }));
    expect(
      bench.coordinator.offsets.committed('g', false).map(({ topic, partitions }) => [topic, partitions[0]!.offset]),
    ).toEqual([
      ['t', 7],
      ['u', 8],
    ]);
    expect(bench.coordinator.offsets.committed('nobody', false)).toEqual([]);
  });

  it('that requires stability is UNSTABLE_OFFSET_COMMIT while a transaction is about to commit (KIP-447)', async () => {
    await commit('g', entry(0, 1));
    await pending(7, entry(0, 5));
    expect(bench.coordinator.offsets.fetch('g', 't', [0, 1], true).map(({ error }) => error)).toEqual([88, 0]);
    expect(committed('g')).toBe(1);
    await now(bench.coordinator.offsets.endTransaction('g', 7, true).then(() => true));
    expect(bench.coordinator.offsets.fetch('g', 't', [0], true)).toMatchObject([{ error: 0, offset: 5 }]);
  });
});

describe('offsets of a transaction', () => {
  const end = (producerId: number, commits: boolean) =>
    now(bench.coordinator.offsets.endTransaction('g', producerId, commits).then(() => true));

  it('are dropped when it aborts', async () => {
    await commit('g', entry(0, 1));
    await pending(7, entry(0, 5));
    await end(7, false);
    expect(committed('g')).toBe(1);
    await bench.restart();
    expect(bench.coordinator.offsets.fetch('g', 't', [0], true)).toMatchObject([{ error: 0, offset: 1 }]);
  });

  it('outlive a restart undecided, and end after it', async () => {
    await pending(7, entry(0, 5), entry(1, 6));
    await pending(8, entry(0, 9));
    await bench.restart();
    expect(bench.coordinator.offsets.fetch('g', 't', [0], true)[0]!.error).toBe(88);
    await end(7, true);
    await end(8, false);
    expect([committed('g'), committed('g', 't', 1)]).toEqual([5, 6]);
    await bench.restart();
    expect([committed('g'), committed('g', 't', 1)]).toEqual([5, 6]);
  });

  it('give way to a commit that was made after them', async () => {
    await pending(7, entry(0, 5));
    await bench.restart();
    await commit('g', entry(0, 9));
    await end(7, true);
    expect(committed('g')).toBe(9);
  });

  it('may be ended twice', async () => {
    await pending(7, entry(0, 5));
    await end(7, true);
    await commit('g', entry(0, 6));
    await end(7, true);
    expect(committed('g')).toBe(6);
  });
});

describe('a deleted topic', () => {
  it('takes its offsets with it, in every group, for good', async () => {
    await commit('a', entry(0, 1), entry(0, 1, { topic: 'u' }));
    await commit('b', entry(0, 2));
    await pending(7, entry(0, 3));
    bench.topics.delete('t');
    await turns();
    expect([committed('a'), committed('b'), committed('a', 'u')]).toEqual([-1, -1, 1]);
    bench.topics.add('t', 12);
    await bench.restart();
    expect([committed('a'), committed('b'), committed('a', 'u')]).toEqual([-1, -1, 1]);
    expect(bench.coordinator.offsets.fetch('g', 't', [0], true)[0]!.error).toBe(0);
  });

  it('that went while the broker was down leaves nothing to one of the same name', async () => {
    await commit('a', entry(0, 1));
    bench.topics.byName.delete('t');
    bench.topics.add('t', 12);
    await bench.restart();
    expect(committed('a')).toBe(-1);
  });
});

describe('OffsetDelete', () => {
  it('deletes for good what no member reads', async () => {
    await commit('g', entry(0, 1), entry(1, 2));
    const wanted = [
      { topic: 't', partition: 0 },
      { topic: 't', partition: 99 },
      { topic: 't', partition: 5 },
    ];
    expect(await now(bench.coordinator.offsets.delete('g', wanted))).toEqual({ error: 0, errors: [0, 3, 0] });
    await bench.restart();
    expect([committed('g'), committed('g', 't', 1)]).toEqual([-1, 2]);
  });

  it('in a group at work spares the topics that are subscribed', async () => {
    const [member] = await stableGroup(bench, 1);
    const offsets = [entry(0, 1), entry(0, 2, { topic: 'u' })];
    const { generation, memberId } = member!;
    await now(bench.coordinator.offsets.commit('g', { ...SIMPLE, generation, memberId, offsets }));
    const wanted = offsets.map(({ topic, partition }) => ({ topic, partition }));
    expect((await now(bench.coordinator.offsets.delete('g', wanted))).errors).toEqual([86, 0]);
    expect([committed('g'), committed('g', 'u')]).toEqual([1, -1]);
  });

  it('in a group at work with another protocol type is NON_EMPTY_GROUP', async () => {
    await stableGroup(bench, 1, { protocolType: 'connect' });
    expect(await now(bench.coordinator.offsets.delete('g', []))).toEqual({ error: 68, errors: [] });
  });
});

describe('retention of offsets', () => {
  it('forgets those of a simple group seven days after each commit, then the group', async () => {
    await commit('g', entry(0, 1));
    await bench.clock.advance(DAY);
    await commit('g', entry(1, 2));
    await bench.clock.advance(6 * DAY - 1);
    expect([committed('g'), committed('g', 't', 1)]).toEqual([1, 2]);
    // Ten minutes later than that: it may have been repeated.
    await bench.clock.advance(20 * MINUTE);
    expect([committed('g'), committed('g', 't', 1)]).toEqual([-1, 2]);
    await bench.clock.advance(DAY);
    expect(bench.coordinator.list()).toEqual([]);
    await bench.restart();
    expect(bench.coordinator.list()).toEqual([]);
  });

  it('counts from when the group became Empty', async () => {
    const [member] = await stableGroup(bench, 1, { sessionTimeoutMs: 1_800_000 });
    const { generation, memberId } = member!;
    await now(bench.coordinator.offsets.commit('g', { ...SIMPLE, generation, memberId, offsets: [entry(0, 4)] }));
    for (let i = 0; i < 10 * 48; i++) {
      await bench.clock.advance(29 * MINUTE);
      expect(await now(bench.coordinator.heartbeat('g', { generation, memberId, instanceId: null }))).toBe(0);
    }
    await now(bench.coordinator.leave('g', [{ memberId, instanceId: null }]));
    await bench.restart();
    await bench.clock.advance(7 * DAY - 1);
    expect(committed('g')).toBe(4);
    await bench.clock.advance(10 * MINUTE);
    expect(bench.coordinator.list()).toEqual([]);
  });

  it('in a group at work forgets only topics that are not subscribed (KIP-211)', async () => {
    const [member] = await stableGroup(bench, 1, { sessionTimeoutMs: 1_800_000 });
    const { generation, memberId } = member!;
    const offsets = [entry(0, 4), entry(0, 5, { topic: 'u' })];
    await now(bench.coordinator.offsets.commit('g', { ...SIMPLE, generation, memberId, offsets }));
    for (let i = 0; i < 8 * 50; i++) {
      await bench.clock.advance(29 * MINUTE);
      await now(bench.coordinator.heartbeat('g', { generation, memberId, instanceId: null }));
    }
    expect([committed('g'), committed('g', 'u')]).toEqual([4, -1]);
  });

  it('keeps what a client of v2 to v4 asked for', async () => {
    await now(bench.coordinator.offsets.commit('g', { ...SIMPLE, retentionMs: DAY, offsets: [entry(0, 1)] }));
    await bench.clock.advance(DAY + 10 * MINUTE);
    expect(committed('g')).toBe(-1);
  });

  it('deletes nothing while the clock is not to be trusted, nor because it steps when it is', async () => {
    bench.clock.setWall(0);
    bench.trusted = false;
    await commit('g', entry(0, 1));
    await bench.clock.advance(30 * DAY);
    expect(committed('g')).toBe(1);
    bench.trusted = true;
    bench.clock.setWall(1_790_000_000_000);
    await bench.clock.advance(10 * MINUTE);
    expect(committed('g')).toBe(1);
    await bench.restart();
    await bench.clock.advance(7 * DAY - 20 * MINUTE);
    expect(committed('g')).toBe(1);
    await bench.clock.advance(30 * MINUTE);
    expect(committed('g')).toBe(-1);
  });

  it('counts from the true time of a commit that a clock stamped which was then stepped by ten days', async () => {
    await commit('g', entry(0, 1));
    bench.early = 10 * DAY;
    bench.clock.setWall(bench.clock.now() + bench.early);
    await bench.clock.advance(7 * DAY - 10 * MINUTE);
    expect(committed('g')).toBe(1);
    await bench.clock.advance(20 * MINUTE);
    expect(committed('g')).toBe(-1);
  });

  it('spares what an open transaction is about to replace', async () => {
    await commit('g', entry(0, 1));
    await pending(7, entry(0, 2));
    await bench.clock.advance(20 * DAY);
    expect(committed('g')).toBe(1);
  });
});

describe('a subscription that cannot be read', () => {
  it.each([[[]], [[0, 0, 0, 0, 0, 9]], [[0, 0, 0, 0, 0, 1, 0x7f, 0xff, 1]], [[0, 0, 0, 0, 0, 1, 0xff, 0xff]]])(
    'counts as one of every topic: %j',
    async (bytes) => {
      await stableGroup(bench, 1, { protocols: [{ name: 'range', metadata: Uint8Array.from(bytes) }] });
      const { errors } = await now(bench.coordinator.offsets.delete('g', [{ topic: 'u', partition: 0 }]));
      expect(errors).toEqual([86]);
    },
  );

  it('of version 3 is read as far as its topics', async () => {
    const metadata = Buffer.concat([subscription('t'), Buffer.alloc(20)]);
    metadata.writeInt16BE(3, 0);
    await stableGroup(bench, 1, { protocols: [{ name: 'range', metadata }] });
    const both = [
      { topic: 't', partition: 0 },
      { topic: 'u', partition: 0 },
    ];
    expect((await now(bench.coordinator.offsets.delete('g', both))).errors).toEqual([86, 0]);
  });
});
