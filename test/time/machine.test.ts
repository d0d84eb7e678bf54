import { chmod, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemMachine } from '../../src/time/machine.ts';

const NOW = Date.UTC(2027, 4, 1);
const MINUTE = 60_000;
const path = process.env['PATH'];
let directory = '';
let touched = '';

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'headwater-machine-'));
  touched = join(directory, 'synchronized');
  process.env['PATH'] = directory;
});

afterEach(async () => {
  process.env['PATH'] = path;
  await rm(directory, { recursive: true, force: true });
});

async function timedatectl(script: string): Promise<void> {
  const file = join(directory, 'timedatectl');
  await writeFile(file, `#!/bin/sh\n[ "$*" = "show --property=NTPSynchronized --value" ] || exit 9\n${script}\n`);
  await chmod(file, 0o755);
}

async function touchedAt(ms: number): Promise<void> {
  await writeFile(touched, '');
  await utimes(touched, ms / 1_000, ms / 1_000);
}

const ask = () => systemMachine({ bootId: join(directory, 'boot_id'), timesyncdTouches: touched }).synchronised(NOW);

describe('whether the clock is synchronised', () => {
  it('cannot be told where nobody knows', async () => expect(await ask()).toBeNull());

  it('is what timedatectl says', async () => {
    await timedatectl('echo yes');
    expect(await ask()).toBe(true);
    await timedatectl('echo no');
    expect(await ask()).toBe(false);
  });

  it('cannot be told when timedatectl fails or says something else', async () => {
    await timedatectl('echo yes; exit 1');
    expect(await ask()).toBeNull();
    await timedatectl('echo maybe');
    expect(await ask()).toBeNull();
  });

  it('is true without a process when timesyncd has just said so', async () => {
    await timedatectl('echo no');
    await touchedAt(NOW - 30 * MINUTE);
    expect(await ask()).toBe(true);
  });

  it('is asked of timedatectl when what timesyncd said is old, or from another time', async () => {
    await timedatectl('echo no');
    await touchedAt(NOW - 90 * MINUTE);
    expect(await ask()).toBe(false);
    await touchedAt(NOW + MINUTE);
    expect(await ask()).toBe(false);
  });
});

describe('the boot', () => {
  it('has the id that the kernel gives it, or none', async () => {
    const bootId = join(directory, 'boot_id');
    const machine = systemMachine({ bootId, timesyncdTouches: touched });
    expect(await machine.bootId()).toBeNull();
    await writeFile(bootId, 'd3b07384-d113-4ec6-a9a3-b0a6a1a1e9a1\n');
    expect(await machine.bootId()).toBe('d3b07384-d113-4ec6-a9a3-b0a6a1a1e9a1');
  });

  it('has been up for a time that does not go back', () => {
    const machine = systemMachine();
    const before = machine.uptime();
    expect(machine.uptime()).toBeGreaterThanOrEqual(before);
  });
});
