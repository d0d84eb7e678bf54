import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { HEADWATER } from '../support/broker.ts';
import { leaveOut } from '../support/peers.ts';
import { Child, run } from '../support/process.ts';
import { atEnd, tempDir } from '../support/scope.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');
const blocks = (language: string) =>
  [...README.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, text]) => text!);

/** Whether a port of 127.0.0.1 has no listener. */
function free(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', () => resolve(true));
  });
}

const portsFree = (await Promise.all([1883, 9092, 8080].map(free))).every(Boolean);
const usable = portsFree || leaveOut("the README's commands", 'port 1883, 9092 or 8080 is in use');

describe('the README', () => {
  it.runIf(usable)('its first commands start a broker, publish and read when pasted', async () => {
    const [startBlock, pasteBlock] = blocks('sh');
    expect(startBlock).toBe('npm ci && npm start\n');
    const data = tempDir('readme');
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: { start: string } };
    // What npm start runs, with its ./data elsewhere.
    const [launcher, ...args] = scripts.start.replace('./data', data).split(' ');
    const broker = new Child(join(ROOT, launcher!), args, { cwd: ROOT });
    broker.endInput();
    atEnd(async () => {
      await broker.stop('SIGKILL');
    });
    await broker.until('the greeting', 20_000, (stdout) => (/^Read: /m.test(stdout) ? true : undefined));
    const outputs: string[] = [];
    for (const command of pasteBlock!.trim().split('\n')) {
      const { code, stdout, stderr } = await run('sh', ['-c', command], { cwd: ROOT, timeoutMs: 30_000 });
      expect(code, `${command}: ${stderr}`).toBe(0);
      outputs.push(stdout);
    }
    expect(outputs.at(-1)).toBe('21.5\n');
    expect((await broker.stop()).code).toBe(0);
  });

  it('its configuration is valid', async () => {
    const [yaml] = blocks('yaml');
    const file = join(tempDir('readme'), 'headwater.yaml');
    writeFileSync(file, yaml!);
    const { code, stdout, stderr } = await run(HEADWATER, ['config', 'check', file]);
    expect(code, stdout + stderr).toBe(0);
  });

  it('the npm scripts it names exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
    const named = [...README.matchAll(/npm (?:run ([\w:]+)|(test|start))/g)].map(([, script, own]) => script ?? own!);
    expect(named.length).toBeGreaterThan(3);
    for (const script of named) expect(Object.keys(scripts)).toContain(script);
  });

  it('the commands it names exist', async () => {
    const { stdout } = await run(HEADWATER, ['help']);
    const table = /## Operating\n.*?```\n(.*?)```/s.exec(README)![1]!;
    const named = [...table.matchAll(/headwater (\w+)/g)].map(([, name]) => name!);
    expect(named.length).toBeGreaterThan(8);
    for (const name of named) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
  });

  it('the files it links to exist', () => {
    for (const [, path] of README.matchAll(/\]\(([\w./-]+)\)/g)) {
      expect(() => readFileSync(join(ROOT, path!)), path).not.toThrow();
    }
    for (const [path] of README.matchAll(/\bsrc\/[\w/-]+\.ts\b/g)) {
      expect(() => readFileSync(join(ROOT, path)), path).not.toThrow();
    }
  });
});
