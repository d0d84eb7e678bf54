/**
 * Members that join, leave and die at random while the broker is killed now and then, on a virtual clock. Watched from
 * outside: one plan per generation, no partition with two owners in one generation, no member id in two places, commits
 * never lost, and the group at rest in the end. The failing seed is in the test's name.
 */
import { describe, expect, it } from 'vitest';
import type { JoinResult } from '../../src/groups/group.ts';
import { seededRandom, turns } from '../support/virtual-env.ts';
import { Bench, joinRequest } from './harness.ts';

const PARTITIONS = 12;

interface Watch {
  /** generation -> partition -> member id */
  readonly owners: Map<number, Map<number, string>>;
  readonly committed: Map<number, number>;
  readonly holders: Map<string, Client>;
  readonly failures: string[];
}

/** What a consumer does: join, sync, heartbeat, commit, and join again whenever it is told to. */
class Client {
  readonly #bench: Bench;
  readonly #watch: Watch;
  readonly #instanceId: string | null;
  #memberId = '';
  #generation = -1;
  #alive = true;
  assigned: number[] = [];
  settled = false;

  constructor(bench: Bench, watch: Watch, instanceId: string | null) {
    this.#bench = bench;
    this.#watch = watch;
    this.#instanceId = instanceId;
  }

  die(): void {
    this.#alive = false;
    this.assigned = [];
  }

