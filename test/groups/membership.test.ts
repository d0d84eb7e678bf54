import { beforeEach, describe, expect, it } from 'vitest';
import type { JoinResult, SyncResult } from '../../src/groups/group.ts';
import { GROUP_MEMBERS_MAX, GROUP_METADATA_MAX_BYTES, GROUPS_MAX } from '../../src/limits.ts';
import { turns } from '../support/virtual-env.ts';
import { Bench, joinRequest, now, type Parked, park, stableGroup, subscription, syncAs } from './harness.ts';

let bench: Bench;

beforeEach(async () => {
  bench = await new Bench().start();
});

const join = (changes: Parameters<typeof joinRequest>[0] = {}): Parked<JoinResult> =>
  park(bench.coordinator.join('g', joinRequest(changes)));

const heartbeat = (member: JoinResult, generation = member.generation) =>
  now(bench.coordinator.heartbeat('g', { generation, memberId: member.memberId, instanceId: null }));

const sync = (member: JoinResult, instanceId: string | null = null): Promise<SyncResult> =>
  bench.coordinator.sync('g', {
    generation: member.generation,
    memberId: member.memberId,
    instanceId,
    protocolType: null,
    protocolName: null,
    assignments: [],
  });

describe('a rebalance', () => {
  it('gives the first joiner the lead and only to it the members', async () => {
    const [first, second] = await stableGroup(bench, 2);
    expect(first!.leader).toBe(first!.memberId);
    expect(first!.members.map(({ memberId }) => memberId)).toEqual([first!.memberId, second!.memberId]);
    expect(second!.leader).toBe(first!.memberId);
    expect(second!.members).toEqual([]);
    expect(second!.generation).toBe(first!.generation);
  });

  it('counts generations up by one', async () => {
    const [first] = await stableGroup(bench, 1);
    expect(first!.generation).toBe(1);
    const again = await now(bench.coordinator.join('g', joinRequest({ memberId: first!.memberId })));
    expect(again.generation).toBe(2);
  });

  it('chooses the protocol that all support and most prefer', async () => {
    const protocols = (...names: string[]) => names.map((name) => ({ name, metadata: subscription('t') }));
    const a = join({ protocols: protocols('sticky', 'range', 'robin') });
    await turns();
    const b = join({ protocols: protocols('robin', 'range') });
    await turns();
    const again = join({ memberId: a.result!.memberId, protocols: protocols('sticky', 'robin', 'range') });
    await turns();
    expect([b.result!.protocolName, again.result!.protocolName]).toEqual(['robin', 'robin']);
  });

  it('completes at the rebalance timeout and drops dynamic members that did not come back', async () => {
    const [first, second] = await stableGroup(bench, 2, { rebalanceTimeoutMs: 9_000, sessionTimeoutMs: 30_000 });
    const parked = join({ memberId: first!.memberId, rebalanceTimeoutMs: 9_000, sessionTimeoutMs: 30_000 });
    await bench.clock.advance(8_999);
    expect(parked.result).toBeNull();
    expect(await heartbeat(second!)).toBe(27);
    await bench.clock.advance(1);
    expect(parked.result!.members.map(({ memberId }) => memberId)).toEqual([first!.memberId]);
    expect(await heartbeat(second!)).toBe(25);
  });

  it('answers parked SyncGroups of the old generation with REBALANCE_IN_PROGRESS', async () => {
    const [leader, follower] = await stableGroup(bench, 2);
    const rejoined = join({ memberId: leader!.memberId });
    const other = join({ memberId: follower!.memberId });
    await turns();
    const parked = park(sync(other.result!));
    await turns();
    expect(parked.result).toBeNull();
    void join({ memberId: rejoined.result!.memberId, protocols: [{ name: 'range', metadata: subscription('u') }] });
    await turns();
    expect(parked.result!.error).toBe(27);
  });

  it('drops members that never ask for their assignment', async () => {
    const [leader, follower] = await stableGroup(bench, 2, { rebalanceTimeoutMs: 7_000, sessionTimeoutMs: 60_000 });
    const changes = { rebalanceTimeoutMs: 7_000, sessionTimeoutMs: 60_000 };
    const a = join({ ...changes, memberId: leader!.memberId });
    const b = join({ ...changes, memberId: follower!.memberId });
    await turns();
    await syncAs(bench, a.result!);
    expect(bench.state()).toBe('Stable');
    await bench.clock.advance(7_000);
    expect(bench.state()).toBe('PreparingRebalance');
    expect(await heartbeat(b.result!)).toBe(25);
  });

  it('gives members left out of the assignment empty bytes', async () => {
    const [leader, follower] = await stableGroup(bench, 2);
    const a = join({ memberId: leader!.memberId });
    const b = join({ memberId: follower!.memberId });
    await turns();
    const waiting = park(sync(b.result!));
    await syncAs(bench, a.result!, [{ memberId: leader!.memberId, assignment: Uint8Array.of(9) }]);
    expect([...waiting.result!.assignment]).toEqual([]);
    expect([...(await now(sync(a.result!))).assignment]).toEqual([9]);
  });

  it('waits group.initial.rebalance.delay.ms for others, longer while newcomers come, at most the rebalance timeout', async () => {
    bench = await new Bench({ initialRebalanceDelayMs: 3_000 }).start();
    const first = join({ rebalanceTimeoutMs: 7_000 });
    await bench.clock.advance(2_900);
    const second = join({ rebalanceTimeoutMs: 7_000 });
    await bench.clock.advance(2_900);
    expect(first.result).toBeNull();
    const third = join({ rebalanceTimeoutMs: 7_000 });
    await bench.clock.advance(1_199);
    expect(first.result).toBeNull();
    await bench.clock.advance(1);
    expect(first.result!.members.length).toBe(3);
    expect(second.result!.generation).toBe(1);
    expect(third.result!.generation).toBe(1);
  });

  it('after the delay without newcomers begins at once', async () => {
    bench = await new Bench({ initialRebalanceDelayMs: 3_000 }).start();
    const first = join();
    await bench.clock.advance(2_999);
    expect(first.result).toBeNull();
    await bench.clock.advance(1);
    expect(first.result!.error).toBe(0);
  });
});

