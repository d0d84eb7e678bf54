/**
 * Back-off against guessing: after a few failures an address (and a user name, wherever it is tried from) must wait, twice
 * as long each time. A refusal costs nothing; the right secret clears the count.
 */
import type { Clock } from '../env.ts';

/** Typing errors are free. */
const FREE_FAILURES = 5;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** A count is forgotten after so long without a failure. */
const FORGET_MS = 15 * 60_000;
const ENTRIES_MAX = 10_000;

interface Entry {
  failures: number;
  /** Monotonic time of the last failure. */
  at: number;
}

/** How long after `failures` in a row, in milliseconds. */
export function pauseAfter(failures: number): number {
  if (failures < FREE_FAILURES) return 0;
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(20, failures - FREE_FAILURES));
}

export class LoginThrottle {
  readonly #clock: Clock;
  /** Insertion order is order of last failure: the oldest gives way. */
  readonly #entries = new Map<string, Entry>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds until another attempt is looked at; 0: now. */
  waitFor(address: string, user: string): number {
    return Math.max(this.#waitOf(`a ${address}`), this.#waitOf(`u ${user}`));
  }

  failed(address: string, user: string): void {
    this.#count(`a ${address}`);
    this.#count(`u ${user}`);
  }

  /** Of the address only: otherwise whoever knows one secret could go on guessing another from the same place. */
  succeeded(user: string): void {
    this.#entries.delete(`u ${user}`);
  }

  #waitOf(key: string): number {
    const entry = this.#entries.get(key);
    if (entry === undefined) return 0;
    const since = this.#clock.monotonic() - entry.at;
    if (since >= FORGET_MS) this.#entries.delete(key);
    return Math.max(0, pauseAfter(entry.failures) - since);
  }

  #count(key: string): void {
    const now = this.#clock.monotonic();
    const entry = this.#entries.get(key);
    const failures = entry === undefined || now - entry.at >= FORGET_MS ? 1 : entry.failures + 1;
    this.#entries.delete(key);
    this.#entries.set(key, { failures, at: now });
    if (this.#entries.size > ENTRIES_MAX) this.#entries.delete(this.#entries.keys().next().value!);
  }
}
