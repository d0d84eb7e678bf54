import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkStore } from '../../src/log/check.ts';
import { dumpStore } from '../../src/log/dump.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { withSnapshot } from '../../src/store/snapshot.ts';
import { append, openOn, topicSpec } from '../log/records.ts';

/** Sizes of all files of the slices. */
async function sizes(directory: string): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const name of (await readdir(directory)).filter((entry) => entry.startsWith('slice-'))) {
    for (const file of await readdir(join(directory, name))) {
      found.set(`${name}/${file}`, (await stat(join(directory, name, file))).size);
    }
  }
  return found;
}

describe('a look at a data directory that is written to', () => {
  it('finds it sound, with everything that was acknowledged before, and leaves nothing behind', {
    timeout: 120_000,
  }, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'headwater-look-'));
    const store = await openLevelStore(directory);
    const log = await openOn(store, { writeBufferBytes: 12_000, sliceBytes: 40_000 });
    const [partition] = (await log.createTopic(topicSpec('t'))).partitions;
    let writing = true;
    let acknowledged = 0;
    const writer = (async () => {
      while (writing) {
        await append(partition!, `v${acknowledged} ${'x'.repeat(300)}`);
        acknowledged++;
      }
    })();
    try {
      for (let look = 1; look <= 3; look++) {
        while (acknowledged < look * 200) await new Promise((resolve) => setImmediate(resolve));
        const before = acknowledged;
        await withSnapshot(directory, async (copy) => {
          const copied = await openLevelStore(copy);
          expect((await checkStore(copied)).problems).toEqual([]);
          let end = 0;
          for await (const batch of dumpStore(copied)) {
            expect(batch.damage).toBeNull();
            end = Math.max(end, batch.lastOffset + 1);
          }
          expect(end).toBeGreaterThanOrEqual(before);
          await copied.close();
        });
      }
    } finally {
      writing = false;
      await writer;
    }
    expect((await readdir(directory)).filter((name) => name.startsWith('.'))).toEqual([]);
    await log.close();
    const after = await sizes(directory);
    await store.close();
    for (const [file, size] of after) if (file.endsWith('.ldb')) expect(size, file).toBeGreaterThan(100);
    // What a tool left that was killed goes at the next start.
    await mkdir(join(directory, '.look-abc'));
    const again = await openLevelStore(directory);
    expect((await checkStore(again)).problems).toEqual([]);
    await again.close();
    expect(await readdir(directory)).not.toContain('.look-abc');
    await rm(directory, { recursive: true });
  });
});
