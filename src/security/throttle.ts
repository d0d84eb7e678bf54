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
/** How long a login speaks for its user and address. */
const KNOWN_MS = 24 * 3_600_000;

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
  /** Who logged in from where lately. A count of the address does not hold them: it may be a NAT with a guesser behind it. */
  readonly #known = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds until another attempt is looked at; 0: now. */
  waitFor(address: string, user: string): number {
    const ofUser = this.#waitOf(`u ${user}`);
    return this.#isKnown(address, user) ? ofUser : Math.max(this.#waitOf(`a ${address}`), ofUser);
  }

  failed(address: string, user: string): void {
    this.#count(`a ${address}`);
    this.#count(`u ${user}`);
  }

  /** Clears the user's count, not that of the address: whoever knows one secret could go on guessing another from there. */
  succeeded(address: string, user: string): void {
    this.#entries.delete(`u ${user}`);
    const key = `${address} ${user}`;
    this.#known.delete(key);
    this.#known.set(key, this.#clock.monotonic());
    if (this.#known.size > ENTRIES_MAX) this.#known.delete(this.#known.keys().next().value!);
  }

  #isKnown(address: string, user: string): boolean {
    const key = `${address} ${user}`;
    const at = this.#known.get(key);
    if (at === undefined) return false;
    if (this.#clock.monotonic() - at < KNOWN_MS) return true;
    this.#known.delete(key);
    return false;
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
