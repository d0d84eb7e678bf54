import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { formatLine } from '../../src/store/format-file.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { GroupCommitMetaStore } from '../../src/store/meta-store.ts';
import type { Database, Entry, Store } from '../../src/store/store.ts';

const bytes = (text: string) => Buffer.from(text);
const text = (entries: readonly Entry[]) =>
  entries.map((entry) => `${Buffer.from(entry.key)}=${Buffer.from(entry.value)}`);

async function fill(database: Database, ...pairs: readonly string[]): Promise<void> {
  const batch = database.batch();
  for (const pair of pairs) {
    const [key, value] = pair.split('=');
    batch.put(bytes(key!), bytes(value!));
  }
  await batch.commit();
}

interface Place {
  open(): Promise<Store>;
  clean(): Promise<void>;
}

async function levelPlace(): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), 'headwater-store-'));
  return { open: () => openLevelStore(directory), clean: () => rm(directory, { recursive: true, force: true }) };
}

async function memoryPlace(): Promise<Place> {
  const disk = new MemoryDisk();
  return { open: async () => disk.mount(), clean: async () => {} };
}

for (const [kind, place] of [
  ['LevelDB', levelPlace],
  ['memory', memoryPlace],
] as const) {
  describe(`the ${kind} store`, () => {
    let clean: (() => Promise<void>)[] = [];

    async function openStore(): Promise<{ store: Store; again: () => Promise<Store> }> {
      const where = await place();
      clean.unshift(where.clean);
      const open = async () => {
        const store = await where.open();
        clean.unshift(() => store.close());
        return store;
      };
      return { store: await open(), again: open };
    }

    afterEach(async () => {
      for (const step of clean) await step();
      clean = [];
    });

    it('returns what was put and undefined for what was not', async () => {
      const { store } = await openStore();
      const database = await store.open('one', {});
      await fill(database, 'a=1', 'b=2');
      expect(await database.get(bytes('a')).then(String)).toBe('1');
      expect(await database.get(bytes('c'))).toBeUndefined();
      await database.close();
    });

    it('scans both ways within inclusive and exclusive bounds', async () => {
      const { store } = await openStore();
      const database = await store.open('one', {});
      await fill(database, 'a=1', 'b=2', 'c=3', 'd=4');
      const all = async (range: Parameters<Database['scan']>[0]) => {
        const scanner = database.scan(range);
        const entries = await scanner.next(100, 1 << 20);
        expect(await scanner.next(100, 1 << 20)).toEqual([]);
        await scanner.close();
        return text(entries);
      };
      expect(await all({ gte: bytes('b'), lte: bytes('c') })).toEqual(['b=2', 'c=3']);
      expect(await all({ gte: bytes('b'), lt: bytes('d') })).toEqual(['b=2', 'c=3']);
      expect(await all({ gte: bytes('b') })).toEqual(['b=2', 'c=3', 'd=4']);
      expect(await all({ gte: bytes('a'), lte: bytes('c'), reverse: true })).toEqual(['c=3', 'b=2', 'a=1']);
      await database.close();
    });

    it('hands a scan out in steps bounded by entries and by bytes, at least one entry each', async () => {
      const { store } = await openStore();
      const database = await store.open('one', {});
      await fill(database, ...Array.from({ length: 50 }, (_, i) => `k${String(i).padStart(2, '0')}=${'v'.repeat(97)}`));
      const scanner = database.scan({ gte: bytes('k') });
      expect(await scanner.next(3, 1 << 20)).toHaveLength(3);
      expect(await scanner.next(100, 250)).toHaveLength(3);
      expect(await scanner.next(100, 1)).toHaveLength(1);
      let rest = 0;
      for (let step = await scanner.next(10, 1 << 20); step.length > 0; step = await scanner.next(10, 1 << 20)) {
        expect(step.length).toBeLessThanOrEqual(10);
        rest += step.length;
      }
      expect(rest).toBe(43);
      await scanner.close();
      await database.close();
    });

    it('applies a batch as a whole, deletions included, and forgets a discarded one', async () => {
      const { store } = await openStore();
      const database = await store.open('one', {});
      await fill(database, 'a=1', 'b=2');
      const batch = database.batch();
      batch.put(bytes('a'), bytes('9'));
      batch.del(bytes('b'));
      expect(batch.count).toBe(2);
      expect(batch.byteLength).toBe(3);
      await batch.commit();
      batch.put(bytes('z'), bytes('1'));
      batch.discard();
      await batch.commit();
      const scanner = database.scan({ gte: bytes('a') });
      expect(text(await scanner.next(9, 999))).toEqual(['a=9']);
      await scanner.close();
      await database.close();
    });

    it('keeps everything over a close and a second start', async () => {
      const { store, again } = await openStore();
      const database = await store.open('one', {});
      await fill(database, 'a=1');
      await store.writeFile('boot', bytes('content'));
      await database.close();
      await store.close();
      const second = await again();
      const reopened = await second.open('one', { mustExist: true });
      expect(await reopened.get(bytes('a')).then(String)).toBe('1');
      expect(await second.readFile('boot').then(String)).toBe('content');
      expect(await second.readFile('other')).toBeUndefined();
      await reopened.close();
    });

    it('refuses a second user of the same directory until the first has closed', async () => {
      const { store, again } = await openStore();
      await expect(again()).rejects.toMatchObject({ code: 'STORE_LOCKED' });
      await store.close();
      await again();
    });

    it('lists, removes and quarantines databases', async () => {
      const { store } = await openStore();
      for (const name of ['one', 'slice-0000000001', 'two']) await (await store.open(name, {})).close();
      expect(await store.list()).toEqual(['one', 'slice-0000000001', 'two']);
      await store.remove('two');
      await store.quarantine('one', 'why');
      expect(await store.list()).toEqual(['slice-0000000001']);
      await expect(store.open('two', { mustExist: true })).rejects.toMatchObject({ code: 'STORE_FAILED' });
    });

    it('knows the free bytes of its place and the size of a database', async () => {
      const { store } = await openStore();
      const database = await store.open('one', {});
      await fill(database, `a=${'x'.repeat(10_000)}`);
      expect(await store.freeBytes()).toBeGreaterThan(0);
      expect(await store.sizeOf('one')).toBeGreaterThan(9_000);
      await database.close();
    });

    it('holds a reserve of the size that was asked for last, over a restart too', async () => {
      const { store, again: reopen } = await openStore();
      expect(await store.reserved()).toBe(0);
      await store.reserve(0);
      for (const size of [300_001, 300_001, 1_000, 600_000]) {
        await store.reserve(size);
        expect(await store.reserved()).toBe(size);
      }
      expect(await store.list()).toEqual([]);
      await store.close();
      const again = await reopen();
      expect(await again.reserved()).toBe(600_000);
      await again.reserve(0);
      expect(await again.reserved()).toBe(0);
    });

    it('lets the metadata store share commits and see its own order', async () => {
      const { store } = await openStore();
      const open = () => store.open('meta', {});
      const meta = new GroupCommitMetaStore(await open(), open);
      const order: number[] = [];
      const writes = Array.from({ length: 100 }, (_, i) =>
        meta.write([{ key: bytes(`k${i % 3}`), value: bytes(String(i)) }]).then(() => order.push(i)),
      );
      await Promise.all(writes);
      expect(order).toEqual(Array.from({ length: 100 }, (_, i) => i));
      expect(await meta.get(bytes('k0')).then(String)).toBe('99');
      await meta.write([
        { key: bytes('k0'), value: null },
        { key: bytes('k1'), value: bytes('x') },
      ]);
      const seen: Entry[] = [];
      for await (const entry of meta.entries({ gte: bytes('k') })) seen.push(entry);
      expect(text(seen)).toEqual(['k1=x', 'k2=98']);
      await meta.close();
      await expect(meta.write([])).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    });
  });
}

