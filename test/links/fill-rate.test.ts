import { describe, expect, it } from 'vitest';
import { FillRate } from '../../src/links/fill-rate.ts';

describe('the time until the disk is full', () => {
  it('is what is free over the rate of the last minutes', () => {
    const fill = new FillRate();
    for (let second = 0; second <= 600; second++) fill.add(second * 1000, 10_000_000 - second * 1_000);
    expect(fill.etaMs).toBe(9_400_000);
  });

  it('forgets what is longer ago than five minutes', () => {
    const fill = new FillRate();
    for (let second = 0; second <= 900; second++)
      fill.add(second * 1000, second < 600 ? 9_000_000 - second : 8_000_000);
    expect(fill.etaMs).toBeNull();
  });

  it('is not told before it was watched for half a minute, nor when space comes back', () => {
    const fill = new FillRate();
    fill.add(0, 1_000);
    fill.add(20_000, 900);
    expect(fill.etaMs).toBeNull();
    fill.add(40_000, 1_100);
    expect(fill.etaMs).toBeNull();
  });
});