describe('sessions', () => {
  it('end after the session timeout without a sign of life, and the others rebalance', async () => {
    const [leader, follower] = await stableGroup(bench, 2);
    await bench.clock.advance(9_000);
    expect(await heartbeat(leader!)).toBe(0);
    await bench.clock.advance(1_000);
    expect(bench.state()).toBe('PreparingRebalance');
    expect(await heartbeat(follower!)).toBe(25);
    const alone = join({ memberId: leader!.memberId });
    await turns();
    expect(alone.result!.members.length).toBe(1);
  });

  it('are kept by commits as well', async () => {
    const [leader] = await stableGroup(bench, 1);
    await bench.clock.advance(9_000);
    const member = { generation: leader!.generation, memberId: leader!.memberId, instanceId: null };
    const offsets = [{ topic: 't', partition: 0, offset: 1, leaderEpoch: -1, metadata: null }];
    await now(bench.coordinator.offsets.commit('g', { ...member, apiVersion: 8, retentionMs: -1, offsets }));
    await bench.clock.advance(9_000);
    expect(await heartbeat(leader!)).toBe(0);
  });

  it('do not end while the member waits here for the rebalance', async () => {
    const [leader] = await stableGroup(bench, 2, { sessionTimeoutMs: 6_000 });
    const parked = join({ memberId: leader!.memberId, sessionTimeoutMs: 6_000 });
    await bench.clock.advance(5_999);
    expect(parked.result).toBeNull();
    await bench.clock.advance(1);
    expect(parked.result!.error).toBe(0);
  });

  it('of the last member leave the group Empty in a new generation', async () => {
    await stableGroup(bench, 1);
    await bench.clock.advance(10_000);
    expect(bench.state()).toBe('Empty');
    expect((await now(bench.coordinator.join('g', joinRequest()))).generation).toBe(3);
  });

  it('leave no timer behind when the group is gone', async () => {
    await stableGroup(bench, 3);
    await bench.clock.advance(10_000);
    expect(await now(bench.coordinator.deleteGroup('g'))).toBe(0);
    expect(bench.clock.pendingTimers).toBe(1); // the retention check
  });
});

