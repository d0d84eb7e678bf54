import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../src/links/backoff.ts';
import { ByteBudget } from '../../src/links/byte-budget.ts';
import { classifyError } from '../../src/links/error-class.ts';
import { sequenceDistance } from '../../src/links/evidence.ts';
import { Lanes } from '../../src/links/lanes.ts';
import { mayMove, PARTITION_TRANSITIONS, type PartitionState } from '../../src/links/partition-states.ts';
import { LinkBudget, windowMatcher } from '../../src/links/policy.ts';
import { RateMeter, TokenBucket } from '../../src/links/rate.ts';
import { hashedPartition, topicSelector, upstreamTopicName } from '../../src/links/topic-selection.ts';
import type { MetaStore } from '../../src/store/meta.ts';
import { addToSequence } from '../../src/wire/batch/record-batch.ts';
import { VirtualClock } from '../support/virtual-env.ts';
import { Edge } from './harness.ts';

describe('back-off', () => {
  it('doubles up to its maximum, with jitter of a half', () => {
    expect([0, 1, 2, 9].map((attempt) => backoffMs(attempt, 100, 5_000, 0.999))).toEqual([100, 200, 400, 4998]);
    expect(backoffMs(0, 100, 5_000, 0)).toBe(50);
    expect(backoffMs(1_000, 100, 5_000, 1)).toBe(5_000);
  });
});

describe('error classes', () => {
  it('sort what Kafka says by what helps', () => {
    expect([6, 7, 45, 10, 29, -1, 87].map(classifyError)).toEqual([
      'refresh',
      'retry',
      'locate',
      'too-large',
      'blocked',
      'retry',
      'blocked',
    ]);
  });
});

describe('the distance of sequences', () => {
  it('is what was added, also over the wrap', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 31 - 1 }), fc.integer({ min: -(2 ** 29), max: 2 ** 29 }), (from, count) => {
        expect(sequenceDistance(addToSequence(from, count), from)).toBe(count);
      }),
    );
  });
});

describe('partition states', () => {
  it('every state can be stopped, none leaves stopped, and all but idle can be reached again', () => {
    const states = Object.keys(PARTITION_TRANSITIONS) as PartitionState[];
    for (const state of states) {
      expect(mayMove('stopped', state)).toBe(false);
      if (state !== 'stopped') expect(mayMove(state, 'stopped')).toBe(true);
      const reached = new Set<PartitionState>();
      const visit = (from: PartitionState): void => {
        for (const to of PARTITION_TRANSITIONS[from]) if (!reached.has(to)) visit(reached.add(to) && to);
      };
      visit(state);
      const wanted = state === 'stopped' ? [] : states.filter((other) => other !== 'idle');
      expect([...reached].sort()).toEqual(wanted.sort());
    }
  });
});

describe('topics', () => {
  it('are chosen by name and glob, and excluded', () => {
    const selects = topicSelector(['plant-*', 'alarms', '!plant-secret*', 'a?c']);
    const names = ['plant-1', 'alarms', 'plant-secret-1', 'abc', 'abbc', 'alarms2', 'plant.1'];
    expect(names.filter(selects)).toEqual(['plant-1', 'alarms', 'abc']);
    expect(topicSelector(['!x'])('y')).toBe(true);
    expect(topicSelector(['a.b'])('axb')).toBe(false);
  });

  it('get names that Kafka allows, or an error that says which', () => {
    expect(upstreamTopicName('{broker}.{topic}', 'edge-1', 't')).toBe('edge-1.t');
    expect(upstreamTopicName('all', 'edge-1', 't')).toBe('all');
    expect(() => upstreamTopicName('{broker} {topic}', 'e', 't')).toThrow('"e t"');
    expect(() => upstreamTopicName('{brooker}', 'e', 't')).toThrow(
      '{brooker} is not known; known are {broker}, {topic}',
    );
  });

  it('spread by hash, always to the same partition', () => {
    const of = (broker: string) => hashedPartition(broker, 't', 0, 12);
    expect(of('edge-1')).toBe(of('edge-1'));
    expect(new Set(Array.from({ length: 50 }, (_, index) => of(`edge-${index}`))).size).toBeGreaterThan(6);
  });
});

describe('the token bucket', () => {
  it('gives its rate over any stretch of time, whatever the sizes', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 50, maxLength: 200 }), (sizes) => {
        const bucket = new TokenBucket(10_000, 2_500, 0);
        let now = 0;
        let sent = 0;
        for (const size of sizes) {
          now += bucket.waitMs(now);
          bucket.take(size, now);
          sent += size;
        }
        expect(sent).toBeLessThanOrEqual(2_500 + 5_000 + (now * 10_000) / 1000 + 10);
      }),
    );
  });

  it('without a rate never waits', () => {
    const bucket = new TokenBucket(0, 0, 0);
    bucket.take(1e9, 0);
    expect(bucket.waitMs(0)).toBe(0);
  });
});

