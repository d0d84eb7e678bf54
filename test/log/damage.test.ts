import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../sim/clock.ts';
import { DAMAGE_KINDS, prepare, tryCase } from './damage.ts';

describe('a log on a damaged data directory', () => {
  it('starts, serves nothing wrong, and has what is missing in its ledger, whichever file it was', {
    timeout: 120_000,
  }, async () => {
    const prepared = await prepare(8);
    const random = new SeededRandom(11);
    try {
      for (const file of prepared.files) {
        const kinds = [DAMAGE_KINDS[random.below(DAMAGE_KINDS.length)]!];
        for (const kind of kinds) {
          expect(await tryCase(prepared, file, kind, () => random.unit()), `${file} ${kind}`).toEqual([]);
        }
      }
    } finally {
      await rm(dirname(prepared.directory), { recursive: true });
    }
  });
});