describe('KIP-394: an id first', () => {
  it('joins with the id that was handed out', async () => {
    const asked = await now(bench.coordinator.join('g', joinRequest({ requireKnownMemberId: true })));
    expect(asked.memberId).toMatch(/^client-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const joined = await now(
      bench.coordinator.join('g', joinRequest({ requireKnownMemberId: true, memberId: asked.memberId })),
    );
    expect([joined.error, joined.memberId]).toEqual([0, asked.memberId]);
  });

  it('forgets an id that is not used within the session timeout, and the group with it', async () => {
    const asked = await now(bench.coordinator.join('g', joinRequest({ requireKnownMemberId: true })));
    await bench.clock.advance(10_000);
    expect(bench.coordinator.list()).toEqual([]);
    expect((await now(bench.coordinator.join('g', joinRequest({ memberId: asked.memberId })))).error).toBe(25);
  });

  it('waits with the rebalance for an id that is on its way, not longer than its timeout', async () => {
    const [leader] = await stableGroup(bench, 1);
    await now(bench.coordinator.join('g', joinRequest({ requireKnownMemberId: true, sessionTimeoutMs: 6_000 })));
    const again = join({ memberId: leader!.memberId });
    await turns();
    expect(again.result).toBeNull();
    await bench.clock.advance(6_000);
    expect(again.result!.members.length).toBe(1);
  });

  it('lets go of the id on LeaveGroup', async () => {
    const { memberId } = await now(bench.coordinator.join('g', joinRequest({ requireKnownMemberId: true })));
    expect((await now(bench.coordinator.leave('g', [{ memberId, instanceId: null }]))).errors).toEqual([0]);
    expect(bench.coordinator.list()).toEqual([]);
  });
});

describe('KIP-345: static members', () => {
  const instance = { instanceId: 'i' };

  it('come back under a new id without a rebalance and keep their assignment', async () => {
    const [leader, follower] = await stableGroup(bench, 2, instance);
    const back = await now(bench.coordinator.join('g', joinRequest({ instanceId: 'i-1' })));
    expect(back.memberId).toMatch(/^i-1-/);
    expect(back.memberId).not.toBe(follower!.memberId);
    expect([back.error, back.generation, back.leader]).toEqual([0, follower!.generation, leader!.memberId]);
    expect(bench.state()).toBe('Stable');
    expect([...(await now(sync(back, 'i-1'))).assignment]).toEqual([1]);
  });

  it('fence the id they replace with FENCED_INSTANCE_ID', async () => {
    const [, follower] = await stableGroup(bench, 2, instance);
    await now(bench.coordinator.join('g', joinRequest({ instanceId: 'i-1' })));
    const old = { generation: follower!.generation, memberId: follower!.memberId, instanceId: 'i-1' };
    expect(await now(bench.coordinator.heartbeat('g', old))).toBe(82);
    expect((await now(sync(follower!, 'i-1'))).error).toBe(82);
    expect((await now(bench.coordinator.leave('g', [old]))).errors).toEqual([82]);
    const offsets = [{ topic: 't', partition: 0, offset: 1, leaderEpoch: -1, metadata: '' }];
    const commit = { ...old, apiVersion: 8, retentionMs: -1, offsets };
    expect(await now(bench.coordinator.offsets.commit('g', commit))).toEqual([82]);
    const rejoin = joinRequest({ instanceId: 'i-1', memberId: follower!.memberId });
    expect((await now(bench.coordinator.join('g', rejoin))).error).toBe(82);
  });

  it('fence a JoinGroup that is parked', async () => {
    const [leader] = await stableGroup(bench, 2, instance);
    const parked = join({ instanceId: 'i-0', memberId: leader!.memberId });
    await turns();
    void join({ instanceId: 'i-0' });
    await turns();
    expect(parked.result!.error).toBe(82);
  });

  it('that lead are told to skip the assignment from v9 on (KIP-814), and the old leader is named before', async () => {
    const [leader] = await stableGroup(bench, 2, instance);
    const v8 = await now(bench.coordinator.join('g', joinRequest({ instanceId: 'i-0' })));
    expect([v8.skipAssignment, v8.leader, v8.members.length]).toEqual([false, leader!.memberId, 0]);
    const v9 = await now(bench.coordinator.join('g', joinRequest({ instanceId: 'i-0', canSkipAssignment: true })));
    expect([v9.skipAssignment, v9.leader, v9.members.length]).toEqual([true, v9.memberId, 2]);
  });

  it('rebalance when the protocol changes with them', async () => {
    await stableGroup(bench, 1, instance);
    const protocols = [{ name: 'sticky', metadata: subscription('t') }];
    const back = await now(bench.coordinator.join('g', joinRequest({ instanceId: 'i-0', protocols })));
    expect([back.generation, back.protocolName, back.leader]).toEqual([2, 'sticky', back.memberId]);
  });

  it('stay in the generation when they do not come back in time, until their session ends', async () => {
    const long = { instanceId: 'i', sessionTimeoutMs: 100_000, rebalanceTimeoutMs: 5_000 };
    const [leader] = await stableGroup(bench, 2, long);
    const again = join({ ...long, instanceId: 'i-0', memberId: leader!.memberId });
    await bench.clock.advance(5_000);
    expect(again.result!.members.map(({ instanceId }) => instanceId)).toEqual(['i-0', 'i-1']);
  });

  it('leave by their instance id alone', async () => {
    await stableGroup(bench, 2, instance);
    const leavers = [
      { memberId: '', instanceId: 'i-1' },
      { memberId: '', instanceId: 'nobody' },
      { memberId: '', instanceId: 'i-1' },
    ];
    expect((await now(bench.coordinator.leave('g', leavers))).errors).toEqual([0, 25, 25]);
    expect(bench.state()).toBe('PreparingRebalance');
  });

  it('with an unknown instance id and a member id are UNKNOWN_MEMBER_ID', async () => {
    const [leader] = await stableGroup(bench, 1, instance);
    const request = joinRequest({ instanceId: 'other', memberId: leader!.memberId });
    expect((await now(bench.coordinator.join('g', request))).error).toBe(25);
  });
});

describe('bounds', () => {
  it(`a group takes ${GROUP_MEMBERS_MAX} members and answers the next with GROUP_MAX_SIZE_REACHED`, async () => {
    for (let i = 0; i < GROUP_MEMBERS_MAX; i++) void join();
    await turns(1_000);
    expect((await now(bench.coordinator.join('g', joinRequest()))).error).toBe(81);
    expect((await now(bench.coordinator.join('g', joinRequest({ requireKnownMemberId: true })))).error).toBe(81);
  });

  it('ids that are only handed out count as members', async () => {
    for (let i = 0; i < GROUP_MEMBERS_MAX; i++) void join({ requireKnownMemberId: true });
    await turns(1_000);
    expect((await now(bench.coordinator.join('g', joinRequest({ requireKnownMemberId: true })))).error).toBe(81);
  });

  it('metadata is taken up to GROUP_METADATA_MAX_BYTES per group, not a byte more', async () => {
    const protocols = (bytes: number) => [{ name: 'range', metadata: new Uint8Array(bytes - 5) }];
    const over = joinRequest({ protocols: protocols(GROUP_METADATA_MAX_BYTES + 1) });
    expect((await now(bench.coordinator.join('g', over))).error).toBe(81);
    const fits = joinRequest({ protocols: protocols(GROUP_METADATA_MAX_BYTES) });
    expect((await now(bench.coordinator.join('g', fits))).error).toBe(0);
  });

  it(`there are at most ${GROUPS_MAX} groups`, async () => {
    const offsets = [{ topic: 't', partition: 0, offset: 1, leaderEpoch: -1, metadata: '' }];
    const commit = { generation: -1, memberId: '', instanceId: null, apiVersion: 8, retentionMs: -1, offsets };
    for (let i = 0; i < GROUPS_MAX; i++) void bench.coordinator.offsets.commit(`g${i}`, commit);
    await turns(200);
    expect(bench.coordinator.list().length).toBe(GROUPS_MAX);
    expect((await now(bench.coordinator.join('one more', joinRequest()))).error).toBe(89);
    expect(await now(bench.coordinator.offsets.commit('one more', commit))).toEqual([89]);
  });
});
