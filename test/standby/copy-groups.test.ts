/** A pair as far as groups go: two coordinators on one virtual clock, and passes of the copy between them. */
import { beforeEach, describe, expect, it } from 'vitest';
import { CopyGroups } from '../../src/standby/copy-groups.ts';
import { Bench, joinRequest, now, park, stableGroup } from '../groups/harness.ts';
import { turns, VirtualClock } from '../support/virtual-env.ts';

const DAY = 86_400_000;
const MINUTE = 60_000;
const SIMPLE = { generation: -1, memberId: '', instanceId: null, apiVersion: 8, retentionMs: -1 };
const LEADER_ID = 1;

let clock: VirtualClock;
let leader: Bench;
let follower: Bench;
let copy: CopyGroups;
let leads: boolean;
let selects: (topic: string) => boolean;

const entry = (partition: number, offset: number, topic = 't') => {
  return { topic, partition, offset, leaderEpoch: -1, metadata: '' };
};

const offsetsOf = ({ coordinator }: Bench, id: string) =>
  coordinator.offsets
    .committed(id, false)
    .flatMap(({ topic, partitions }) => partitions.map((one) => ({ topic, ...one })));

/** `topic-partition: offset` of everything, by group. */
const held = (bench: Bench) =>
  Object.fromEntries(
    bench.coordinator
      .list()
      .map(({ groupId }) => [
        groupId,
        offsetsOf(bench, groupId).map(({ topic, partition, offset }) => `${topic}-${partition}: ${offset}`),
      ]),
  );

const commit = (bench: Bench, groupId: string, ...offsets: ReturnType<typeof entry>[]) =>
  now(bench.coordinator.offsets.commit(groupId, { ...SIMPLE, offsets }));

/** What the follower asks, answered by the leader as its Kafka listener would. */
const admin = {
  groups: async (id?: number) => {
    expect(id).toBe(LEADER_ID);
    if (!leads) return [];
    return leader.coordinator.list().map(({ groupId, ...rest }) => ({ id: groupId, ...rest }));
  },
  groupOffsets: async (id: string) => offsetsOf(leader, id),
};

async function pass(): Promise<void> {
  let outcome: unknown = 'under way';
  const stillLeads = async () => {
    if (!leads) throw new Error('it does not lead');
  };
  copy.run(admin, LEADER_ID, stillLeads).then(
    () => {
      outcome = null;
    },
    (error: unknown) => {
      outcome = error;
    },
  );
  for (let i = 0; i < 100 && outcome === 'under way'; i++) await turns();
  if (outcome !== null) throw outcome;
}

async function restartAs(bench: Bench, role: 'leader' | 'follower'): Promise<void> {
  await bench.restartAs(role);
  copy = new CopyGroups(follower.coordinator, selects);
}

/** The leader's one member goes on for `ms`; the follower looks all the while. */
async function live(ms: number, member?: { generation: number; memberId: string }): Promise<void> {
  for (let left = ms; left > 0; left -= 29 * MINUTE) {
    await clock.advance(Math.min(left, 29 * MINUTE));
    if (member !== undefined) {
      const { generation, memberId } = member;
      expect(await now(leader.coordinator.heartbeat('g', { generation, memberId, instanceId: null }))).toBe(0);
    }
    await pass();
  }
}

beforeEach(async () => {
  clock = new VirtualClock();
  leads = true;
  selects = () => true;
  leader = await new Bench({ retentionCheckMs: 10 * MINUTE }, clock).start();
  follower = new Bench({ retentionCheckMs: 10 * MINUTE }, clock);
  follower.follows = true;
  await follower.start();
  copy = new CopyGroups(follower.coordinator, selects);
});

describe('a follower', () => {
  it('keeps what a member of the leader keeps, however long ago it was committed (KIP-211)', async () => {
    const [member] = await stableGroup(leader, 1, { sessionTimeoutMs: 30 * MINUTE });
    const { generation, memberId } = member!;
    const offsets = [entry(0, 4)];
    await now(leader.coordinator.offsets.commit('g', { ...SIMPLE, generation, memberId, offsets }));
    await live(9 * DAY, member);
    expect(held(leader)).toEqual({ g: ['t-0: 4'] });
    expect(held(follower)).toEqual({ g: ['t-0: 4'] });
    // Promoted, it keeps it for as long as an empty group may be away, and no longer.
    await restartAs(follower, 'leader');
    await clock.advance(7 * DAY);
    expect(held(follower)).toEqual({ g: ['t-0: 4'] });
    await clock.advance(40 * MINUTE);
    expect(held(follower)).toEqual({});
  });

  it('forgets what the leader forgets', async () => {
    await commit(leader, 'g', entry(0, 4));
    await live(6 * DAY);
    await commit(leader, 'h', entry(0, 5));
    await live(2 * DAY);
    expect(held(leader)).toEqual({ h: ['t-0: 5'] });
    expect(held(follower)).toEqual({ h: ['t-0: 5'] });
    await restartAs(follower, 'follower');
    expect(held(follower)).toEqual({ h: ['t-0: 5'] });
  });

  it('loses what is deleted at the leader: offsets, and groups, also while it was away', async () => {
    await commit(leader, 'g', entry(0, 4), entry(1, 5));
    for (const id of ['h', 'i']) await commit(leader, id, entry(0, 6));
    await pass();
    expect(held(follower)).toEqual(held(leader));
    await now(leader.coordinator.offsets.delete('g', [{ topic: 't', partition: 0 }]));
    await now(leader.coordinator.deleteGroup('h'));
    await pass();
    expect(held(follower)).toEqual({ g: ['t-1: 5'], i: ['t-0: 6'] });
    await now(leader.coordinator.deleteGroup('i'));
    await restartAs(follower, 'follower');
    await pass();
    expect(held(follower)).toEqual({ g: ['t-1: 5'] });
    // And has again what is committed anew.
    await commit(leader, 'g', entry(0, 4));
    await pass();
    expect(held(follower)).toEqual({ g: ['t-1: 5', 't-0: 4'] });
  });

  it('has the offset of a topic made anew, also where it is what it was before', async () => {
    await commit(leader, 'g', entry(0, 4));
    await pass();
    for (const { topics } of [leader, follower]) {
      topics.delete('t');
      topics.add('t', 12);
    }
    await turns();
    await commit(leader, 'g', entry(0, 4));
    await pass();
    expect(held(follower)).toEqual({ g: ['t-0: 4'] });
  });

  it('takes an empty list of groups only from a broker that leads', async () => {
    await commit(leader, 'g', entry(0, 4));
    await pass();
    leads = false;
    await expect(pass()).rejects.toThrow('it does not lead');
    expect(held(follower)).toEqual({ g: ['t-0: 4'] });
  });

  it('leaves offsets of topics alone that are not selected', async () => {
    await restartAs(follower, 'leader');
    await commit(follower, 'own', entry(0, 1, 'u'), entry(0, 1));
    selects = (topic) => topic === 't';
    await restartAs(follower, 'follower');
    await commit(leader, 'g', entry(0, 4), entry(0, 5, 'u'));
    await pass();
    expect(held(follower)).toEqual({ g: ['t-0: 4'], own: ['u-0: 1'] });
  });

  it('writes nothing when nothing changed', async () => {
    await commit(leader, 'g', entry(0, 4));
    await pass();
    let writes = 0;
    const { meta } = follower;
    const write = meta.write.bind(meta);
    meta.write = (operations) => {
      writes++;
      return write(operations);
    };
    await live(DAY / 2);
    expect(writes).toBe(0);
    await commit(leader, 'g', entry(0, 5));
    await pass();
    expect(writes).toBe(1);
  });
});

