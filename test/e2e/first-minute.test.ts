import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { HEADWATER } from '../support/broker.ts';
import { Child, run } from '../support/process.ts';
import { atEnd, tempDir } from '../support/scope.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Starts a broker as `npm start` does, in a directory of its own. */
async function start(cwd: string, ...args: string[]): Promise<Child> {
  const broker = new Child(HEADWATER, ['serve', '--data', './data', ...args], { cwd });
  broker.endInput();
  atEnd(async () => {
    await broker.stop('SIGKILL');
  });
  await broker.until('the greeting', 20_000, (stdout) => (/^Read: /m.test(stdout) ? true : undefined));
  return broker;
}

const ANY_PORT = ['--mqtt', '127.0.0.1:0', '--kafka', '127.0.0.1:0', '--http', '127.0.0.1:0'];

describe('the first minute', () => {
  it('npm start runs the launcher with its data under ./data', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: { start: string } };
    expect(scripts.start).toBe('bin/headwater serve --data ./data');
  });

  it('the two lines that a new broker prints publish and read when pasted', async () => {
    const cwd = tempDir('first-minute');
    const broker = await start(cwd, ...ANY_PORT);
    const line = (name: string) => new RegExp(`^${name}: +(.+)$`, 'm').exec(broker.stdout)![1]!;
    const paste = (command: string) => run('sh', ['-c', command], { cwd, timeoutMs: 20_000 });

    const published = await paste(line('Publish'));
    expect(published.code, published.stderr).toBe(0);
    const reader = new Child('sh', ['-c', `exec ${line('Read')}`], { cwd });
    reader.endInput();
    await reader.until('the reading', 20_000, (stdout) => (stdout.includes('{"celsius":21.5}') ? true : undefined));
    const read = await reader.stop('SIGINT');
    expect(read.stdout).toBe('{"celsius":21.5}\n');
    expect((await broker.stop()).code).toBe(0);
  });
});
