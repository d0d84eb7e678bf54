/** A virtual clock and a seeded generator: the simulator's whole outside world. Nothing in here reads the real time. */
import type { Clock, Random, Timer } from '../../src/env.ts';

/** mulberry32: small, fast, the same sequence everywhere for the same seed. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  unit(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return Math.floor(this.unit() * n);
  }

  chance(p: number): boolean {
    return this.unit() < p;
  }

  bytes(size: number): Uint8Array {
    return Uint8Array.from({ length: size }, () => this.below(256));
  }
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly task: () => void;
  cancelled: boolean;
}

export class SimClock implements Clock {
  /** Steps that the fault injector gave the wall clock, ms. */
  wallStep = 0;
  #now = 0;
  #order = 0;
  #events: Event[] = [];

  now(): number {
    return 1_700_000_000_000 + this.wallStep + Math.floor(this.#now);
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, task: () => void): Timer {
    const event: Event = { at: this.#now + ms, order: this.#order++, task, cancelled: false };
    this.#events.push(event);
    return {
      cancel: () => {
        event.cancelled = true;
      },
    };
  }

  every(ms: number, task: () => void): Timer {
    let timer: Timer;
    const again = () => {
      timer = this.after(ms, again);
      task();
    };
    timer = this.after(ms, again);
    return { cancel: () => timer.cancel() };
  }

  soon(task: () => void): void {
    this.after(0, task);
  }

  /** Forgets everything that was to come: the process is dead. */
  clear(): void {
    this.#events = [];
  }

  get idle(): boolean {
    return this.#events.every((event) => event.cancelled);
  }

  /** Runs the next event and lets every promise that it settled go on. False when there is none before `until`. */
  async step(until = Number.POSITIVE_INFINITY): Promise<boolean> {
    let next: Event | null = null;
    for (const event of this.#events) {
      if (event.cancelled) continue;
      if (next === null || event.at < next.at || (event.at === next.at && event.order < next.order)) next = event;
    }
    this.#events = this.#events.filter((event) => !event.cancelled && event !== next);
    if (next === null || next.at > until) {
      if (next !== null) this.#events.push(next);
      if (until !== Number.POSITIVE_INFINITY) this.#now = Math.max(this.#now, until);
      await drain();
      return false;
    }
    this.#now = Math.max(this.#now, next.at);
    next.task();
    await drain();
    return true;
  }
}

/** Every microtask that is ready, and those they make ready. */
export function drain(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
