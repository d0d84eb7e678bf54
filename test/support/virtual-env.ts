/** The outside world of a test: a clock that only moves when told, seeded randomness, no network. */
import type { Clock, Env, Random, Timer } from '../../src/env.ts';

interface Entry {
  at: number;
  readonly sequence: number;
  readonly every: number | null;
  readonly task: () => void;
}

/** Lets every promise that is ready run: far more turns than any chain under test has. */
export async function turns(count = 60): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve();
}

export class VirtualClock implements Clock {
  #monotonic = 0;
  #wall: number;
  #sequence = 0;
  readonly #entries = new Set<Entry>();

  constructor(wall = 1_700_000_000_000) {
    this.#wall = wall;
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  after(ms: number, task: () => void): Timer {
    return this.#add(ms, null, task);
  }

  every(ms: number, task: () => void): Timer {
    return this.#add(ms, ms, task);
  }

  soon(task: () => void): void {
    this.#add(0, null, task);
  }

  /** Steps the wall clock alone. */
  setWall(wall: number): void {
    this.#wall = wall;
  }

  get pendingTimers(): number {
    return this.#entries.size;
  }

  /** Runs what falls due, in order, with the promises of each before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    await turns();
    for (;;) {
      let next: Entry | null = null;
      for (const entry of this.#entries) {
        if (entry.at > end) continue;
        if (next === null || entry.at < next.at || (entry.at === next.at && entry.sequence < next.sequence))
          next = entry;
      }
      if (next === null) break;
      this.#move(next.at);
      if (next.every === null) this.#entries.delete(next);
      else next.at += next.every;
      next.task();
      await turns();
    }
    this.#move(end);
  }

  #move(to: number): void {
    if (to <= this.#monotonic) return;
    this.#wall += to - this.#monotonic;
    this.#monotonic = to;
  }

  #add(ms: number, every: number | null, task: () => void): Timer {
    const entry: Entry = { at: this.#monotonic + Math.max(ms, 0), sequence: this.#sequence++, every, task };
    this.#entries.add(entry);
    return { cancel: () => this.#entries.delete(entry) };
  }
}

/** mulberry32: the same seed, the same run. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const unit = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  return { unit, bytes: (size) => Uint8Array.from({ length: size }, () => Math.floor(unit() * 256)) };
}

export function virtualEnv(clock: VirtualClock = new VirtualClock(), seed = 1): Env {
  const nowhere = () => {
    throw new TypeError('this test has no network');
  };
  return { clock, random: seededRandom(seed), net: { server: nowhere, connect: nowhere } };
}
