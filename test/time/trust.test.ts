import { describe, expect, it } from 'vitest';
import {
  AHEAD_MAX_MS,
  askAgainAfter,
  classify,
  EARLIEST_TIME,
  FIRST_AHEAD_MAX_MS,
  isTrusted,
  nextFloor,
  type Reading,
  STEP_TOLERANCE_MS,
  type TimeEvent,
  type TimeState,
  TRANSITIONS,
} from '../../src/time/trust.ts';

const TODAY = Date.UTC(2027, 4, 1);
const DAY = 86_400_000;
const nothing: Reading = { now: TODAY, expected: null, floor: null, synchronised: null };

describe('one look at the clock', () => {
  const looks: [string, Partial<Reading>, TimeEvent][] = [
    ['a clock of 1970', { now: 12_000 }, 'behind'],
    ['a clock of 1970 that claims to be synchronised', { now: 12_000, synchronised: true }, 'behind'],
    ['a clock before 1970', { now: -1 }, 'behind'],
    ['the first moment that can be true', { now: EARLIEST_TIME }, 'plausible'],
    ['a moment before it', { now: EARLIEST_TIME - 1 }, 'behind'],
    ['a plausible clock without a floor', {}, 'plausible'],
    ['the last moment without a floor', { now: EARLIEST_TIME + FIRST_AHEAD_MAX_MS }, 'plausible'],
    ['a moment after it', { now: EARLIEST_TIME + FIRST_AHEAD_MAX_MS + 1 }, 'ahead'],
    ['a clock at its floor', { floor: TODAY }, 'plausible'],
    ['a clock a little behind its floor', { floor: TODAY + STEP_TOLERANCE_MS }, 'plausible'],
    ['a clock behind its floor', { floor: TODAY + STEP_TOLERANCE_MS + 1 }, 'behind'],
    ['a clock that nobody vouches for, a year ahead', { floor: TODAY - AHEAD_MAX_MS }, 'plausible'],
    ['more than a year ahead', { floor: TODAY - AHEAD_MAX_MS - 1 }, 'ahead'],
    ['more than a year ahead, asked and not synchronised', { floor: EARLIEST_TIME, synchronised: false }, 'ahead'],
    ['more than a year ahead but synchronised', { floor: EARLIEST_TIME, synchronised: true }, 'synchronised'],
    ['behind its floor but synchronised', { floor: TODAY + DAY, synchronised: true }, 'synchronised'],
    ['a clock stepped back by a day', { expected: TODAY + DAY, floor: TODAY + DAY }, 'stepped-back'],
    ['a clock stepped back by a second', { expected: TODAY + 1_000, floor: TODAY + 1_000 }, 'plausible'],
    ['a clock stepped back by its server', { expected: TODAY + DAY, synchronised: true }, 'synchronised'],
    ['a clock stepped forward', { expected: TODAY - DAY, floor: TODAY - DAY }, 'plausible'],
    ['a clock that is not synchronised', { synchronised: false }, 'plausible'],
    ['a clock at the end of what a date can hold', { now: 8.64e15 }, 'ahead'],
  ];
  for (const [name, reading, event] of looks) {
    it(`${name}: ${event}`, () => expect(classify({ ...nothing, ...reading })).toBe(event));
  }
});

describe('the states', () => {
  const states = Object.keys(TRANSITIONS) as TimeState[];
  const events: TimeEvent[] = ['synchronised', 'plausible', 'behind', 'ahead', 'stepped-back'];

  it('answer every event', () => {
    expect(states.sort()).toEqual(['floor', 'suspect', 'synchronised', 'unknown']);
    for (const state of states) {
      expect(Object.keys(TRANSITIONS[state]).sort(), state).toEqual([...events].sort());
    }
  });

  it('believe a clock after what speaks for it, and never after what speaks against it', () => {
    for (const state of states) {
      for (const event of events) {
        const speaksFor = event === 'synchronised' || event === 'plausible';
        expect(isTrusted(TRANSITIONS[state][event]), `${state}, ${event}`).toBe(speaksFor);
      }
    }
  });

  it('are never unknown again', () => {
    for (const state of states.filter((word) => word !== 'unknown')) {
      for (const event of events) expect(TRANSITIONS[state][event], `${state}, ${event}`).not.toBe('unknown');
    }
  });
});

describe('the floor', () => {
  it('rises with a clock that is believed', () => {
    expect(nextFloor('floor', null, TODAY)).toBe(TODAY);
    expect(nextFloor('floor', TODAY, TODAY + 5)).toBe(TODAY + 5);
    expect(nextFloor('floor', TODAY, TODAY - 5)).toBe(TODAY);
  });
  it('follows a synchronised clock, also down', () =>
    expect(nextFloor('synchronised', TODAY, TODAY - DAY)).toBe(TODAY - DAY));
  it('stays while the clock is not believed', () => {
    expect(nextFloor('unknown', null, TODAY)).toBeNull();
    expect(nextFloor('suspect', TODAY, TODAY + DAY)).toBe(TODAY);
  });
});

describe('asking the system', () => {
  it('is rare, and rarer when it is in vain or done', () => {
    expect(askAgainAfter(false, 1)).toBe(60_000);
    expect(askAgainAfter(null, 10)).toBe(60_000);
    expect(askAgainAfter(null, 11)).toBe(600_000);
    expect(askAgainAfter(true, 1)).toBe(3_600_000);
  });
});
