import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { checkStore } from '../../src/log/check.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { openOn, valuesOf } from '../log/records.ts';

const ROUNDS = 3;
const IMAGE_BYTES = 256 * 1024 * 1024;
/** EXT4_IOC_SHUTDOWN, without writing the journal out: what was not synced is gone. */
const SHUTDOWN = `import fcntl,os,struct,sys
fcntl.ioctl(os.open(sys.argv[1],os.O_RDONLY),0x8004587d,struct.pack('I',2))`;

const run = (file: string, ...args: string[]) => execFileSync(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });

/** An ext4 of its own in a file, mounted; null: not here. */
async function mountImage(work: string): Promise<string | null> {
  const [image, mount] = [join(work, 'image'), join(work, 'mount')];
  await writeFile(image, '');
  await truncate(image, IMAGE_BYTES);
  mkdirSync(mount);
  try {
    run('python3', '-c', 'import fcntl');
    run('mkfs.ext4', '-q', image);
    run('mount', '-o', 'loop', image, mount);
    return mount;
  } catch (error) {
    console.log(`LEFT OUT: a power cut on a loop-mounted ext4 needs root, loop devices, e2fsprogs, python3: ${error}`);
    return null;
  }
}

describe('the log on a block device whose power is cut', () => {
  it('has every acknowledged record at its offset after the journal was replayed', {
    timeout: 180_000,
  }, async (context) => {
    const work = await mkdtemp(join(tmpdir(), 'headwater-power-'));
    const scratch = await mkdtemp(join(import.meta.dirname, '../../node_modules/.power-'));
    const mount = await mountImage(work);
    if (mount === null) return context.skip();
    let mounted = true;
    try {
      const program = join(scratch, 'child.mjs');
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
      const directory = join(mount, 'data');
      const acknowledged = new Map<string, number>();
      for (let round = 0; round < ROUNDS; round++) {
        const child = spawn(process.execPath, [program, directory, String(round * 1_000_000)], {
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        let out = '';
        child.stdout.setEncoding('utf8');
        await new Promise<void>((resolve, reject) => {
          let cut = false;
          child.on('error', reject);
          child.on('close', () => resolve());
          child.stdout.on('data', (text: string) => {
            out += text;
            if (cut || out.length < 20_000 * (round + 1)) return;
            cut = true;
            run('python3', '-c', SHUTDOWN, mount);
            child.kill('SIGKILL');
          });
        });
        run('umount', mount);
        mounted = false;
        run('mount', '-o', 'loop', join(work, 'image'), mount);
        mounted = true;
        for (const line of out.slice(0, out.lastIndexOf('\n')).split('\n')) {
          const [partition, offset, number] = line.split(' ').map(Number);
          const key = `${partition}:${offset}`;
          expect(acknowledged.has(key), `offset ${key} was given twice`).toBe(false);
          acknowledged.set(key, number!);
        }
        const store = await openLevelStore(directory);
        const log = await openOn(store);
        const found = new Map<string, number>();
        for (const partition of log.topic('t')!.partitions) {
          for (const value of await valuesOf(partition)) {
            const [offset, text] = value.split(':');
            found.set(`${partition.index}:${offset}`, Number(text!.split(' ')[0]));
          }
        }
        for (const [key, number] of acknowledged) expect(found.get(key), key).toBe(number);
        for await (const entry of log.ledger.entries()) throw new Error(`in the ledger: ${JSON.stringify(entry)}`);
        await log.close();
        expect((await checkStore(store)).problems).toEqual([]);
        await store.close();
      }
      expect(acknowledged.size).toBeGreaterThan(1_000);
    } finally {
      if (mounted) run('umount', mount);
      await rm(work, { recursive: true, force: true });
      await rm(scratch, { recursive: true, force: true });
    }
  });
});
