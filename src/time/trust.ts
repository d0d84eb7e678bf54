/**
 * Whether the wall clock may be believed: numbers in, words out. A machine without a clock chip boots in 1970 or at the
 * time of its last shutdown, and a wrong date would make retention delete what is young. docs/time.md explains it to users.
 */

/** Nothing that runs this software can truly be earlier: 2026-01-01 UTC, ms. */
export const EARLIEST_TIME = 1_767_225_600_000;

/** Smaller differences, ms, are neither steps nor lags: leap seconds, slewing, a clock saved a little late. */
export const STEP_TOLERANCE_MS = 60_000;

const DAY_MS = 86_400_000;
/** How far ahead of the floor a clock that nobody vouches for may be, ms. A machine may lie in a drawer for a year. */
export const AHEAD_MAX_MS = 366 * DAY_MS;
/** The same while no floor is known: how long one version may run after it was built. */
export const FIRST_AHEAD_MAX_MS = 20 * 366 * DAY_MS;

/**
 * unknown: nothing speaks for the clock yet. floor: it is not before the latest time that was ever believed, and not
 * absurdly ahead. synchronised: the system says so. suspect: it was believed, and then stepped where it should not.
 */
export type TimeState = 'unknown' | 'floor' | 'synchronised' | 'suspect';

/** What one look at the clock says. */
export type TimeEvent = 'synchronised' | 'plausible' | 'behind' | 'ahead' | 'stepped-back';

export interface Reading {
  /** Wall clock, ms since 1970. */
  readonly now: number;
  /** What the wall clock would say if it had run on since it was last believed; null: it was not believed in this boot. */
  readonly expected: number | null;
  /** The latest time that was ever believed, ms; null: none is known. */
  readonly floor: number | null;
  /** What the system says since the clock last stepped; null: it has not been asked, or cannot tell. */
  readonly synchronised: boolean | null;
}

export function classify({ now, expected, floor, synchronised }: Reading): TimeEvent {
  // A time server that is wrong by decades exists (GPS weeks roll over): not believed either.
  if (now < EARLIEST_TIME) return 'behind';
  if (synchronised === true) return 'synchronised';
  if (expected !== null && now < expected - STEP_TOLERANCE_MS) return 'stepped-back';
  if (floor !== null && now < floor - STEP_TOLERANCE_MS) return 'behind';
  const latest = floor === null ? EARLIEST_TIME + FIRST_AHEAD_MAX_MS : floor + AHEAD_MAX_MS;
  return now > latest ? 'ahead' : 'plausible';
}

/** Every state has an answer to every event: what the clock does is not ours to forbid. */
export const TRANSITIONS: Readonly<Record<TimeState, Readonly<Record<TimeEvent, TimeState>>>> = {
  unknown: {
    synchronised: 'synchronised',
    plausible: 'floor',
    behind: 'unknown',
    ahead: 'unknown',
    'stepped-back': 'suspect',
  },
  floor: {
    synchronised: 'synchronised',
    plausible: 'floor',
    behind: 'suspect',
    ahead: 'suspect',
    'stepped-back': 'suspect',
  },
  // A clock that has lost its server only drifts, by seconds a day: it stays believed until it steps.
  synchronised: {
    synchronised: 'synchronised',
    plausible: 'synchronised',
    behind: 'suspect',
    ahead: 'suspect',
    'stepped-back': 'suspect',
  },
  suspect: {
    synchronised: 'synchronised',
    plausible: 'floor',
    behind: 'suspect',
    ahead: 'suspect',
    'stepped-back': 'suspect',
  },
};

export function isTrusted(state: TimeState): boolean {
  return state === 'floor' || state === 'synchronised';
}

/**
 * The floor after a look at the clock: the latest time believed. A synchronised clock may lower it: then what was
 * believed before was wrong.
 */
export function nextFloor(state: TimeState, floor: number | null, now: number): number | null {
  if (state === 'synchronised') return now;
  if (state === 'floor') return floor === null ? now : Math.max(floor, now);
  return floor;
}

/**
 * When to ask the system again, ms. Every minute at first; a machine without a network is asked every ten minutes, one
 * that is synchronised, every hour (a step is noticed without asking).
 */
export function askAgainAfter(synchronised: boolean | null, asked: number): number {
  if (synchronised === true) return 3_600_000;
  return asked <= 10 ? 60_000 : 600_000;
}
