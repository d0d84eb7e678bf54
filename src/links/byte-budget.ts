/** Memory for batches that were read and not acknowledged yet, one per link. Live work may take all of it, backfill less. */
interface Waiting {
  readonly live: boolean;
  readonly priority: number;
  readonly run: () => void;
}

export class ByteBudget {
  readonly #limit: number;
  readonly #backfillLimit: number;
  #used = 0;
  readonly #waiting: Waiting[] = [];

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
    this.#backfillLimit = Math.floor(limitBytes * 0.75);
  }

  get used(): number {
    return this.#used;
  }

  /** Whether `bytes` were taken. A single taker may exceed the limit when nothing else is out. */
  take(bytes: number, live: boolean): boolean {
    const limit = live ? this.#limit : this.#backfillLimit;
    if (this.#used > 0 && this.#used + bytes > limit) return false;
    this.#used += bytes;
    return true;
  }

  /** What was read is known only afterwards: it may be more than was taken (one batch at least). */
  adjust(difference: number): void {
    this.#used += difference;
    if (difference < 0) this.#wake();
  }

  give(bytes: number): void {
    this.adjust(-bytes);
  }

  /** Calls `run` once when bytes came back: the highest priority first, live before backfill. */
  whenFree(live: boolean, priority: number, run: () => void): void {
    this.#waiting.push({ live, priority, run });
  }

  #wake(): void {
    if (this.#waiting.length === 0) return;
    const order = this.#waiting.splice(0).sort((a, b) => b.priority - a.priority || Number(b.live) - Number(a.live));
    // Those who find it taken again register again.
    for (const { run } of order) run();
  }
}