  async leave(): Promise<void> {
    const member = { memberId: this.#memberId, instanceId: this.#instanceId };
    this.die();
    if (this.#memberId !== '') await this.#bench.coordinator.leave('g', [member]);
  }

  async run(): Promise<void> {
    while (this.#alive) {
      this.settled = false;
      const joined = await this.#join();
      if (joined === null) continue;
      if (!(await this.#sync(joined))) continue;
      await this.#work();
      this.assigned = [];
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#bench.clock.after(ms, resolve));
  }

  async #join(): Promise<JoinResult | null> {
    const request = joinRequest({
      memberId: this.#memberId,
      instanceId: this.#instanceId,
      requireKnownMemberId: this.#instanceId === null,
      canSkipAssignment: true,
      sessionTimeoutMs: 6_000,
      rebalanceTimeoutMs: 8_000,
    });
    // A broker that is killed answers nobody: the client gives up and asks again.
    const coordinator = this.#bench.coordinator;
    const joined = await Promise.race([coordinator.join('g', request), this.#pause(20_000).then(() => null)]);
    if (!this.#alive || joined === null || coordinator !== this.#bench.coordinator) return null;
    if (joined.error === 79) this.#take(joined.memberId);
    else if (joined.error !== 0) {
      if (joined.error === 25 || joined.error === 82) this.#drop();
      await this.#pause(100);
    }
    if (joined.error !== 0) return null;
    this.#take(joined.memberId);
    this.#generation = joined.generation;
    return joined;
  }

  #take(memberId: string): void {
    const holder = this.#watch.holders.get(memberId);
    if (holder !== undefined && holder !== this) this.#watch.failures.push(`${memberId} was given to two members`);
    this.#watch.holders.set(memberId, this);
    this.#memberId = memberId;
  }

  #drop(): void {
    this.#memberId = '';
    this.assigned = [];
  }

  async #sync(joined: JoinResult): Promise<boolean> {
    const leads = joined.leader === joined.memberId && !joined.skipAssignment;
    const plan = leads
      ? joined.members.map(({ memberId }, i) => ({
          memberId,
          assignment: Uint8Array.from(
            Array.from({ length: PARTITIONS }, (_, p) => p).filter((p) => p % joined.members.length === i),
          ),
        }))
      : [];
    const coordinator = this.#bench.coordinator;
    const synced = await Promise.race([
      coordinator.sync('g', {
        generation: joined.generation,
        memberId: joined.memberId,
        instanceId: this.#instanceId,
        protocolType: 'consumer',
        protocolName: joined.protocolName,
        assignments: plan,
      }),
      this.#pause(20_000).then(() => null),
    ]);
    if (!this.#alive || synced === null || coordinator !== this.#bench.coordinator) return false;
    if (synced.error !== 0) {
      if (synced.error === 25 || synced.error === 82) this.#drop();
      await this.#pause(50);
      return false;
    }
    this.assigned = [...synced.assignment];
    const owners = this.#watch.owners.get(joined.generation) ?? new Map<number, string>();
    this.#watch.owners.set(joined.generation, owners);
    // A static member that came back takes over from itself.
    const me = this.#instanceId ?? joined.memberId;
    for (const partition of this.assigned) {
      const owner = owners.get(partition);
      if (owner !== undefined && owner !== me) {
        this.#watch.failures.push(`generation ${joined.generation}: ${partition} belongs to ${owner} and ${me}`);
      }
      owners.set(partition, me);
    }
    return true;
  }

  async #work(): Promise<void> {
    for (;;) {
      this.settled = true;
      await this.#pause(1_000);
      if (!this.#alive) return;
      const member = { generation: this.#generation, memberId: this.#memberId, instanceId: this.#instanceId };
      const error = await Promise.race([
        this.#bench.coordinator.heartbeat('g', member),
        this.#pause(3_000).then(() => 15),
      ]);
      if (!this.#alive) return;
      if (error === 25 || error === 82) this.#drop();
      if (error === 15) continue;
      if (error !== 0) return;
      await this.#commit(member);
    }
  }

  async #commit(member: { generation: number; memberId: string; instanceId: string | null }): Promise<void> {
    const { committed } = this.#watch;
    const offsets = this.assigned.map((partition) => ({
      topic: 't',
      partition,
      offset: (committed.get(partition) ?? 0) + 1,
      leaderEpoch: -1,
      metadata: '',
    }));
    const answer = await Promise.race([
      this.#bench.coordinator.offsets.commit('g', { ...member, apiVersion: 8, retentionMs: -1, offsets }),
      this.#pause(3_000).then(() => null),
    ]);
    answer?.forEach((error, i) => {
      const { partition, offset } = offsets[i]!;
      if (error === 0) committed.set(partition, Math.max(offset, committed.get(partition) ?? 0));
    });
  }
}

async function churn(seed: number, killBroker: boolean): Promise<void> {
  const random = seededRandom(seed);
  const pick = (below: number) => Math.floor(random.unit() * below);
  const bench = await new Bench({ initialRebalanceDelayMs: pick(2) * 500 }).start();
  const watch: Watch = { owners: new Map(), committed: new Map(), holders: new Map(), failures: [] };
  const clients: Client[] = [];
  let instances = 0;
  const add = () => {
    const client = new Client(bench, watch, pick(3) === 0 ? `static-${instances++}` : null);
    clients.push(client);
    void client.run();
  };
  for (let i = 0; i < 3; i++) add();
  for (let second = 0; second < 60; second++) {
    await bench.clock.advance(pick(2_000));
    const what = pick(10);
    const victim = clients[pick(clients.length)];
    if (what < 3 && clients.length < 6) add();
    else if (what === 3 && victim !== undefined) {
      clients.splice(clients.indexOf(victim), 1);
      void victim.leave();
    } else if (what === 4 && victim !== undefined) {
      clients.splice(clients.indexOf(victim), 1);
      victim.die();
    } else if (what === 5 && killBroker) {
      await bench.restart();
    }
    for (const [partition, offset] of watch.committed) {
      const [stored] = bench.coordinator.offsets.fetch('g', 't', [partition], false);
      if (stored!.offset < offset) watch.failures.push(`commit ${offset} of ${partition} is lost: ${stored!.offset}`);
    }
  }
  if (clients.length === 0) add();
  for (let second = 0; second < 120; second++) await bench.clock.advance(1_000);
  await turns();
  expect(watch.failures).toEqual([]);
  expect(watch.owners.size).toBeGreaterThan(3);
  expect(bench.state()).toBe('Stable');
  expect(clients.every(({ settled }) => settled)).toBe(true);
  const owned = clients.flatMap(({ assigned }) => assigned).sort((a, b) => a - b);
  expect(owned).toEqual(Array.from({ length: PARTITIONS }, (_, p) => p));
  bench.coordinator.stop();
}

describe('a minute of churn over 12 partitions', () => {
  for (let seed = 1; seed <= 12; seed++)
    it(`keeps one owner per partition and generation (seed ${seed})`, () => churn(seed, false));
  for (let seed = 101; seed <= 112; seed++) {
    it(`the same with the broker killed now and then (seed ${seed})`, () => churn(seed, true));
  }
});
