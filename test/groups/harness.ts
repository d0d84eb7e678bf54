/** A coordinator over the real metadata store on a disk in memory that forgets what was not synced. */
import { GroupCoordinator, type GroupSettings } from '../../src/groups/coordinator.ts';
import type { JoinResult, SyncResult } from '../../src/groups/group.ts';
import type { JoinRequest } from '../../src/groups/step-join.ts';
import type { Log, Topic, TopicEvent } from '../../src/log/types.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { META_DATABASE } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { GroupCommitMetaStore } from '../../src/store/meta-store.ts';
import { turns, VirtualClock, virtualEnv } from '../support/virtual-env.ts';

/** The topics that exist, as the coordinator asks for them. */
export class Topics {
  readonly byName = new Map<string, { id: string; partitions: number }>();
  readonly #listeners: ((event: TopicEvent) => void)[] = [];
  #next = 1;

  add(name: string, partitions: number): void {
    this.byName.set(name, { id: String(this.#next++).padStart(32, '0'), partitions });
  }

  delete(name: string): void {
    const topic = this.#view(name);
    this.byName.delete(name);
    if (topic !== undefined) for (const listener of this.#listeners) listener({ kind: 'deleted', topic });
  }

  #view(name: string): Topic | undefined {
    const topic = this.byName.get(name);
    if (topic === undefined) return undefined;
    return { name, id: topic.id, partitions: Array.from({ length: topic.partitions }, () => ({})) } as unknown as Topic;
  }

  asLog(): Log {
    this.#listeners.length = 0;
    return {
      topic: (name: string) => this.#view(name),
      onTopicEvent: (listener: (event: TopicEvent) => void) => this.#listeners.push(listener),
    } as unknown as Log;
  }
}

export class Bench {
  readonly clock: VirtualClock;
  readonly disk = new MemoryDisk();
  readonly topics = new Topics();
  readonly settings: Partial<GroupSettings>;
  trusted = true;
  /** From the next start on. */
  follows = false;
  /** Whether the disk has room for commits. */
  hasSpace = true;
  /** By how much the clock was early until it was stepped, ms. */
  early = 0;
  meta!: GroupCommitMetaStore;
  coordinator!: GroupCoordinator;
  #starts = 0;

  constructor(settings: Partial<GroupSettings> = {}, clock = new VirtualClock()) {
    this.clock = clock;
    this.settings = { initialRebalanceDelayMs: 0, ...settings };
    this.topics.add('t', 12);
    this.topics.add('u', 4);
  }

  async start(): Promise<this> {
    const store = this.disk.mount();
    const open = () => store.open(META_DATABASE, {});
    this.meta = new GroupCommitMetaStore(await open(), open);
    this.coordinator = new GroupCoordinator({
      meta: this.meta,
      log: this.topics.asLog(),
      env: virtualEnv(this.clock, ++this.#starts),
      metrics: new Metrics(),
      logger: silentLogger,
      trustedNow: () => (this.trusted ? this.clock.now() : null),
      writtenAt: (timestamp) => timestamp + this.early,
      mayCommit: () => this.hasSpace,
      follows: this.follows,
      settings: this.settings,
    });
    await this.coordinator.start();
    await turns();
    return this;
  }

  /** What a promotion and a fence do to groups: everything again from what is stored. */
  async restartAs(role: 'leader' | 'follower'): Promise<void> {
    this.follows = role === 'follower';
    await this.restart();
  }

  /** kill -9 and start again on the same disk. */
  async restart(): Promise<void> {
    this.coordinator.stop();
    this.disk.crash();
    await this.start();
  }

  state(groupId = 'g'): string {
    return this.coordinator.describe(groupId).state;
  }
}

const encoder = new TextEncoder();

/** ConsumerProtocolSubscription v0. */
export function subscription(...topics: string[]): Uint8Array {
  const names = topics.map((topic) => {
    const bytes = encoder.encode(topic);
    return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 0xff), bytes]);
  });
  const head = Buffer.alloc(6);
  head.writeInt32BE(topics.length, 2);
  return Buffer.concat([head, ...names, Buffer.of(0xff, 0xff, 0xff, 0xff)]);
}

export function joinRequest(changes: Partial<JoinRequest> = {}): JoinRequest {
  return {
    memberId: '',
    instanceId: null,
    clientId: 'client',
    clientHost: '127.0.0.1',
    sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 60_000,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: subscription('t') }],
    requireKnownMemberId: false,
    canSkipAssignment: false,
    ...changes,
  };
}

/** A result that may not be there yet. */
export interface Parked<T> {
  readonly promise: Promise<T>;
  result: T | null;
}

export function park<T>(promise: Promise<T>): Parked<T> {
  const parked: Parked<T> = { promise, result: null };
  void promise.then((result) => {
    parked.result = result;
  });
  return parked;
}

export async function now<T>(promise: Promise<T>): Promise<T> {
  const parked = park(promise);
  await turns();
  if (parked.result === null) throw new Error('the answer is not there yet');
  return parked.result;
}

export async function syncAs(
  bench: Bench,
  joined: JoinResult,
  assignments: readonly { memberId: string; assignment: Uint8Array }[] = [],
): Promise<Parked<SyncResult>> {
  const parked = park(
    bench.coordinator.sync('g', {
      generation: joined.generation,
      memberId: joined.memberId,
      instanceId: null,
      protocolType: null,
      protocolName: null,
      assignments,
    }),
  );
  await turns();
  return parked;
}

/** A group of `count` members with an assignment each, in Stable. */
export async function stableGroup(
  bench: Bench,
  count: number,
  changes: Partial<JoinRequest> = {},
): Promise<JoinResult[]> {
  let joined: JoinResult[] = [];
  for (let i = 0; i < count; i++) {
    const instance = changes.instanceId === undefined ? {} : { instanceId: `${changes.instanceId}-${i}` };
    const newcomer = park(bench.coordinator.join('g', joinRequest({ ...changes, ...instance })));
    await turns();
    const again = joined.map((member) =>
      park(
        bench.coordinator.join(
          'g',
          joinRequest({ ...changes, ...instanceOf(changes, joined, member), memberId: member.memberId }),
        ),
      ),
    );
    await turns();
    joined = [...again, newcomer].map(({ result }) => result!);
    const leader = joined.find((member) => member.leader === member.memberId)!;
    const plan = joined.map(({ memberId }, at) => ({ memberId, assignment: Uint8Array.of(at) }));
    for (const member of joined) {
      if (member !== leader) void (await syncAs(bench, member));
    }
    await syncAs(bench, leader, plan);
  }
  return joined;
}

function instanceOf(changes: Partial<JoinRequest>, joined: readonly JoinResult[], member: JoinResult) {
  return changes.instanceId === undefined ? {} : { instanceId: `${changes.instanceId}-${joined.indexOf(member)}` };
}
