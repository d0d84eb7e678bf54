/** From a device's flash to the log and back down, with the C library, the gateway and the broker as they are built. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Description } from '../../firmware-bridge/gateway/description.ts';
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

  it('by the serialport package: units in the log, and a command for a device that was away is carried out', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'headwater-bridge-'));
    const description: Description = {
      kind: 'simulated',
      version: 1,
      fields: [
        { name: 'n', type: 'int', unit: 'Cel' },
        { name: 'pad', type: 'bytes' },
      ],
    };
    const options = { directory, dist, tools, baud: 115_200, noise: 0, recordSize: 40, seed: 5 } as const;
    const lines: string[] = [];
    const log = (line: string) => lines.push(line);
    const simulation = new Simulation({ ...options, driver: 'serialport', description, log });
    try {
      await simulation.start();
      expect(await simulation.drain(), lines.join('\n')).toBe(true);
      // The device sleeps; a command comes, and the gateway loses its power.
      const client = await connectAsync(simulation.addresses.mqtt, { protocolVersion: 5 });
      const results: string[] = [];
      client.on('message', (_, payload) => results.push(String(payload)));
      await client.subscribeAsync('devices/sim-1/results', { qos: 1 });
      await client.publishAsync('devices/sim-1/commands', 'first', { qos: 1 });
      await expect
        .poll(() => readFileSync(join(directory, 'gateway-commands.json'), 'utf8'), { timeout: 30_000 })
        .toContain('first');
      await simulation.kill('gateway');
      await client.publishAsync('devices/sim-1/commands', 'second', { qos: 1 });
      simulation.startGateway();
      // Awake for long enough: until both are answered.
      const device = simulation.startDevice(100_000, 20_000, 0);
      const expected = ['first', 'second'].map((command) => JSON.stringify({ command, status: 7 }));
      await expect.poll(() => results, { timeout: 60_000, message: lines.slice(-30).join('\n') }).toEqual(expected);
      device.kill();
      await client.endAsync();
      const { kafka } = simulation.addresses;
      const args = ['consume', 'mqtt', '--from-beginning', '--exit-at-end', '--decode', 'cbor'];
      const printed = execFileSync(join(root, 'bin/headwater'), [...args, '--bootstrap', kafka]).toString();
      expect(printed).toMatch(/^\{"time":\d+,"n":"\d+ °C","pad":"(00)+"\}$/m);
    } finally {
      await simulation.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
