import { describe, expect, it } from 'vitest';
import { Seen } from './seen.ts';

describe('Seen', () => {
  it('the floor moves over what is contiguous and stops at a hole', () => {
    const seen = new Seen(1);
    for (const sequence of [1, 2, 4, 5]) seen.add(sequence);
    expect(seen.floor).toBe(2);
    expect([3, 4, 5, 6].map((sequence) => seen.has(sequence))).toEqual([false, true, true, false]);
    seen.add(3);
    expect(seen.floor).toBe(5);
  });

  it('settling closes holes that the device says are void, and goes on over what is known behind them', () => {
    const seen = new Seen(1);
    for (const sequence of [4, 5, 6, 9]) seen.add(sequence);
    seen.settle(4);
    expect(seen.floor).toBe(6);
    expect(seen.has(9)).toBe(true);
    expect(seen.has(8)).toBe(false);
  });

  it('a floor never goes back', () => {
    const seen = new Seen(1, 10);
    seen.settle(3);
    seen.add(4);
    expect(seen.floor).toBe(10);
  });
});
