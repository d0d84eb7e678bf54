import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Commands, MAX_ALL, MAX_COMMAND_PAYLOAD, MAX_COMMANDS } from './commands.ts';
import { FakeClock } from './fake-clock.ts';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'headwater-commands-'));
});
const made: Commands[] = [];
afterEach(async () => {
  for (const commands of made.splice(0)) await commands.written();
  rmSync(directory, { recursive: true, force: true });
});

function make() {
  const clock = new FakeClock();
  const path = join(directory, 'commands.json');
  const log: string[] = [];
  const results: string[] = [];
  const published: (() => void)[] = [];
  const commands = new Commands({
    path,
    clock,
    log: (message) => log.push(message),
    publishResult: (device, command, outcome, done) => {
      results.push(`${device} ${command}: ${outcome}`);
      published.push(done);
    },
  });
  made.push(commands);
  commands.load();
  /** Resolves when the broker may forget it. */
  const add = (
    name: string,
    more: { device?: string; payload?: Buffer; expiresAt?: number; offset?: number; isRepeat?: boolean } = {},
  ) =>
    new Promise<Error | null>((resolve) => {
      const { device = 'dev-1', payload = Buffer.from(name), expiresAt, offset, isRepeat = false } = more;
      const position = offset === undefined ? undefined : { partition: 'mqtt/0', offset };
      commands.add(device, { name, payload, expiresAt, isRepeat, position }, resolve);
    });
  const open = (device = 'dev-1') => {
    const names: string[] = [];
    for (let next = commands.next(device); next !== undefined; next = commands.next(device)) {
      names.push(next.name);
      commands.finish(next, 0);
    }
    return names;
  };
  return { clock, path, log, results, published, commands, add, open };
}

describe('commands that wait for their device', () => {
  it('are acknowledged when they are in the file, and are there after a crash with the same number', async () => {
    const first = make();
    expect(await first.add('on')).toBeNull();
    const before = first.commands.next('dev-1')!;
    const after = make().commands.next('dev-1')!;
    expect([after.id, after.name, String(after.payload)]).toEqual([before.id, 'on', 'on']);
  });

  it('are not acknowledged when the file cannot be written', async () => {
    const { add, log } = make();
    rmSync(directory, { recursive: true });
    expect(await add('on')).toBeInstanceOf(Error);
    expect(log).toContain('commands not written');
  });

  it('wait for devices that said hello here, also before a crash', async () => {
    const first = make();
    expect(first.commands.isHome('dev-1')).toBe(false);
    first.commands.welcome('dev-1');
    await first.commands.written();
    const { commands } = make();
    expect([commands.isHome('dev-1'), commands.isHome('dev-2')]).toEqual([true, false]);
  });

  it('come in order, each device its own', async () => {
    const { add, open } = make();
    await Promise.all([add('1'), add('2'), add('other', { device: 'dev-2' }), add('3')]);
    expect(open()).toEqual(['1', '2', '3']);
    expect(open('dev-2')).toEqual(['other']);
  });

  it(`of more than ${MAX_COMMANDS} the oldest is given up, but not the one that was sent already`, async () => {
    const { add, commands, open, results } = make();
    await add('0');
    commands.next('dev-1')!.tries = 1;
    for (let i = 1; i <= MAX_COMMANDS; i++) await add(String(i));
    expect(results).toEqual([`dev-1 1: given up: more than ${MAX_COMMANDS} commands are waiting`]);
    expect(open().slice(0, 3)).toEqual(['0', '2', '3']);
  });

  it(`of more than ${MAX_ALL} for all devices the oldest is given up`, async () => {
    const { add, results } = make();
    await Promise.all(Array.from({ length: MAX_ALL + 1 }, (_, i) => add(String(i), { device: `dev-${i}` })));
    expect(results).toEqual([`dev-0 0: given up: more than ${MAX_ALL} commands are waiting`]);
  });

  it('that are longer than a frame are refused', async () => {
    const { add, open, results } = make();
    await add('fits', { payload: Buffer.alloc(MAX_COMMAND_PAYLOAD) });
    await add('long', { payload: Buffer.alloc(MAX_COMMAND_PAYLOAD + 1) });
    expect(results).toEqual([`dev-1 long: longer than ${MAX_COMMAND_PAYLOAD} bytes`]);
    expect(open()).toEqual(['fits']);
  });

  it('expire when their publisher said so', async () => {
    const { clock, add, open, results } = make();
    await add('soon', { expiresAt: clock.wall() + 1000 });
    await add('later', { expiresAt: clock.wall() + 5000 });
    clock.advance(1000);
    expect(open()).toEqual(['later']);
    expect(results[0]).toBe('dev-1 soon: expired');
  });

  it('are taken once, however often the broker sends them again', async () => {
    const first = make();
    await first.add('on', { offset: 7 });
    // The gateway crashed before its acknowledgement reached the broker.
    const second = make();
    await second.add('on', { offset: 7, isRepeat: true });
    await second.add('off', { offset: 8, isRepeat: true });
    expect(second.open()).toEqual(['on', 'off']);
  });

  it('a log that began again at 0 is no repetition', async () => {
    const { add, open } = make();
    await add('on', { offset: 7 });
    await add('off', { offset: 0 });
    expect(open()).toEqual(['on', 'off']);
  });

  it('their results are told again until the broker has them', async () => {
    const first = make();
    await first.add('on');
    expect(first.open()).toEqual(['on']);
    await first.commands.written();
    const second = make();
    second.commands.resume();
    expect(second.results).toEqual(['dev-1 on: 0']);
    second.published[0]!();
    await second.commands.written();
    const third = make();
    third.commands.resume();
    expect(third.results).toEqual([]);
  });

  it('a file that is torn is reported and left behind', () => {
    const { path } = make();
    writeFileSync(path, '{"version":1,');
    const { log, open } = make();
    expect(log).toEqual(['waiting commands ignored']);
    expect(open()).toEqual([]);
    expect(readFileSync(path, 'utf8')).toBe('{"version":1,');
  });
});
