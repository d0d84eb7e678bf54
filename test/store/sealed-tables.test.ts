import { mkdtemp, open as openFile, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { batchKey, chunkRecordKey, OUTSIDE_DATA } from '../../src/store/keys.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { SealedTables } from '../../src/store/sealed-tables.ts';
import type { Database, Entry, Range, Store } from '../../src/store/store.ts';
import { crc32c } from '../../src/wire/batch/crc32c.ts';

const NAME = 'slice-0000000001';
const OPTIONS = { blockBytes: 4096, writeBufferBytes: 1 << 20 };

let directory: string;
let store: Store;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'headwater-sealed-'));
  store = await openLevelStore(directory);
});

afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const sealed = () => store.open(NAME, { ...OPTIONS, mustExist: true, sealed: crc32c });

interface Row {
  readonly partition: number;
  readonly offset: number;
  readonly value: Buffer;
}

/** Chunk by chunk as the slice writer does; the last one stays in LevelDB's log when `forced` says so. */
async function write(chunks: readonly (readonly Row[])[], forced = chunks.length): Promise<void> {
  const database = await store.open(NAME, OPTIONS);
  for (const [i, rows] of chunks.entries()) {
    const batch = database.batch();
    for (const { partition, offset, value } of rows) batch.put(batchKey(i + 1, partition, offset), value);
    batch.put(chunkRecordKey(i + 1), Buffer.from('record'));
    await batch.commit();
    if (i < forced) await database.compact(OUTSIDE_DATA, OUTSIDE_DATA);
  }
  await database.close();
}

async function all(database: Database, range: Range, entries = 1_000, bytes = 1 << 20): Promise<string[]> {
  const scanner = database.scan(range);
  const found: Entry[] = [];
  for (;;) {
    const step = await scanner.next(entries, bytes);
    if (step.length === 0) break;
    found.push(...step);
  }
  await scanner.close();
  return found.map(({ key, value }) => `${Buffer.from(key).toString('hex')}=${Buffer.from(value).toString('base64')}`);
}

const EVERYTHING: Range = { gte: Buffer.alloc(0) };

/** What LevelDB says is in it. */
async function byLevel(range: Range): Promise<string[]> {
  const database = await store.open(NAME, OPTIONS);
  const found = await all(database, range);
  await database.close();
  return found;
}

function rowsOf(count: number, seed: number, bytes: number, compressible = false): Row[] {
  return Array.from({ length: count }, (_, i) => ({
    partition: (i * 7 + seed) % 5,
    offset: i,
    value: compressible
      ? Buffer.from(`{"reading":${i},"unit":"C"}`.repeat(Math.ceil(bytes / 25)))
      : Buffer.from(
          Array.from({ length: bytes }, (_, k) => (Math.imul(i * 131 + k + seed, 2_654_435_761) >>> 13) & 0xff),
        ),
  }));
}

async function tableFiles(): Promise<string[]> {
  const files = await readdir(join(directory, NAME));
  return files.filter((file) => file.endsWith('.ldb')).map((file) => join(directory, NAME, file));
}

