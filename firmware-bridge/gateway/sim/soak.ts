/** soak CUTS [SEED]: power cuts at random on all sides, then the comparison. See ../../soak.sh. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Simulation } from './simulation.ts';

const [, , cuts = '100', seed = String(Date.now() % 1_000_000), tools = '', dist = ''] = process.argv;
const directory = mkdtempSync(join(tmpdir(), 'headwater-soak-'));
const lines: string[] = [];
const simulation = new Simulation({
  directory,
  dist,
  tools,
  baud: 115_200,
  noise: 1e-3,
  recordSize: 40,
  seed: Number(seed),
  log: (line) => {
    lines.push(line);
    if (lines.length > 400) lines.shift();
    if (process.env['SOAK_VERBOSE'] !== undefined) console.error(line);
  },
});
const began = Date.now();
try {
  await simulation.start();
  await simulation.torment(Number(cuts));
  const isDrained = await simulation.drain();
  const verdict = await simulation.verify();
  const { missing, doubled, outOfOrder, ...counts } = verdict;
  const seconds = Math.round((Date.now() - began) / 1000);
  console.log(
    JSON.stringify({ seed, seconds, cuts: simulation.cuts, gatewayMB: simulation.memoryOf('gateway'), ...counts }),
  );
  const isGood = isDrained && missing.length + doubled.length + outOfOrder.length === 0;
  console.log(isGood ? '1 passed, 0 failed' : '0 passed, 1 failed');
  if (!isGood) {
    console.log(JSON.stringify({ isDrained, missing, doubled, outOfOrder }).slice(0, 4000));
    console.log(lines.slice(-60).join('\n'));
    console.log(`kept: ${directory}`);
    process.exitCode = 1;
  } else {
    rmSync(directory, { recursive: true });
  }
} finally {
  await simulation.stop();
}
