import { describe, expect, it } from 'vitest';
import { MemoryDisk } from '../../src/store/memory.ts';
import { Machine } from './harness.ts';

const LOG = '/var/log/app.log';
const numbered = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `line ${from + i}`);
const text = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('');

async function machine(settings: ConstructorParameters<typeof Machine>[0] = {}): Promise<Machine> {
  const one = new Machine(settings);
  one.files.write(LOG, text(numbered(0, 3)));
  await one.start();
  await one.quiet();
  return one;
}

describe('a tail source', () => {
  it('stores every whole line as bytes, with its file as a header, and waits for the end of the last one', async () => {
    const one = await machine();
    one.files.write(LOG, 'half');
    await one.quiet();
    expect(await one.values()).toEqual(numbered(0, 3));
    one.files.write(LOG, ' done\n');
    await one.quiet();
    expect(await one.values()).toEqual([...numbered(0, 3), 'half done']);
    expect((await one.lines())[0]!.headers).toEqual({ path: LOG });
    expect(one.sources!.status()).toEqual([
      { name: 'app', state: 'waiting', topic: 'lines', files: 1, backlogBytes: 0, lastError: null },
    ]);
    await one.stop();
    expect(one.files.opened).toBe(0);
  });

  it('goes on where it was after a stop', async () => {
    const one = await machine();
    await one.stop();
    one.files.write(LOG, text(numbered(3, 5)));
    await one.start();
    await one.quiet();
    expect(await one.values()).toEqual(numbered(0, 5));
    await one.stop();
  });

  it('reads a rotated file to its end before the one that took its name, and what its writer adds late', async () => {
    const one = await machine();
    const late = one.files.writer(LOG);
    one.files.write(LOG, text(numbered(3, 5)));
    one.files.rename(LOG, `${LOG}.1`);
    one.files.write(LOG, text(numbered(5, 7)));
    await one.pass(1_000);
    expect(await one.values()).toEqual(numbered(0, 7));
    late('late\nno end');
    await one.pass(2_000);
    expect(await one.values()).toEqual([...numbered(0, 7), 'late']);
    await one.pass(10_000);
    expect(await one.values()).toEqual([...numbered(0, 7), 'late', 'no end']);
    expect(one.files.opened).toBe(1);
    await one.stop();
  });

  it('does not read a rotated file again that its pattern matches under the new name too', async () => {
    const one = await machine({ paths: ['/var/log/app.log*'] });
    one.files.rename(LOG, `${LOG}.1`);
    one.files.write(LOG, text(numbered(3, 5)));
    await one.quiet();
    await one.pass(120_000);
    expect(one.files.opened).toBe(0);
    one.files.write(LOG, text(numbered(5, 6)));
    await one.quiet();
    await one.stop();
    await one.start();
    await one.quiet();
    expect(await one.values()).toEqual(numbered(0, 6));
    await one.stop();
  });

  it('finds a file that was rotated while it was not running, reads its rest first, and tells when it is gone', async () => {
    const one = await machine();
    await one.stop();
    one.files.write(LOG, text(numbered(3, 5)));
    one.files.rename(LOG, '/var/log/old-app');
    one.files.write(LOG, text(numbered(5, 7)));
    await one.start();
    await one.quiet();
    expect(await one.values()).toEqual(numbered(0, 7));
    await one.stop();
    one.files.remove(LOG, false);
    await one.start();
    await one.quiet();
    expect(one.count('vanished_files')).toBe(1);
    await one.stop();
  });

  it('reads a file with an inode that was another one', async () => {
    const one = await machine();
    one.files.remove(LOG);
    one.files.write(LOG, 'another file\n');
    // It holds the old one open: as on a real file system, the number cannot be given away as long. After a stop it can.
    await one.stop();
    await one.start();
    await one.quiet();
    expect(await one.values()).toEqual([...numbered(0, 3), 'another file']);
    await one.stop();
  });

  it('sees copytruncate when the file is shorter, or as long and begins otherwise', async () => {
    const one = await machine();
    one.files.truncate(LOG);
    one.files.write(LOG, 'new\n');
    await one.quiet();
    expect(one.count('truncations')).toBe(1);
    one.files.truncate(LOG);
    one.files.write(LOG, text(numbered(90, 99)));
    await one.quiet();
    expect(one.count('truncations')).toBe(2);
    expect(await one.values()).toEqual([...numbered(0, 3), 'new', ...numbered(90, 99)]);
    await one.stop();
  });

  it('begins at the end of the files it finds first when told so, at the beginning of later ones', async () => {
    const one = await machine({ 'start.at': 'end', paths: ['/var/log/*.log'] });
    expect(one.log!.topic('lines')).toBeUndefined();
    one.files.write(LOG, 'fresh\n');
    one.files.write('/var/log/other.log', 'other\n');
    await one.quiet();
    expect((await one.values()).sort()).toEqual(['fresh', 'other']);
    await one.stop();
  });

  it('completes a multi-line record when nothing follows for a while, and never joins it differently later', async () => {
    const one = new Machine({ 'multiline.start': '^\\d' });
    one.files.write(LOG, '1 a\n  b\n2 c\n');
    await one.start();
    await one.pass(1_000);
    expect(await one.values()).toEqual(['1 a\n  b']);
    await one.pass(4_000);
    expect(await one.values()).toEqual(['1 a\n  b', '2 c']);
    await one.kill();
    one.files.write(LOG, '  late\n3 d\n');
    await one.start();
    await one.pass(6_000);
    expect(await one.values()).toEqual(['1 a\n  b', '2 c', '  late', '3 d']);
    await one.stop();
  });

  it('takes key and partition from the line, and keeps lines of one key in order', async () => {
    const one = new Machine({ key: '{1}', 'key.pattern': '^device=(\\w+)' });
    const lines = Array.from({ length: 60 }, (_, i) => `device=d${i % 7} n=${i}`);
    one.files.write(LOG, text([...lines, 'no device']));
    await one.start();
    await one.log!.createTopic({ name: 'lines', partitions: 4, config: new Map() }).catch(() => {});
    await one.quiet();
    const stored = await one.lines();
    for (let device = 0; device < 7; device++) {
      const mine = stored.filter(({ key }) => key === `d${device}`);
      expect(mine.map(({ value }) => value)).toEqual(lines.filter((line) => line.startsWith(`device=d${device} `)));
      expect(new Set(mine.map(({ partition }) => partition)).size).toBe(1);
    }
    expect(stored.find(({ value }) => value === 'no device')!.key).toBeNull();
    await one.stop();
  });

  it('waits while the disk is full, loses nothing and stores nothing twice', async () => {
    const one = await machine();
    const faults = Array.from({ length: 6 }, (_, i) => ({ at: i + 1, kind: 'write' as const }));
    one.disk.arm(...faults.map((fault, i) => ({ ...fault, code: i < 3 ? 'DISK_FULL' : 'STORE_FAILED' }) as const));
    one.files.write(LOG, text(numbered(3, 50)));
    await one.pass(2_000);
    expect(one.sources!.status()[0]!.state).toBe('failing');
    expect(one.count('failures')).toBeGreaterThan(0);
    await one.pass(10_000);
    await one.quiet();
    expect(await one.values()).toEqual(numbered(0, 50));
    await one.stop();
  });

  it('says which file it may not read, goes on with the others, and reads it when it may', async () => {
    const one = new Machine({ paths: ['/var/log/*.log'] });
    one.files.write(LOG, 'a\n');
    one.files.write('/var/log/secret.log', 'b\n');
    one.files.forbidden.add('/var/log/secret.log');
    await one.start();
    await one.pass(5_000);
    expect(await one.values()).toEqual(['a']);
    expect(one.sources!.status()[0]).toMatchObject({ state: 'failing' });
    expect(one.sources!.status()[0]!.lastError).toContain('/var/log/secret.log cannot be read');
    one.files.forbidden.clear();
    await one.quiet();
    expect(await one.values()).toEqual(['a', 'b']);
    expect(one.sources!.status()[0]).toMatchObject({ state: 'waiting', lastError: null });
    await one.stop();
  });

  it('goes on where it was with other settings after a reload, and stops reading while paused', async () => {
    const one = await machine();
    await one.reload({ paused: true });
    one.files.write(LOG, `${'x'.repeat(100)}\n`);
    await one.pass(3_000);
    expect(await one.values()).toEqual(numbered(0, 3));
    await one.reload({ paused: false, 'record.max.bytes': 64, headers: ['file', 'source', 'position'] });
    await one.quiet();
    const lines = await one.lines();
    expect(lines.slice(3).map(({ value }) => value.length)).toEqual([64, 36]);
    expect(lines[4]!.headers).toEqual({ file: 'app.log', source: 'app', position: '85' });
    expect(one.count('cut_records')).toBe(1);
    await one.stop();
  });

  it('begins again in a topic that was deleted', async () => {
    const one = await machine();
    await one.log!.deleteTopic('lines');
    one.files.write(LOG, text(numbered(3, 5)));
    await one.quiet();
    expect(await one.values()).toEqual(numbered(3, 5));
    await one.kill();
    await one.start();
    await one.quiet();
    expect(await one.values()).toEqual(numbered(3, 5));
    await one.stop();
  });
});

