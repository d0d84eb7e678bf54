/** What a power cut leaves of groups: everything that was answered. */
import { beforeEach, describe, expect, it } from 'vitest';
import { turns } from '../support/virtual-env.ts';
import { Bench, joinRequest, now, park, stableGroup, subscription, syncAs } from './harness.ts';

let bench: Bench;

beforeEach(async () => {
  bench = await new Bench().start();
});

const offset = (partition: number, value: number, metadata = '') => ({
  topic: 't',
  partition,
  offset: value,
  leaderEpoch: 3,
  metadata,
});

describe('after a restart', () => {
  it('a Stable group goes on in its generation with its assignments', async () => {
    const [leader, follower] = await stableGroup(bench, 2);
    const before = bench.coordinator.describe('g');
    await bench.restart();
    expect(bench.coordinator.describe('g')).toEqual(before);
    for (const { memberId, generation } of [leader!, follower!]) {
      expect(await now(bench.coordinator.heartbeat('g', { generation, memberId, instanceId: null }))).toBe(0);
    }
    expect([...(await syncAs(bench, follower!)).result!.assignment]).toEqual([1]);
  });

  it('members that do not come back are gone after their session timeout', async () => {
    await stableGroup(bench, 2);
    await bench.restart();
    await bench.clock.advance(9_999);
    expect(bench.coordinator.describe('g').members.length).toBe(2);
    await bench.clock.advance(1);
    expect(bench.state()).toBe('Empty');
  });

  it('a group in CompletingRebalance still takes the assignment of its leader', async () => {
    const [leader, follower] = await stableGroup(bench, 2);
    const a = park(bench.coordinator.join('g', joinRequest({ memberId: leader!.memberId })));
    const b = park(bench.coordinator.join('g', joinRequest({ memberId: follower!.memberId })));
    await turns();
    await bench.restart();
    expect(bench.state()).toBe('CompletingRebalance');
    const waiting = await syncAs(bench, b.result!);
    const plan = [{ memberId: follower!.memberId, assignment: Uint8Array.of(7) }];
    expect((await syncAs(bench, a.result!, plan)).result!.error).toBe(0);
    expect([...waiting.result!.assignment]).toEqual([7]);
  });

  it('a leader that lost its JoinGroup answer in CompletingRebalance gets it again', async () => {
    const [leader] = await stableGroup(bench, 1);
    const a = park(bench.coordinator.join('g', joinRequest({ memberId: leader!.memberId })));
    await turns();
    await bench.restart();
    expect(await now(bench.coordinator.join('g', joinRequest({ memberId: leader!.memberId })))).toEqual(a.result);
  });

  it('a rebalance that was only being prepared begins anew when the members ask', async () => {
    const [leader, follower] = await stableGroup(bench, 2);
    void bench.coordinator.join('g', joinRequest({ memberId: leader!.memberId }));
    await turns();
    expect(bench.state()).toBe('PreparingRebalance');
    await bench.restart();
    expect(bench.state()).toBe('Stable');
    const a = park(bench.coordinator.join('g', joinRequest({ memberId: leader!.memberId })));
    await turns();
    const b = park(bench.coordinator.join('g', joinRequest({ memberId: follower!.memberId })));
    await turns();
    expect([a.result!.generation, b.result!.generation]).toEqual([leader!.generation + 1, leader!.generation + 1]);
  });

  it('no generation is given twice, whenever the power goes', async () => {
    let seen = 0;
    let memberId = '';
    for (let i = 0; i < 20; i++) {
      const joined = await now(bench.coordinator.join('g', joinRequest({ memberId })));
      if (joined.error === 0) {
        expect(joined.generation).toBeGreaterThan(seen);
        seen = joined.generation;
        memberId = joined.memberId;
        if (i % 3 === 0) await syncAs(bench, joined);
        // Changed metadata: the next JoinGroup is a new generation in every state.
        const protocols = [{ name: 'range', metadata: subscription(`topic-${i}`) }];
        const next = await now(bench.coordinator.join('g', joinRequest({ memberId, protocols })));
        expect(next.generation).toBeGreaterThan(seen);
        seen = next.generation;
      } else memberId = '';
      await bench.restart();
    }
  });

  it('an Empty group keeps its generation and offsets', async () => {
    const [leader] = await stableGroup(bench, 1);
    const member = { generation: leader!.generation, memberId: leader!.memberId, instanceId: null };
    const commit = { ...member, apiVersion: 8, retentionMs: -1, offsets: [offset(0, 11, 'note ü'), offset(1, 12)] };
    expect(await now(bench.coordinator.offsets.commit('g', commit))).toEqual([0, 0]);
    await now(bench.coordinator.leave('g', [{ memberId: leader!.memberId, instanceId: null }]));
    await bench.restart();
    expect(bench.state()).toBe('Empty');
    expect(bench.coordinator.offsets.fetch('g', 't', [0, 1, 2], false)).toEqual([
      { partition: 0, offset: 11, leaderEpoch: 3, metadata: 'note ü', error: 0 },
      { partition: 1, offset: 12, leaderEpoch: 3, metadata: '', error: 0 },
      { partition: 2, offset: -1, leaderEpoch: -1, metadata: '', error: 0 },
    ]);
    expect((await now(bench.coordinator.join('g', joinRequest()))).generation).toBe(3);
  });

  it('static members are still known by their instance', async () => {
    await stableGroup(bench, 2, { instanceId: 'i' });
    const back = await now(bench.coordinator.join('g', joinRequest({ instanceId: 'i-1' })));
    await bench.restart();
    const old = { generation: back.generation, memberId: 'old', instanceId: 'i-1' };
    expect(await now(bench.coordinator.heartbeat('g', old))).toBe(82);
    expect(await now(bench.coordinator.heartbeat('g', { ...old, memberId: back.memberId }))).toBe(0);
  });

  it('a deleted group and its offsets stay deleted', async () => {
    const commit = { generation: -1, memberId: '', instanceId: null, apiVersion: 8, retentionMs: -1 };
    await now(bench.coordinator.offsets.commit('g', { ...commit, offsets: [offset(0, 5)] }));
    expect(await now(bench.coordinator.deleteGroup('g'))).toBe(0);
    await bench.restart();
    expect(bench.coordinator.list()).toEqual([]);
    expect(bench.coordinator.offsets.fetch('g', 't', [0], false)[0]!.offset).toBe(-1);
  });

  it('nothing is answered before it is durable, and a failed write is COORDINATOR_NOT_AVAILABLE', async () => {
    const [leader] = await stableGroup(bench, 1);
    const joined = await now(bench.coordinator.join('g', joinRequest({ memberId: leader!.memberId })));
    bench.disk.arm({ kind: 'write', at: 1, code: 'DISK_FULL' });
    expect((await syncAs(bench, joined)).result!.error).toBe(15);
    expect(bench.state()).toBe('CompletingRebalance');
    expect((await syncAs(bench, joined)).result!.error).toBe(0);
    bench.disk.arm({ kind: 'write', at: 1, code: 'DISK_FULL' });
    const member = { generation: joined.generation, memberId: joined.memberId, instanceId: null };
    const commit = { ...member, apiVersion: 8, retentionMs: -1, offsets: [offset(0, 5)] };
    expect(await now(bench.coordinator.offsets.commit('g', commit))).toEqual([15]);
    expect(bench.coordinator.offsets.fetch('g', 't', [0], false)[0]!.offset).toBe(-1);
    expect(await now(bench.coordinator.offsets.commit('g', commit))).toEqual([0]);
  });

  it('a rebalance whose result could not be stored completes a second later', async () => {
    const [leader] = await stableGroup(bench, 1);
    bench.disk.arm({ kind: 'write', at: 1, code: 'DISK_FULL' });
    const parked = park(bench.coordinator.join('g', joinRequest({ memberId: leader!.memberId })));
    await turns();
    expect(parked.result).toBeNull();
    await bench.clock.advance(1_000);
    expect(parked.result!.generation).toBe(2);
  });
});