describe('the LevelDB store on a damaged directory', () => {
  it('does not start an empty database where CURRENT is lost, and repairs it', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'headwater-store-'));
    const store = await openLevelStore(directory);
    const database = await store.open('one', {});
    await fill(database, 'a=1');
    await database.close();
    await rm(join(directory, 'one', 'CURRENT'));
    await expect(store.open('one', {})).rejects.toMatchObject({ code: 'STORE_FAILED' });
    await store.repair('one');
    const repaired = await store.open('one', {});
    expect(await repaired.get(bytes('a')).then(String)).toBe('1');
    await repaired.close();
    await store.close();
    await rm(directory, { recursive: true });
  });

  it('refuses a directory that a newer version wrote and says so', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'headwater-store-'));
    await (await openLevelStore(directory)).close();
    expect(await readFile(join(directory, 'FORMAT'), 'utf8')).toBe(formatLine(1));
    expect(formatLine(1)).toBe('headwater 1 d005d9c1\n');
    await writeFile(join(directory, 'FORMAT'), formatLine(2));
    await expect(openLevelStore(directory)).rejects.toMatchObject({ code: 'STORE_FORMAT' });
    await writeFile(join(directory, 'FORMAT'), formatLine(1).replace('1', '9'));
    await (await openLevelStore(directory)).close();
    await rm(directory, { recursive: true });
  });

  it('removes a database with all that lies in its directory, and one that is not there', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'headwater-store-'));
    const store = await openLevelStore(directory);
    for (const name of ['one', 'two']) {
      const database = await store.open(name, {});
      await fill(database, 'a=1');
      await database.close();
    }
    await writeFile(join(directory, 'one', 'notes.txt'), 'of somebody else');
    await rm(join(directory, 'two', 'CURRENT'));
    for (const name of ['one', 'two', 'three']) await store.remove(name);
    expect((await readdir(directory)).sort()).toEqual(['FORMAT', 'lock']);
    await store.close();
    await rm(directory, { recursive: true, force: true });
  });

  it('writes the report beside a quarantined database', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'headwater-store-'));
    const store = await openLevelStore(directory);
    await (await store.open('one', {})).close();
    await store.quarantine('one', 'unreadable MANIFEST');
    expect((await readdir(join(directory, 'quarantine'))).sort()).toEqual(['one.1', 'one.1.txt']);
    expect(await readFile(join(directory, 'quarantine', 'one.1.txt'), 'utf8')).toBe('unreadable MANIFEST\n');
    await store.close();
    await rm(directory, { recursive: true });
  });
});

