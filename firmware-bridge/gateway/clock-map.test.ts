import { describe, expect, it } from 'vitest';
import { ClockMap } from './clock-map.ts';

/** A day of a device whose clock is `ppm` fast and wanders by `wander` ppm with the temperature, one tick a millisecond. */
class Crystal {
  readonly #ppm: number;
  readonly #wander: number;

  constructor(ppm: number, wander: number) {
    this.#ppm = ppm;
    this.#wander = wander;
  }

  /** Ticks after `ms` of true time: the integral of 1 + ppm + wander * sin(one turn a day). */
  ticks(ms: number): number {
    const turn = (2 * Math.PI) / 86_400_000;
    const wandered = (this.#wander / 1e6) * ((1 - Math.cos(ms * turn)) / turn);
    return Math.floor(1000 + ms + (ms * this.#ppm) / 1e6 + wandered);
  }
}

const DAY = 86_400_000;

/** Pings every 10 s while `isPlugged`; returns the largest error of the readings of the whole day, each mapped when it arrives. */
function largestError(crystal: Crystal, isPlugged: (ms: number) => boolean): number {
  const map = new ClockMap(1);
  let random = 12345;
  const next = (): number => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return random / 2 ** 32;
  };
  let worst = 0;
  let waiting: { ticks: number; at: number }[] = [];
  for (let ms = 0; ms <= DAY; ms += 10_000) {
    waiting.push({ ticks: crystal.ticks(ms), at: ms });
    if (!isPlugged(ms)) continue;
    const there = 1 + 30 * next();
    const back = 1 + 30 * next();
    map.add({ ticks: crystal.ticks(ms + there), at: ms + (there + back) / 2, roundTrip: there + back });
    for (const reading of waiting) worst = Math.max(worst, Math.abs(map.at(reading.ticks)! - reading.at));
    waiting = [];
  }
  return worst;
}

describe('ClockMap', () => {
  it.each([50, -50])('a clock that is %i ppm off is right within 100 ms over a day', (ppm) => {
    expect(largestError(new Crystal(ppm, 0), () => true)).toBeLessThan(100);
  });

  it('so is one that wanders with the temperature', () => {
    expect(largestError(new Crystal(50, 5), () => true)).toBeLessThan(100);
  });

  it('readings gathered while the cable was out for half the day are, too', () => {
    const pulled = (ms: number): boolean => ms < DAY / 4 || ms > (DAY * 3) / 4;
    expect(largestError(new Crystal(50, 0), pulled)).toBeLessThan(100);
  });

  it('measures the drift', () => {
    const map = new ClockMap(1);
    for (let ms = 0; ms < 3_600_000; ms += 10_000) map.add({ ticks: Math.round(ms * 1.00005), at: ms, roundTrip: 2 });
    expect(map.driftPpm).toBeGreaterThan(45);
    expect(map.driftPpm).toBeLessThan(55);
  });

  it('knows nothing before its first sample', () => {
    expect(new ClockMap(1).at(5)).toBeUndefined();
  });

  it('begins anew when the ticks do, and when they jump', () => {
    const map = new ClockMap(1);
    map.add({ ticks: 1_000_000, at: 0, roundTrip: 2 });
    map.add({ ticks: 10, at: 100_000, roundTrip: 2 });
    expect(map.at(10)).toBe(100_000);
    map.add({ ticks: 50_000_000, at: 200_000, roundTrip: 2 });
    expect(map.at(50_000_000)).toBe(200_000);
  });

  it('keeps a bounded number of samples over a year', () => {
    const map = new ClockMap(1);
    for (let ms = 0; ms < 365 * DAY; ms += 600_000) map.add({ ticks: Math.round(ms * 1.00005), at: ms, roundTrip: 2 });
    expect(Math.abs(map.at(Math.round(180 * DAY * 1.00005))! - 180 * DAY)).toBeLessThan(100);
  });
});
