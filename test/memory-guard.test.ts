import { expect, it } from 'vitest';
import { silentLogger } from '../src/logger.ts';
import { MemoryGuard, usedMemory } from '../src/memory-guard.ts';
import { Metrics } from '../src/metrics.ts';
import { VirtualClock } from './support/virtual-env.ts';

/** A guard of a budget of 1,000 bytes over an edge with connections 0 to n-1, the newest last. */
function guarded(connections: number) {
  const clock = new VirtualClock();
  const metrics = new Metrics();
  const open = Array.from({ length: connections }, (_, i) => i);
  const memory = { used: 500 };
  const guard = new MemoryGuard({
    clock,
    metrics,
    logger: silentLogger,
    budgetBytes: 1_000,
    usedBytes: () => memory.used,
  });
  guard.add('mqtt', {
    get connectionCount() {
      return open.length;
    },
    shedNewest: (count) => void open.splice(-count),
  });
  guard.start();
  const at = async (used: number, seconds = 1) => {
    memory.used = used;
    await clock.advance(seconds * 1_000);
  };
  const value = (name: string) =>
    [...[...metrics.families()].find((family) => family.name === name)!.samples()].map((sample) => sample.value);
  return { guard, open, at, value };
}

it('takes connections up to the budget, none above it, and again when it is well below', async () => {
  const { guard, open, at, value } = guarded(100);
  const seen: boolean[] = [];
  for (const used of [1_000, 1_001, 950, 900, 899, 1_000]) {
    await at(used);
    seen.push(guard.overloaded());
  }
  expect(seen).toEqual([false, true, true, true, false, false]);
  expect(open.length).toBe(100);
  expect(value('headwater_memory_used_bytes')).toEqual([1_000]);
  expect(value('headwater_memory_overloaded')).toEqual([0]);
});

it('closes the newest, a sixteenth each second, only while it is well above the budget', async () => {
  const { open, at, value } = guarded(100);
  await at(1_100);
  expect(open.length).toBe(100);
  await at(1_101);
  expect([open.length, open.at(-1)]).toEqual([93, 92]);
  await at(1_200);
  expect([open.length, open.at(-1)]).toEqual([87, 86]);
  await at(1_050, 10);
  expect(open.length).toBe(87);
  expect(value('headwater_memory_shed_connections_total')).toEqual([13]);
});

it('keeps half of those it had, however long it lasts: the memory is not theirs', async () => {
  const { open, at } = guarded(101);
  await at(5_000, 100);
  expect(open).toEqual(Array.from({ length: 51 }, (_, i) => i));
});

it('counts nothing of files, and less than all that is resident', () => {
  expect(usedMemory()).toBeGreaterThan(1_000_000);
  expect(usedMemory()).toBeLessThanOrEqual(process.memoryUsage.rss() * 1.1);
});
