/** From a device's flash to the log and back down, with the C library, the gateway and the broker as they are built. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Simulation } from '../../firmware-bridge/gateway/sim/simulation.ts';

const root = new URL('../../', import.meta.url).pathname;
const dist = join(root, 'dist');
const hasCompiler = process.platform === 'linux' && spawnSync('cc', ['--version']).status === 0;
if (!hasCompiler) console.log('skipped: no C compiler (cc), so no device can be simulated');

describe.runIf(hasCompiler)('the firmware bridge', () => {
  let tools = '';
  beforeAll(() => {
    if (!existsSync(join(dist, 'gateway.js'))) throw new Error('dist/gateway.js is missing: npm run build');
    tools = mkdtempSync(join(tmpdir(), 'headwater-tools-'));
    const device = join(root, 'firmware-bridge/device');
    const library = ['bytes', 'cbor', 'frame', 'ring', 'serial'].map((name) => join(device, `src/hw_${name}.c`));
    execFileSync('cc', ['-std=c99', '-O1', join(device, 'test/sim_line.c'), '-o', join(tools, 'sim_line')]);
    execFileSync('cc', [
      '-std=c99',
      '-O1',
      join(device, 'test/sim_device.c'),
      ...library,
      '-o',
      join(tools, 'sim_device'),
    ]);
  });
  afterAll(() => rmSync(tools, { recursive: true, force: true }));

  it('every reading that was in flash is in the log once and in order, after 12 power cuts on a noisy line', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'headwater-bridge-'));
    const seed = 1 + (Date.now() % 1_000_000);
    const simulation = new Simulation({ directory, dist, tools, baud: 115_200, noise: 1e-3, recordSize: 40, seed });
    try {
      await simulation.start();
      await simulation.torment(12);
      expect(await simulation.drain(), `drained, seed ${seed}`).toBe(true);
      const { journalled, stored, ...wrong } = await simulation.verify();
      expect(wrong, `seed ${seed}`).toEqual({ missing: [], doubled: [], outOfOrder: [] });
      expect(stored).toBeGreaterThanOrEqual(journalled);
      expect(journalled).toBeGreaterThan(0);
    } finally {
      await simulation.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
