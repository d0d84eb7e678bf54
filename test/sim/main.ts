/** `npm run sim -- --seeds 1000 [--from 1] [--steps 300]`: lives of the log under seeded faults. A failure prints its seed. */
import { parseArgs } from 'node:util';
import { Simulation } from './simulation.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string', default: '300' },
  },
});
const first = Number(values.from);
const last = first + Number(values.seeds) - 1;
const totals = { acknowledged: 0, crashes: 0, faults: 0, flips: 0, lost: 0, gaveWay: 0, compacted: 0 };
let failed = 0;
for (let seed = first; seed <= last; seed++) {
  try {
    const result = await new Simulation(seed).run(Number(values.steps));
    for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += result[key];
  } catch (error) {
    failed++;
    console.error(`seed ${seed} failed: ${error instanceof Error ? error.stack : String(error)}\n`);
    if (failed >= 5) break;
  }
}
console.log(`${last - first + 1 - failed} passed, ${failed} failed; ${JSON.stringify(totals)}`);
process.exitCode = failed === 0 ? 0 : 1;
