import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../sim/clock.ts';
import { DAMAGE_KINDS, prepare, tryCase } from './damage.ts';

describe('a log on a damaged data directory', () => {
  it('starts, serves nothing wrong, and has what is missing in its ledger, whichever file it was', {
    timeout: 120_000,
  }, async () => {
    const random = new SeededRandom(11);
    const prepared = await prepare({ rounds: 8, unit: () => random.unit() });
    try {
      for (const file of prepared.files) {
        const kind = DAMAGE_KINDS[random.below(DAMAGE_KINDS.length)]!;
        const { problems } = await tryCase(prepared, file, kind, () => random.unit());
        expect(problems, `${file} ${kind}`).toEqual([]);
      }
    } finally {
      await rm(dirname(prepared.directory), { recursive: true });
    }
  });
});