describe('the fake disk', () => {
  it('forgets a commit that was in flight when the power went, and keeps those that were acknowledged', async () => {
    const disk = new MemoryDisk();
    const store = disk.mount();
    const database = await store.open('one', {});
    await fill(database, 'a=1');
    const batch = database.batch();
    batch.put(bytes('b'), bytes('2'));
    void batch.commit();
    disk.crash();
    const after = await disk.mount().open('one', {});
    expect(await after.get(bytes('a')).then(String)).toBe('1');
    expect(await after.get(bytes('b'))).toBeUndefined();
  });

  it('counts the reserve as taken, and gives it back', async () => {
    const disk = new MemoryDisk({ capacityBytes: 1_000 });
    const store = disk.mount();
    await store.reserve(600);
    expect(await store.freeBytes()).toBe(400);
    await expect(store.reserve(1_001)).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(await store.freeBytes()).toBe(1_000);
  });

  it('stays failed after a failed write until the database is reopened, as LevelDB does', async () => {
    const disk = new MemoryDisk();
    const store = disk.mount();
    const database = await store.open('one', {});
    disk.arm({ at: 1, kind: 'write', code: 'DISK_FULL' });
    await expect(fill(database, 'a=1')).rejects.toMatchObject({ code: 'DISK_FULL' });
    await expect(fill(database, 'a=1')).rejects.toMatchObject({ code: 'DISK_FULL' });
    await database.close();
    const reopened = await store.open('one', {});
    await fill(reopened, 'a=1');
  });
});

describe('a data directory', () => {
  it('that is a file is refused by that name', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'headwater-store-')), 'data');
    await writeFile(file, '');
    await expect(openLevelStore(file)).rejects.toThrow(`${file} is not a directory`);
    await expect(openLevelStore(join(file, 'below'))).rejects.toThrow(`${file} is not a directory`);
  });

  it('is made with what is missing above it', async () => {
    const directory = join(await mkdtemp(join(tmpdir(), 'headwater-store-')), 'a', 'b');
    await (await openLevelStore(directory)).close();
    expect(await readdir(directory)).toContain('FORMAT');
  });

  it.runIf(process.platform === 'linux')('is refused at once where the system has no place for one', async () => {
    await expect(openLevelStore('/proc/headwater/data')).rejects.toThrow(
      'cannot create /proc/headwater: the file system of /proc takes no new directories',
    );
  });
});