describe('a broker that led before', () => {
  it('counts nothing of its earlier lead to the age of an offset when it leads again', async () => {
    await restartAs(follower, 'leader');
    await commit(follower, 'g', entry(0, 4));
    await now(follower.coordinator.offsets.commit('h', { ...SIMPLE, retentionMs: DAY, offsets: [entry(0, 4)] }));
    await clock.advance(MINUTE);
    await restartAs(follower, 'follower');
    for (const id of ['g', 'h']) await commit(leader, id, entry(0, 4));
    // Consumers commit to the leader; here it is the same value all the time.
    for (let day = 0; day < 10; day++) {
      await live(DAY);
      for (const id of ['g', 'h']) await commit(leader, id, entry(0, 4));
    }
    expect(held(follower)).toEqual({ g: ['t-0: 4'], h: ['t-0: 4'] });
    await restartAs(follower, 'leader');
    await clock.advance(7 * DAY);
    expect(held(follower)).toEqual({ g: ['t-0: 4'], h: ['t-0: 4'] });
    await clock.advance(40 * MINUTE);
    expect(held(follower)).toEqual({});
  });

  it('has no members as a follower: offsets come at once, and a rebalance waits for nobody when it leads again', async () => {
    await restartAs(follower, 'leader');
    const [, old] = await stableGroup(follower, 2, { sessionTimeoutMs: 30 * MINUTE });
    const { generation, memberId } = old!;
    const offsets = [entry(0, 4)];
    await now(follower.coordinator.offsets.commit('g', { ...SIMPLE, generation, memberId, offsets }));
    await restartAs(follower, 'follower');
    await commit(leader, 'g', entry(0, 9));
    await pass();
    expect(held(follower)).toEqual({ g: ['t-0: 9'] });
    expect(follower.coordinator.describe('g')).toMatchObject({ state: 'Empty', members: [] });
    await restartAs(follower, 'leader');
    expect(follower.coordinator.describe('g')).toMatchObject({ state: 'Empty', members: [] });
    const joined = park(follower.coordinator.join('g', joinRequest()));
    await turns();
    expect(joined.result).toMatchObject({ error: 0, generation: generation + 1 });
  });

  it('keeps the offsets of a group that its members left for as long after the promotion as any other', async () => {
    await restartAs(follower, 'leader');
    const [member] = await stableGroup(follower, 1);
    const { generation, memberId } = member!;
    const offsets = [entry(0, 4)];
    await now(follower.coordinator.offsets.commit('g', { ...SIMPLE, generation, memberId, offsets }));
    await now(follower.coordinator.leave('g', [{ memberId, instanceId: null }]));
    await restartAs(follower, 'follower');
    await commit(leader, 'g', entry(0, 4));
    await live(6 * DAY);
    await restartAs(follower, 'leader');
    await clock.advance(7 * DAY);
    expect(held(follower)).toEqual({ g: ['t-0: 4'] });
    await clock.advance(40 * MINUTE);
    expect(held(follower)).toEqual({});
  });

  it('holds nothing back for transactions that the promotion of the other aborted', async () => {
    await restartAs(follower, 'leader');
    await commit(follower, 'g', entry(0, 1));
    await now(follower.coordinator.offsets.commitPending('g', 7, SIMPLE, [entry(0, 2)]));
    await restartAs(follower, 'follower');
    expect(follower.coordinator.offsets.fetch('g', 't', [0], true)).toMatchObject([{ error: 0, offset: 1 }]);
    await restartAs(follower, 'leader');
    await now(follower.coordinator.offsets.endTransaction('g', 7, true).then(() => true));
    expect(held(follower)).toEqual({ g: ['t-0: 1'] });
  });
});
