import { describe, expect, it } from 'vitest';
import { COMMIT_MAX_BYTES } from '../../src/limits.ts';
import { COMMIT_COST_BYTES, COST_PER_STORED_BYTE, CommitPace } from '../../src/log/commit-pace.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { append, openOnDisk, TestClock, topicSpec } from './records.ts';

const SECOND = 1_000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Commits of `bytes` each, as often as the pace lets them and not more often than every `everyMs`, for `forMs`. */
function load(pace: CommitPace, from: number, forMs: number, everyMs: number, bytes: number) {
  const spent = pace.spentBytes;
  let commits = 0;
  let longest = 0;
  let now = from;
  while (now < from + forMs) {
    const wait = pace.waitMs(now, bytes);
    longest = Math.max(longest, wait);
    now += wait;
    pace.committed(now, bytes);
    commits++;
    now += everyMs;
  }
  return { commits, longest, spent: pace.spentBytes - spent, now };
}

describe('the pace of commits', () => {
  it('is the disk itself without flush.ms and without a budget', () => {
    const pace = new CommitPace({ leastMs: 0, bytesPerDay: 0, mostMs: SECOND });
    for (let i = 0; i < 100; i++) {
      expect(pace.waitMs(i, 1)).toBe(0);
      pace.committed(i, 1_000);
    }
    expect(pace.spentBytes).toBe(100 * (COMMIT_COST_BYTES + 1_000 * COST_PER_STORED_BYTE));
  });

  it('keeps flush.ms between two commits, except for a full one', () => {
    const pace = new CommitPace({ leastMs: 200, bytesPerDay: 0, mostMs: SECOND });
    expect(pace.waitMs(5, 1)).toBe(0);
    pace.committed(10, 1);
    expect(pace.waitMs(10, 1)).toBe(200);
    expect(pace.waitMs(150, 1)).toBe(60);
    expect(pace.waitMs(150, COMMIT_MAX_BYTES)).toBe(0);
    expect(pace.waitMs(210, 1)).toBe(0);
  });

  it('lets what a quiet hour left pass at full speed, then spends no more than the budget', () => {
    const bytesPerDay = 24 * 1024 ** 3;
    const pace = new CommitPace({ leastMs: 0, bytesPerDay, mostMs: 60 * SECOND });
    expect(load(pace, 0, 60 * SECOND, 10, 500).longest).toBeGreaterThan(0);
    const burst = load(pace, 2 * HOUR, 60 * SECOND, 10, 500);
    expect(burst.longest).toBe(0);
    const day = load(pace, burst.now, DAY, 10, 500);
    expect(day.longest).toBeGreaterThan(0);
    expect(day.spent).toBeGreaterThan(bytesPerDay * 0.98);
    expect(day.spent).toBeLessThan(bytesPerDay * (1 + 1 / 24) * 1.01);
  });

  it('never holds a commit back for longer than it may, however much is overdrawn, and forgets old debts', () => {
    const pace = new CommitPace({ leastMs: 0, bytesPerDay: 1024 ** 2, mostMs: SECOND });
    const { longest, now, commits } = load(pace, 0, HOUR, 10, 5_000);
    expect(longest).toBeLessThanOrEqual(SECOND);
    expect(commits).toBeGreaterThanOrEqual(HOUR / SECOND);
    expect(pace.waitMs(now + 2 * HOUR, 1)).toBe(0);
  });

  it('at 49 KB/s of telemetry spares most of what commits of 100 ms would cost', () => {
    const often = new CommitPace({ leastMs: 0, bytesPerDay: 0, mostMs: SECOND });
    const spared = new CommitPace({ leastMs: 0, bytesPerDay: 8 * 1024 ** 3, mostMs: SECOND });
    // What gathers in 100 ms against what gathers in a second.
    const before = load(often, 0, DAY, 100, 4_900).spent;
    const after = load(spared, 0, DAY, 0, 49_000).spent;
    expect(after / before).toBeLessThan(0.5);
  });
});

describe('the append queue', () => {
  async function opened(options: object) {
    const disk = new MemoryDisk();
    const clock = new TestClock();
    const log = await openOnDisk(disk, options, clock);
    const partition = (await log.createTopic(topicSpec('t', 1))).partitions[0]!;
    await append(partition, 'opens the slice');
    disk.arm();
    return { disk, clock, log, partition };
  }
  const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

  it('gathers for flush.ms what comes, and stores it in one write', async () => {
    const { disk, clock, log, partition } = await opened({ flushMs: 500 });
    const done: number[] = [];
    for (const value of ['a', 'b', 'c']) void append(partition, value).then((offset) => done.push(offset));
    await settled();
    clock.advance(499);
    await settled();
    expect([disk.counts.write, done.length]).toEqual([0, 0]);
    clock.advance(1);
    await settled();
    expect([disk.counts.write, done]).toEqual([1, [1, 2, 3]]);
    await log.close();
  });

  it('does not wait when a full commit waits, nor when it is closed', async () => {
    const { disk, clock, log, partition } = await opened({ flushMs: 60_000, wearBytesPerDay: 1, wearMaxMs: 60_000 });
    const half = 'x'.repeat(COMMIT_MAX_BYTES / 2);
    const large = [append(partition, half), append(partition, half), append(partition, half)];
    await settled();
    // All of it is due as soon as it is enough; the rest of it waits its time again.
    expect(disk.counts.write).toBeGreaterThanOrEqual(1);
    clock.advance(60_000);
    await Promise.all(large);
    const last = append(partition, 'last');
    await settled();
    await log.close();
    expect(await last).toBe(4);
  });
});
