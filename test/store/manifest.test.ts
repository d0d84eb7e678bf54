import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { liveTables } from '../../src/store/manifest.ts';
import { crc32c } from '../../src/wire/batch/crc32c.ts';

let directory: string;

/** A closed database with some tables. Returns its directory. */
async function someTables(): Promise<string> {
  const store = await openLevelStore(directory);
  const database = await store.open('meta', { writeBufferBytes: 64 * 1024 });
  for (let i = 0; i < 40; i++) {
    const batch = database.batch();
    batch.put(Buffer.from(`key-${i}`), Buffer.alloc(20_000, i));
    await batch.commit();
  }
  await database.close();
  await store.close();
  return join(directory, 'meta');
}

async function manifestOf(path: string): Promise<string> {
  return join(path, (await readFile(join(path, 'CURRENT'), 'latin1')).trim());
}

/** A record in fragments, as LevelDB lays it over its pages. */
function laid(record: Buffer): Buffer {
  const pages: Buffer[] = [];
  for (let from = 0; from < record.length; ) {
    const to = Math.min(record.length, from + 32 * 1024 - 7);
    const type = from === 0 ? (to === record.length ? 1 : 2) : to === record.length ? 4 : 3;
    const fragment = Buffer.concat([Buffer.alloc(6), Buffer.from([type]), record.subarray(from, to)]);
    const crc = crc32c(fragment, 6, fragment.length);
    fragment.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0, 0);
    fragment.writeUInt16LE(to - from, 4);
    pages.push(fragment);
    from = to;
  }
  return Buffer.concat(pages);
}

describe('the live tables of a LevelDB database', () => {
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'headwater-manifest-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('are those that LevelDB left behind when it closed', async () => {
    const path = await someTables();
    const tables = (await readdir(path))
      .filter((name) => name.endsWith('.ldb'))
      .map((name) => Number.parseInt(name, 10));
    expect(tables.length).toBeGreaterThan(1);
    expect([...(await liveTables(path))!.keys()].sort((a, b) => a - b)).toEqual(tables.sort((a, b) => a - b));
  });

  it('do not hold what a kill left half written: it is no damage', async () => {
    const path = await someTables();
    for (const [name, bytes] of [
      ['000900.ldb', 0],
      ['000901.ldb', 5_000],
    ] as const) {
      await writeFile(join(path, name), Buffer.alloc(bytes, 7));
    }
    const store = await openLevelStore(directory);
    const database = await store.open('meta', {});
    expect((await database.get(Buffer.from('key-39')))?.length).toBe(20_000);
    await database.close();
    await store.close();
  });

  it('are refused to be opened when one of them is damaged', async () => {
    const path = await someTables();
    const [table] = (await readdir(path)).filter((name) => name.endsWith('.ldb'));
    await writeFile(join(path, table!), '');
    const store = await openLevelStore(directory);
    await expect(store.open('meta', {})).rejects.toMatchObject({ code: 'STORE_FAILED' });
    await store.close();
  });

  it('are unknown where the MANIFEST is damaged or gone, and known up to where it was cut', async () => {
    const path = await someTables();
    const manifest = await manifestOf(path);
    const bytes = await readFile(manifest);
    const all = (await liveTables(path))!.size;
    await writeFile(manifest, Buffer.concat([bytes, Buffer.alloc(100)]));
    expect((await liveTables(path))!.size).toBe(all);
    await writeFile(manifest, bytes.subarray(0, bytes.length - 1));
    expect((await liveTables(path))!.size).toBeLessThanOrEqual(all);
    const flipped = Buffer.from(bytes);
    flipped[bytes.length - 1]! ^= 1;
    await writeFile(manifest, flipped);
    expect(await liveTables(path)).toBeNull();
    await rm(manifest);
    expect(await liveTables(path)).toBeNull();
  });

  it('are read over the pages of a long MANIFEST', async () => {
    const key = Buffer.alloc(20_000, 0x61);
    const edit = Buffer.concat([Buffer.from([0xa0, 0x9c, 0x01]), key]);
    const record = Buffer.concat(
      [5, 6, 7].flatMap((file) => [Buffer.from([7, 0, file, 100]), edit, edit]).concat([Buffer.from([6, 0, 6])]),
    );
    await writeFile(join(directory, 'CURRENT'), 'MANIFEST-000001\n');
    await writeFile(join(directory, 'MANIFEST-000001'), laid(record));
    expect([...(await liveTables(directory))!.keys()]).toEqual([5, 7]);
  });

  it('that changed places are noticed before LevelDB reads them, and a repair loses nothing', async () => {
    const store = await openLevelStore(directory);
    let database = await store.open('meta', { writeBufferBytes: 64 * 1024, compression: false });
    const keys: Buffer[] = [];
    for (let i = 0; i < 40; i++) {
      keys.push(Buffer.from(`key-${String(i).padStart(3, '0')}`));
      const batch = database.batch();
      batch.put(keys[i]!, Buffer.alloc(10_000 + i * 1_000, i));
      await batch.commit();
    }
    await database.close();
    await store.close();
    const path = join(directory, 'meta');
    const names = (await readdir(path)).filter((name) => name.endsWith('.ldb')).sort();
    const [first, last] = [join(path, names[0]!), join(path, names[names.length - 1]!)];
    const [ours, theirs] = [await readFile(first), await readFile(last)];
    expect(ours.length).not.toBe(theirs.length);
    await writeFile(first, theirs);
    await writeFile(last, ours);
    const again = await openLevelStore(directory);
    await expect(again.open('meta', { mustExist: true })).rejects.toThrow(/the MANIFEST means a table of \d+/);
    await again.repair('meta');
    database = await again.open('meta', { mustExist: true });
    for (const [i, key] of keys.entries()) {
      expect((await database.get(key))?.length).toBe(10_000 + i * 1_000);
    }
    await database.close();
    await again.close();
  });
});
