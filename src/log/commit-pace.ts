/**
 * When the next synced write may begin: numbers in, milliseconds out. Beside its bytes every one costs the card a journal
 * entry of the file system, so fewer of them are less wear. `flush.ms` is the least time between two; a budget of bytes a
 * day makes that time grow, but only while the budget is overdrawn.
 */
import { COMMIT_MAX_BYTES } from '../limits.ts';

/** What a commit costs the device: fixed, and for each stored byte (measured on ext4, docs/PERFORMANCE.md). */
export const COMMIT_COST_BYTES = 24 * 1024;
export const COST_PER_STORED_BYTE = 2.2;

const DAY_MS = 86_400_000;
/** What is not used gathers for this long, and debts count no longer: a burst now and then is not slowed. */
const BALANCE_MS = 3_600_000;
/** What a start begins with: a broker that is restarted all day must not spend a day's budget each time. */
const BALANCE_AT_START_MS = 60_000;

export interface PaceOptions {
  /** flush.ms: the least time between two commits. */
  readonly leastMs: number;
  /** flush.wear.bytes.per.day; 0: no budget. */
  readonly bytesPerDay: number;
  /** flush.wear.max.ms: the longest that the budget may hold a commit back, counted from the one before. */
  readonly mostMs: number;
}

export class CommitPace {
  readonly #options: PaceOptions;
  /** Bytes a millisecond. */
  readonly #rate: number;
  /** Bytes that may be spent; negative: overdrawn. */
  #balance: number;
  #balancedAt = -1;
  #lastAt = Number.NEGATIVE_INFINITY;
  /** What all commits have cost, bytes. */
  spentBytes = 0;

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#rate = options.bytesPerDay / DAY_MS;
    this.#balance = this.#rate * BALANCE_AT_START_MS;
  }

  /** How long to wait from `now` (monotonic ms) on while `waitingBytes` wait. A full commit never waits: it costs no more later. */
  waitMs(now: number, waitingBytes: number): number {
    const { leastMs, mostMs } = this.#options;
    if (waitingBytes >= COMMIT_MAX_BYTES) return 0;
    let due = this.#lastAt + leastMs;
    if (this.#rate > 0) {
      this.#refill(now);
      if (this.#balance < 0) due = Math.max(due, Math.min(now - this.#balance / this.#rate, this.#lastAt + mostMs));
    }
    return Math.max(0, due - now);
  }

  committed(now: number, storedBytes: number): void {
    const cost = COMMIT_COST_BYTES + storedBytes * COST_PER_STORED_BYTE;
    this.#lastAt = now;
    this.spentBytes += cost;
    if (this.#rate === 0) return;
    this.#refill(now);
    this.#balance = Math.max(this.#balance - cost, -this.#rate * BALANCE_MS);
  }

  #refill(now: number): void {
    const since = this.#balancedAt < 0 ? 0 : now - this.#balancedAt;
    this.#balance = Math.min(this.#balance + since * this.#rate, this.#rate * BALANCE_MS);
    this.#balancedAt = now;
  }
}
