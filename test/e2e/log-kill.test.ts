import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { checkStore } from '../../src/log/check.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { openOn, valuesOf } from '../log/records.ts';

const ROUNDS = 8;

/** Runs the child until it has acknowledged something and `ms` have passed, then kills it. Returns what it acknowledged. */
function lifeOf(program: string, directory: string, first: number, acknowledgements: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, directory, String(first)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text: string) => {
      out += text;
      if (out.length / 8 > acknowledgements) child.kill('SIGKILL');
    });
    child.on('error', reject);
    child.on('close', () => resolve(out.slice(0, out.lastIndexOf('\n')).split('\n')));
  });
}

describe('the log on a real disk under kill -9', () => {
  it('has every acknowledged record at its offset, and offsets without holes', async () => {
    const work = await mkdtemp(join(tmpdir(), 'headwater-kill-'));
    const scratch = await mkdtemp(join(import.meta.dirname, '../../node_modules/.kill-'));
    const program = join(scratch, 'child.mjs');
    const directory = join(work, 'data');
    try {
      await build({
        entryPoints: [join(import.meta.dirname, 'log-kill.child.ts')],
        outfile: program,
        bundle: true,
        format: 'esm',
        platform: 'node',
        external: ['classic-level', 'cbor-extract', '@hpcc-js/wasm-zstd'],
        banner: {
          js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
        },
      });
      const acknowledged = new Map<string, number>();
      for (let round = 0; round < ROUNDS; round++) {
        const lines = await lifeOf(program, directory, round * 1_000_000, 1_000 + round * 700);
        expect(lines.length).toBeGreaterThan(500);
        for (const line of lines) {
          const [partition, offset, number] = line.split(' ').map(Number);
          const key = `${partition}:${offset}`;
          expect(acknowledged.has(key), `offset ${key} was given twice`).toBe(false);
          acknowledged.set(key, number!);
        }
        const store = await openLevelStore(directory);
        const log = await openOn(store);
        expect(log.troubled).toEqual([]);
        const found = new Map<string, number>();
        for (const partition of log.topic('t')!.partitions) {
          const values = await valuesOf(partition);
          expect(values.length).toBe(partition.logEndOffset);
          for (const value of values) {
            const [offset, text] = value.split(':');
            found.set(`${partition.index}:${offset}`, Number(text!.split(' ')[0]));
          }
        }
        for (const [key, number] of acknowledged) expect(found.get(key), key).toBe(number);
        await log.close();
        expect((await checkStore(store)).problems).toEqual([]);
        await store.close();
      }
    } finally {
      await rm(work, { recursive: true, force: true });
      await rm(scratch, { recursive: true, force: true });
    }
  });
});