describe('a sealed slice read from its tables', () => {
  it('gives the entries that LevelDB gives, whatever the bounds and the steps', async () => {
    const chunks = [rowsOf(300, 1, 100), rowsOf(40, 2, 5_000), rowsOf(400, 3, 200, true), rowsOf(1, 4, 100_000)];
    await write(chunks);
    const expected = await byLevel(EVERYTHING);
    const database = await sealed();
    expect(database).toBeInstanceOf(SealedTables);
    expect(await all(database, EVERYTHING)).toEqual(expected);
    const key = fc
      .tuple(fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 410 }))
      .map(([chunk, partition, offset]) => batchKey(chunk, partition, offset));
    await fc.assert(
      fc.asyncProperty(
        key,
        key,
        fc.boolean(),
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 60_000 }),
        async (a, b, closed, entries, bytes) => {
          const hex = [a.toString('hex'), b.toString('hex')] as const;
          const within = expected.filter((row) => {
            const at = row.slice(0, 32);
            return at >= hex[0] && (closed ? at <= hex[1] : at < hex[1]);
          });
          expect(await all(database, closed ? { gte: a, lte: b } : { gte: a, lt: b }, entries, bytes)).toEqual(within);
        },
      ),
      { numRuns: 60 },
    );
    expect(await database.get(batchKey(2, (7 * 3 + 2) % 5, 3)).then((value) => value?.length)).toBe(5_000);
    expect(await database.get(batchKey(9, 0, 0))).toBeUndefined();
    await database.close();
  });

  it('keeps to the entries and bytes of a step, at least one entry each', async () => {
    await write([rowsOf(50, 1, 97)]);
    const database = await sealed();
    const scanner = database.scan(EVERYTHING);
    expect(await scanner.next(3, 1 << 20)).toHaveLength(3);
    expect(await scanner.next(100, 250)).toHaveLength(3);
    expect(await scanner.next(100, 1)).toHaveLength(1);
    await scanner.close();
    await database.close();
  });

  it('maps nothing into memory', async () => {
    await write([rowsOf(2_000, 1, 400)]);
    const database = await sealed();
    await all(database, EVERYTHING);
    const maps = await readFile('/proc/self/maps', 'utf8').catch(() => '');
    expect(maps).not.toContain(join(directory, NAME));
    await database.close();
  });

  it('leaves what waits in the log of LevelDB to LevelDB', async () => {
    const chunks = [rowsOf(30, 1, 100), rowsOf(30, 2, 100)];
    await write(chunks, 1);
    const database = await sealed();
    expect(database).not.toBeInstanceOf(SealedTables);
    expect(await all(database, EVERYTHING)).toHaveLength(62);
    await database.close();
  });

  it('leaves what was erased after a failed write to LevelDB', async () => {
    const database = await store.open(NAME, OPTIONS);
    const first = database.batch();
    for (const { partition, offset, value } of rowsOf(30, 1, 100)) first.put(batchKey(1, partition, offset), value);
    await first.commit();
    await database.compact(OUTSIDE_DATA, OUTSIDE_DATA);
    const second = database.batch();
    second.del(batchKey(1, 1, 0));
    second.put(chunkRecordKey(1), Buffer.from('record'));
    await second.commit();
    await database.compact(OUTSIDE_DATA, OUTSIDE_DATA);
    await database.close();
    const again = await sealed();
    expect(again).not.toBeInstanceOf(SealedTables);
    const found = await all(again, EVERYTHING);
    expect(found).toHaveLength(30);
    expect(found.some((row) => row.startsWith(batchKey(1, 1, 0).toString('hex')))).toBe(false);
    await again.close();
  });

  it('passes over to LevelDB in the middle of a scan when a block turns out to be odd', async () => {
    await write([rowsOf(400, 1, 300)]);
    const expected = await byLevel(EVERYTHING);
    const database = await sealed();
    const scanner = database.scan(EVERYTHING);
    const before = await scanner.next(20, 4_000);
    // The type byte behind some block in the middle.
    const [path] = await tableFiles();
    const content = await readFile(path!);
    const handle = await openFile(path!, 'r+');
    for (let at = 40_000; at < 60_000; at++) if (content[at] === 0) await handle.write(Buffer.of(0x7f), 0, 1, at);
    await handle.close();
    const rest: Entry[] = [];
    let failure: unknown = null;
    try {
      for (let step = await scanner.next(20, 4_000); step.length > 0; step = await scanner.next(20, 4_000))
        rest.push(...step);
    } catch (error) {
      failure = error;
    }
    // LevelDB has the word: it says that it is corrupt, or gives what it reads. Nothing is given twice or out of order.
    const keys = [...before, ...rest].map((entry) => Buffer.from(entry.key).toString('hex'));
    expect(keys).toEqual([...new Set(keys)].sort());
    expect(keys.length > 20 || failure !== null).toBe(true);
    expect(keys.every((key) => expected.some((row) => row.startsWith(key)))).toBe(true);
    await scanner.close();
    await database.close();
  });

  it('never takes a cut or damaged index for a sound one', async () => {
    await write([rowsOf(300, 1, 300), rowsOf(300, 2, 300)]);
    const expected = await byLevel(EVERYTHING);
    const [path] = await tableFiles();
    const whole = await readFile(path!);
    const { size } = await stat(path!);
    for (const cut of [0, 30, 47, size - 1, size - 50, Math.floor(size / 2)]) {
      await truncate(path!, cut);
      expect(await SealedTables.open(join(directory, NAME), crc32c, () => Promise.reject(new Error()))).toBeNull();
      await writeFile(path!, whole);
    }
    const tail = 2_000;
    for (let i = 0; i < 150; i++) {
      const at = size - 1 - ((i * 37) % tail);
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1 << (i % 8);
      await writeFile(path!, damaged);
      const opened = await SealedTables.open(join(directory, NAME), crc32c, () => Promise.reject(new Error('needed')));
      if (opened === null) continue;
      const found = await all(opened, EVERYTHING).catch(() => null);
      // Values and keys are under the checksums of the batches; no entry is lost without a word.
      if (found !== null) expect(found.length).toBe(expected.length);
      await opened.close();
    }
    await writeFile(path!, whole);
  });
});
