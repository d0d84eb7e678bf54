/** Every request in every state: the error codes of section 8 of the protocol facts. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { JoinResult } from '../../src/groups/group.ts';
import { turns } from '../support/virtual-env.ts';
import { Bench, joinRequest, now, park, stableGroup, subscription, syncAs } from './harness.ts';

const STATES = ['absent', 'Empty', 'PreparingRebalance', 'CompletingRebalance', 'Stable'] as const;
type State = (typeof STATES)[number];

let bench: Bench;
/** A member of the group, or one that was. */
let member: JoinResult;

async function bring(state: State): Promise<void> {
  bench = await new Bench().start();
  member = { memberId: 'never', generation: 1 } as JoinResult;
  if (state === 'absent') return;
  const joined = await stableGroup(bench, 2);
  member = joined.find((one) => one.leader !== one.memberId)!;
  const leader = joined.find((one) => one.leader === one.memberId)!;
  if (state === 'Stable') return;
  if (state === 'Empty') {
    await now(
      bench.coordinator.leave(
        'g',
        joined.map(({ memberId }) => ({ memberId, instanceId: null })),
      ),
    );
    return;
  }
  void bench.coordinator.join('g', joinRequest({ memberId: leader.memberId }));
  await turns();
  if (state === 'PreparingRebalance') return;
  member = await now(bench.coordinator.join('g', joinRequest({ memberId: member.memberId })));
}

const heartbeat = (generation = member.generation, memberId = member.memberId) =>
  now(bench.coordinator.heartbeat('g', { generation, memberId, instanceId: null }));

const commit = async (generation: number, memberId: string, apiVersion = 8) =>
  (
    await now(
      bench.coordinator.offsets.commit('g', {
        generation,
        memberId,
        instanceId: null,
        apiVersion,
        retentionMs: -1,
        offsets: [{ topic: 't', partition: 0, offset: 5, leaderEpoch: -1, metadata: '' }],
      }),
    )
  )[0];

const sync = (generation = member.generation, memberId = member.memberId) =>
  syncAs(bench, { ...member, generation, memberId });

interface Row {
  readonly what: string;
  readonly run: () => Promise<unknown>;
  /** In the order of STATES. `-` = parked. */
  readonly expected: readonly (number | '-')[];
}