describe('the rate meter', () => {
  it('comes to the rate that is fed and fades when nothing comes', () => {
    const meter = new RateMeter(0);
    let now = 0;
    for (; now < 60_000; now += 100) meter.add(50, now);
    expect(meter.perSecond(now)).toBeGreaterThan(480);
    expect(meter.perSecond(now)).toBeLessThan(520);
    expect(meter.perSecond(now + 60_000)).toBeLessThan(1);
  });
});

describe('lanes', () => {
  const run = (members: { priority: number; live: boolean }[], share: number, rounds: number) => {
    const lanes = new Lanes<(typeof members)[number]>(share);
    const bytes = new Map(members.map((member) => [member, 0]));
    for (const member of members) lanes.add(member);
    for (let round = 0; round < rounds; round++) {
      const contended = lanes.contended;
      const member = lanes.take(() => true)!;
      lanes.sent(member, 1_000, contended);
      bytes.set(member, bytes.get(member)! + 1);
      lanes.add(member);
    }
    return members.map((member) => bytes.get(member)! / rounds);
  };

  it('share between live and backfill as configured, and in turn inside a lane', () => {
    const [live, backfillA, backfillB] = run(
      [
        { priority: 4, live: true },
        { priority: 4, live: false },
        { priority: 4, live: false },
      ],
      0.7,
      10_000,
    );
    expect(live).toBeCloseTo(0.7, 2);
    expect(backfillA).toBeCloseTo(0.15, 2);
    expect(backfillB).toBeCloseTo(0.15, 2);
  });

  it('serve the higher priority first, live or not', () => {
    expect(
      run(
        [
          { priority: 4, live: true },
          { priority: 9, live: false },
        ],
        0.5,
        100,
      ),
    ).toEqual([0, 1]);
  });
});

describe('the memory budget', () => {
  it('holds its limit, keeps a part for live work, and wakes the most important first', () => {
    const budget = new ByteBudget(1_000);
    expect(budget.take(700, false)).toBe(true);
    expect(budget.take(100, false)).toBe(false);
    expect(budget.take(300, true)).toBe(true);
    expect(budget.take(1, true)).toBe(false);
    const order: string[] = [];
    budget.whenFree(false, 4, () => order.push('backfill'));
    budget.whenFree(true, 4, () => order.push('live'));
    budget.whenFree(false, 9, () => order.push('alarm'));
    budget.give(1_000);
    expect(order).toEqual(['alarm', 'live', 'backfill']);
    expect(budget.used).toBe(0);
    expect(budget.take(5_000, false)).toBe(true);
  });
});

describe('windows and budgets', () => {
  it('a window is the minutes that a cron expression matches', async () => {
    const matches = await windowMatcher(['* 2-3 * * *', '30 12 * * 0']);
    const at = (day: number, hour: number, minute: number) => new Date(2026, 2, day, hour, minute, 42).getTime();
    expect([at(2, 1, 59), at(2, 2, 0), at(2, 3, 59), at(2, 4, 0)].map(matches!)).toEqual([false, true, true, false]);
    // 2026-03-01 is a Sunday.
    expect([at(1, 12, 30), at(1, 12, 31), at(2, 12, 30)].map(matches!)).toEqual([true, false, false]);
    expect(await windowMatcher([])).toBeNull();
    await expect(windowMatcher(['every day'])).rejects.toThrow('"every day"');
  });

  it('bytes of a day and a month are kept over a restart and begin again with the next', async () => {
    const edge = new Edge({ 'bootstrap.servers': ['127.0.0.1:1'] });
    await edge.start();
    const clock = new VirtualClock(new Date(2026, 2, 30, 12).getTime());
    const budget = new LinkBudget(edge.meta!, 'x', clock);
    budget.spend(900);
    expect(budget.allows(1_000, 0)).toBe(true);
    budget.spend(100);
    expect(budget.allows(1_000, 0)).toBe(false);
    await budget.flush();
    const again = new LinkBudget(edge.meta!, 'x', clock);
    await again.load();
    expect(again.allows(1_000, 0)).toBe(false);
    clock.setWall(new Date(2026, 2, 31, 12).getTime());
    expect([again.allows(1_000, 0), again.allows(0, 1_000)]).toEqual([true, false]);
    clock.setWall(new Date(2026, 3, 1, 12).getTime());
    expect(again.allows(0, 1_000)).toBe(true);
    await edge.stop();
  });

  it('stores at the next flush what a failed write did not', async () => {
    const clock = new VirtualClock(0);
    const written: unknown[] = [];
    let fails = true;
    const meta: MetaStore = {
      get: async () => undefined,
      async *entries() {},
      write: async (operations) => {
        if (fails) throw new Error('disk full');
        written.push(...operations);
      },
      close: async () => {},
    };
    const budget = new LinkBudget(meta, 'x', clock);
    budget.spend(100);
    await expect(budget.flush()).rejects.toThrow('disk full');
    fails = false;
    await budget.flush();
    expect(written).toHaveLength(1);
    // A budget with a limit does not wait for the stop: a power cut must not give it back.
    budget.allows(1_000_000, 0);
    budget.spend(300_000);
    expect(written).toHaveLength(2);
  });
});
