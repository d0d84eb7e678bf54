/** The small form of bench/mqtt/sleepers.mjs: sessions sleep, the broker is killed, each gets what is its own, in order. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { mustRun } from '../support/process.ts';

const SCRIPT = fileURLToPath(new URL('../../bench/mqtt/sleepers.mjs', import.meta.url));

it('55 sessions sleep through 5,000 records and a kill -9: complete, in order, at QoS 1 and 2', async () => {
  const args = [SCRIPT, '--sessions', '50', '--records', '5000', '--json'];
  const result = JSON.parse(await mustRun(process.execPath, args, { timeoutMs: 110_000 }));
  expect(result).toMatchObject({ problems: [], repeated: 0, sleeping: 55 });
  expect(result.storedBytes).toBeGreaterThan(0);
}, 120_000);