/** Numbers in [0, 1) from a seed. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('rotation, growth and power cuts in any order', () => {
  for (let seed = 1; seed <= 12; seed++) {
    it(`store every line once, in order per file (seed ${seed})`, async () => {
      const random = seeded(seed * 7_919);
      const disk = new MemoryDisk({ schedule: setImmediate, random });
      const one = new Machine(
        {
          paths: ['/var/log/app*'],
          key: '{1}',
          'key.pattern': '(\\d)$',
          'record.max.bytes': 64,
          ...(seed % 2 === 0 && { 'multiline.start': '^line' }),
        },
        disk,
      );
      await one.start();
      await one.log!.createTopic({ name: 'lines', partitions: 3, config: new Map() });
      const written: string[] = [];
      let rotations = 0;
      let kills = 0;
      let write: ((text: string) => void) | null = null;
      for (let step = 0; step < 120; step++) {
        const dice = random();
        if (dice < 0.6 || write === null) {
          const lines = Array.from({ length: 1 + Math.floor(random() * 40) }, () => {
            const line = `line ${written.length}`;
            written.push(line);
            return line;
          });
          if (write === null) {
            one.files.write(LOG, text(lines));
            write = one.files.writer(LOG);
          } else write(text(lines));
        } else if (dice < 0.7) {
          rotations++;
          one.files.rename(LOG, `/var/log/app.${rotations}`);
          write = null;
        } else if (dice < 0.85) {
          kills++;
          await one.kill();
          await one.start();
        } else {
          // Not to the end: the next thing comes while it is at work.
          one.clock.advance(250);
          for (let turn = Math.floor(random() * 12); turn > 0; turn--) await new Promise((next) => setImmediate(next));
        }
        if (random() < 0.5) one.clock.advance(random() * 2_000);
        for (let turn = Math.floor(random() * 6); turn > 0; turn--) await new Promise((next) => setImmediate(next));
      }
      await one.quiet(8_000);
      const stored = await one.values();
      expect(kills).toBeGreaterThan(5);
      expect([...stored].sort()).toEqual([...written].sort());
      const ofFile = new Map<string, number[]>();
      for (const { value, headers, partition } of await one.lines()) {
        const group = `${headers['path']} ${partition}`;
        ofFile.set(group, [...(ofFile.get(group) ?? []), Number(value.slice(5))]);
      }
      for (const numbers of ofFile.values()) expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
      await one.stop();
    });
  }
});
