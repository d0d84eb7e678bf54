import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { soundEntries, tableDamage } from '../../src/store/table-check.ts';

const KEYS = 400;
const keyOf = (i: number) => Buffer.from(`key-${String(i).padStart(5, '0')}`);
const textOf = (i: number) => Buffer.from(`value ${i} ${'abc'.repeat(i % 40)}`);

let directory: string;

/** A database whose entries lie in one table; closed. Returns the table's path. */
async function oneTable(compression: boolean): Promise<string> {
  const store = await openLevelStore(directory);
  const database = await store.open('meta', { blockBytes: 1_024, compression });
  const batch = database.batch();
  for (let i = 0; i < KEYS; i++) batch.put(keyOf(i), textOf(i));
  await batch.commit();
  const gone = database.batch();
  gone.del(keyOf(7));
  gone.put(keyOf(8), Buffer.from('newer'));
  await gone.commit();
  await database.compact(Buffer.alloc(1), Buffer.alloc(16, 0xff));
  await database.close();
  await store.close();
  const tables = (await readdir(join(directory, 'meta'))).filter((name) => name.endsWith('.ldb'));
  expect(tables).toHaveLength(1);
  return join(directory, 'meta', tables[0]!);
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at < 0 ? bytes.length + at : at]! ^= 1;
  await writeFile(path, bytes);
}

describe('a sorted table of LevelDB', () => {
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'headwater-table-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it.each([true, false])(
    'is sound as LevelDB wrote it, and its entries can be read without it (snappy: %s)',
    async (s) => {
      const path = await oneTable(s);
      expect(await tableDamage(path)).toBeNull();
      const entries = await soundEntries(path);
      expect(entries.map(({ key }) => String(key))).toEqual(
        Array.from({ length: KEYS }, (_, i) => String(keyOf(i))).filter((_, i) => i !== 7),
      );
      const found = new Map(entries.map(({ key, value }) => [String(key), String(value)]));
      expect(found.get('key-00008')).toBe('newer');
      expect(found.get('key-00009')).toBe(String(textOf(9)));
    },
  );

  it.each([
    ['in the first block', 40, /checksum of the block at 0/],
    ['in the index', -60, /checksum|number without an end|reaches beyond/],
    ['in the footer', -1, /footer/],
  ])('with a bit flipped %s is named as damaged', async (_where, at, what) => {
    const path = await oneTable(true);
    await flip(path, at);
    expect(await tableDamage(path)).toMatch(what);
  });

  it('that was cut, emptied, or has something behind it is named as damaged', async () => {
    const path = await oneTable(true);
    const whole = await readFile(path);
    for (const content of [
      Buffer.alloc(0),
      whole.subarray(0, 30),
      whole.subarray(0, -10),
      Buffer.concat([whole, whole]).subarray(0, -3),
    ]) {
      await writeFile(path, content);
      expect(await tableDamage(path)).not.toBeNull();
      expect(Array.isArray(await soundEntries(path))).toBe(true);
    }
  });

  it('with a damaged block is refused before LevelDB aborts on it; a repair keeps what the other blocks hold', async () => {
    const path = await oneTable(true);
    await flip(path, 40);
    const store = await openLevelStore(directory);
    try {
      await expect(store.open('meta', { mustExist: true })).rejects.toMatchObject({
        code: 'STORE_FAILED',
        message: expect.stringMatching(/is corrupted: the checksum of the block at 0/),
      });
      await store.repair('meta');
      const database = await store.open('meta', { mustExist: true });
      expect(await database.get(keyOf(0))).toBeUndefined();
      for (const i of [200, KEYS - 1]) expect(String(await database.get(keyOf(i)))).toBe(String(textOf(i)));
      await database.close();
      const shelf = await readdir(join(directory, 'quarantine'));
      expect(shelf.map((name) => name.replace(/\d{6}/, 'N')).sort()).toEqual(['meta-N-ldb.1', 'meta-N-ldb.1.txt']);
    } finally {
      await store.close();
    }
  });
});
