/** When the disk is full at the present rate: its free bytes, looked at in intervals. */
const WINDOW_MS = 300_000;
/** Space that comes and goes with files that are written and deleted says nothing for a while. */
const SETTLE_MS = 30_000;

export class FillRate {
  readonly #samples: { readonly at: number; readonly free: number }[] = [];

  /** `at`: `clock.monotonic()`. Keeps one sample a second at most, five minutes of them. */
  add(at: number, free: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && at - last.at < 1_000) return;
    this.#samples.push({ at, free });
    while (at - this.#samples[0]!.at > WINDOW_MS) this.#samples.shift();
  }

  /** Milliseconds until nothing is free; null: not filling, or not watched long enough. */
  get etaMs(): number | null {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < SETTLE_MS) return null;
    const perMs = (first.free - last.free) / (last.at - first.at);
    return perMs <= 0 ? null : Math.round(last.free / perMs);
  }
}