const ROWS: readonly Row[] = [
  { what: 'Heartbeat of a member', run: () => heartbeat(), expected: [25, 25, 27, 0, 0] },
  { what: 'Heartbeat with an old generation', run: () => heartbeat(0), expected: [25, 25, 22, 22, 22] },
  { what: 'Heartbeat of a stranger', run: () => heartbeat(2, 'stranger'), expected: [25, 25, 25, 25, 25] },
  {
    what: 'SyncGroup of a follower',
    run: async () => (await sync()).result?.error ?? '-',
    expected: [25, 25, 27, '-', 0],
  },
  {
    what: 'SyncGroup with an old generation',
    run: async () => (await sync(0)).result?.error ?? '-',
    expected: [25, 25, 22, 22, 22],
  },
  {
    what: 'SyncGroup of a stranger',
    run: async () => (await sync(2, 'stranger')).result?.error ?? '-',
    expected: [25, 25, 25, 25, 25],
  },
  {
    what: 'SyncGroup with another protocol name (KIP-559)',
    run: async () => {
      const request = { generation: member.generation, memberId: member.memberId, instanceId: null, assignments: [] };
      return (await now(bench.coordinator.sync('g', { ...request, protocolType: null, protocolName: 'sticky' }))).error;
    },
    expected: [25, 25, 23, 23, 23],
  },
  {
    what: 'JoinGroup of a stranger',
    run: async () => (await now(bench.coordinator.join('g', joinRequest({ memberId: 'stranger' })))).error,
    expected: [25, 25, 25, 25, 25],
  },
  {
    what: 'JoinGroup of a follower with unchanged metadata',
    run: async () => {
      const parked = park(bench.coordinator.join('g', joinRequest({ memberId: member.memberId })));
      await turns();
      return parked.result?.error ?? '-';
    },
    expected: [25, 25, 0, 0, 0],
  },
  {
    what: 'JoinGroup of a follower with changed metadata',
    run: async () => {
      const protocols = [{ name: 'range', metadata: subscription('u') }];
      const parked = park(bench.coordinator.join('g', joinRequest({ memberId: member.memberId, protocols })));
      await turns();
      return parked.result?.error ?? '-';
    },
    expected: [25, 25, 0, '-', '-'],
  },
  {
    what: 'JoinGroup without a common protocol',
    run: async () => {
      const protocols = [{ name: 'other', metadata: subscription('t') }];
      return (await now(bench.coordinator.join('g', joinRequest({ protocols })))).error;
    },
    expected: [0, 0, 23, 23, 23],
  },
  {
    what: 'JoinGroup with another protocol type',
    run: async () => (await now(bench.coordinator.join('g', joinRequest({ protocolType: 'connect' })))).error,
    expected: [0, 0, 23, 23, 23],
  },
  {
    what: 'JoinGroup without protocols',
    run: async () => (await now(bench.coordinator.join('g', joinRequest({ protocols: [] })))).error,
    expected: [23, 23, 23, 23, 23],
  },
  {
    what: 'JoinGroup v4+ without a member id (KIP-394)',
    run: async () => (await now(bench.coordinator.join('g', joinRequest({ requireKnownMemberId: true })))).error,
    expected: [79, 79, 79, 79, 79],
  },
  {
    what: 'LeaveGroup of a member',
    run: async () =>
      (await now(bench.coordinator.leave('g', [{ memberId: member.memberId, instanceId: null }]))).errors[0],
    expected: [25, 25, 0, 0, 0],
  },
  {
    what: 'LeaveGroup of a stranger',
    run: async () => (await now(bench.coordinator.leave('g', [{ memberId: 'stranger', instanceId: null }]))).errors[0],
    expected: [25, 25, 25, 25, 25],
  },
  {
    what: 'OffsetCommit of a member',
    run: () => commit(member.generation, member.memberId),
    expected: [22, 25, 0, 27, 0],
  },
  {
    what: 'OffsetCommit v9 of a member',
    run: () => commit(member.generation, member.memberId, 9),
    expected: [69, 25, 0, 27, 0],
  },
  {
    what: 'OffsetCommit with an old generation',
    run: () => commit(0, member.memberId),
    expected: [22, 25, 22, 22, 22],
  },
  { what: 'OffsetCommit of an admin', run: () => commit(-1, ''), expected: [0, 0, 25, 25, 25] },
  {
    what: 'TxnOffsetCommit without a generation',
    run: async () =>
      (
        await now(
          bench.coordinator.offsets.commitPending('g', 7, { generation: -1, memberId: '', instanceId: null }, [
            { topic: 't', partition: 0, offset: 5, leaderEpoch: -1, metadata: '' },
          ]),
        )
      )[0],
    expected: [0, 0, 0, 0, 0],
  },
  {
    what: 'TxnOffsetCommit of a member (KIP-447)',
    run: async () =>
      (
        await now(
          bench.coordinator.offsets.commitPending(
            'g',
            7,
            { generation: member.generation, memberId: member.memberId, instanceId: null },
            [{ topic: 't', partition: 0, offset: 5, leaderEpoch: -1, metadata: '' }],
          ),
        )
      )[0],
    expected: [22, 25, 0, 0, 0],
  },
  { what: 'DeleteGroups', run: () => now(bench.coordinator.deleteGroup('g')), expected: [69, 0, 68, 68, 68] },
  {
    what: 'OffsetDelete of a subscribed topic',
    run: async () => {
      const { error, errors } = await now(bench.coordinator.offsets.delete('g', [{ topic: 't', partition: 0 }]));
      return error || errors[0];
    },
    expected: [69, 0, 86, 86, 86],
  },
];

describe.each(STATES)('a group in state %s', (state) => {
  beforeEach(() => bring(state));

  it('is described as that', () => {
    expect(bench.state()).toBe(state === 'absent' ? 'Dead' : state);
    expect(bench.coordinator.describe('g').error).toBe(state === 'absent' ? 69 : 0);
  });

  for (const { what, run, expected } of ROWS) {
    const wanted = expected[STATES.indexOf(state)];
    it(`answers ${what} with ${wanted === '-' ? 'nothing yet' : wanted}`, async () => {
      expect(await run()).toBe(wanted);
    });
  }
});

describe('whatever the state', () => {
  beforeEach(() => bring('absent'));

  it('an empty group id is INVALID_GROUP_ID for the membership requests', async () => {
    const { coordinator } = bench;
    expect((await now(coordinator.join('', joinRequest()))).error).toBe(24);
    expect(await now(coordinator.heartbeat('', { generation: 1, memberId: 'm', instanceId: null }))).toBe(24);
    expect((await now(coordinator.leave('', []))).error).toBe(24);
  });

  it.each([5_999, 1_800_001])('a session timeout of %i ms is INVALID_SESSION_TIMEOUT', async (sessionTimeoutMs) => {
    expect((await now(bench.coordinator.join('g', joinRequest({ sessionTimeoutMs })))).error).toBe(26);
    expect(bench.coordinator.list()).toEqual([]);
  });

  it.each([6_000, 1_800_000])('a session timeout of %i ms is taken', async (sessionTimeoutMs) => {
    expect((await now(bench.coordinator.join('g', joinRequest({ sessionTimeoutMs })))).error).toBe(0);
  });

  it('before start and after stop the coordinator is not available', async () => {
    bench.coordinator.stop();
    expect((await now(bench.coordinator.join('g', joinRequest()))).error).toBe(15);
    expect(await commit(-1, '')).toBe(15);
  });
});
