import { describe, expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

describe('the log under seeded faults', () => {
  it('keeps every promise over 50 lives', { timeout: 120_000 }, async () => {
    let [crashes, flips, faults, compacted] = [0, 0, 0, 0];
    for (let seed = 1; seed <= 50; seed++) {
      const result = await new Simulation(seed).run(150).catch((error: unknown) => {
        throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`);
      });
      crashes += result.crashes;
      flips += result.flips;
      faults += result.faults;
      compacted += result.compacted;
    }
    // The faults were there to be survived.
    expect(crashes).toBeGreaterThan(100);
    expect(flips).toBeGreaterThan(5);
    expect(faults).toBeGreaterThan(50);
    expect(compacted).toBeGreaterThan(100);
  });
});
