import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkConfig } from './config.ts';
import { expand } from './ports.ts';
import { EMPTY, readState, writeState } from './state-file.ts';

describe('configuration', () => {
  it('has defaults for everything but the ports', () => {
    const config = checkConfig({ ports: ['/dev/ttyUSB*'] }, '/etc/headwater');
    expect(config).toMatchObject({
      broker: 'mqtt://127.0.0.1:1883',
      window: 64,
      stateFile: '/etc/headwater/gateway-state.json',
    });
    expect(config.ports).toEqual([{ path: '/dev/ttyUSB*', baud: 115_200, driver: 'serialport' }]);
  });

  it.each([
    [{ ports: [] }, /ports: a list/],
    [{ ports: ['/dev/x'], broker: 'localhost' }, /broker: "localhost", allowed is mqtt:\/\//],
    [{ ports: ['/dev/x'], window: 256 }, /window: 256, allowed is an integer from 1 to 255/],
    [{ ports: ['/dev/x'], windows: 1 }, /windows: unknown, allowed are id, broker/],
    [{ ports: [{ path: '/dev/x', baud: 'fast' }] }, /ports\[0\].baud: fast, allowed is an integer/],
    [{ ports: [{ path: '/dev/x', speed: 1 }] }, /ports\[0\].speed: unknown/],
    [{ ports: ['/dev/x'], 'evidence.bootstrap': 'kafka' }, /evidence.bootstrap: "kafka", allowed is host:port/],
  ])('%j is refused by name, value and what is allowed', (given, reason) => {
    expect(() => checkConfig(given, '/')).toThrow(reason);
  });
});

describe('ports', () => {
  it('a pattern means what is there now', () => {
    const list = (): string[] => ['ttyUSB1', 'ttyUSB0', 'ttyS0', 'ttyUSB'];
    expect(expand('/dev/ttyUSB*', list)).toEqual(['/dev/ttyUSB', '/dev/ttyUSB0', '/dev/ttyUSB1']);
    expect(expand('/dev/ttyS0', list)).toEqual(['/dev/ttyS0']);
    expect(expand('/dev/tty.S*', list)).toEqual([]);
  });
});

describe('the state file', () => {
  it('comes back as it was written; a torn or missing one is the empty state', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'headwater-state-'));
    const path = join(directory, 'state.json');
    const broken: string[] = [];
    expect(await readState(path, (reason) => broken.push(reason))).toEqual(EMPTY);
    const state = {
      version: 1,
      offsets: { 0: 17 },
      devices: { a: { epoch: 5, floor: 9, msPerTick: 0.99995 } },
    } as const;
    await writeState(path, state);
    expect(await readState(path, (reason) => broken.push(reason))).toEqual(state);
    expect(broken).toEqual([]);
    writeFileSync(path, '{"version":1,"off');
    expect(await readState(path, (reason) => broken.push(reason))).toEqual(EMPTY);
    expect(broken.length).toBe(1);
    rmSync(directory, { recursive: true });
  });
});
