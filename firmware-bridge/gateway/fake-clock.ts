/** A clock that stands still until a test moves it. */
import type { Clock } from './clock.ts';

export class FakeClock implements Clock {
  now = 1_000_000;
  #timers: { at: number; callback: () => void }[] = [];

  monotonic(): number {
    return this.now;
  }

  wall(): number {
    return this.now + 1_700_000_000_000;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.now + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  advance(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.now = next.at;
      next.callback();
    }
    this.now = until;
  }
}
