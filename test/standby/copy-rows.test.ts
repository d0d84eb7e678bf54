/** A pair as far as rows go: two metadata databases, and pages of the one asked for by the other. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { CopyRows, type StateSource } from '../../src/standby/copy-rows.ts';
import { copiedRows, PairRows, type PairRowsBounds, type RowsRequest } from '../../src/standby/pair-rows.ts';
import { type MetaPrefix, metaKey } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import type { MetaStore } from '../../src/store/meta.ts';
import { GroupCommitMetaStore } from '../../src/store/meta-store.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';

const BOUNDS: PairRowsBounds = { pageBytes: 300, changesMaxBytes: 1_000 };
const NOTHING = new Uint8Array(0);

async function openMeta(): Promise<MetaStore> {
  const store = await new MemoryDisk().mount();
  const open = () => store.open('meta', {});
  return new GroupCommitMetaStore(await open(), open);
}

let leaderMeta: MetaStore;
let leader: PairRows;
let followerMeta: MetaStore;
let writes: number;
let copy: CopyRows;
let asked: RowsRequest[];

/** What the leader's handler makes of a page. */
const source = {
  serves: () => true,
  send: async (_api: unknown, request: RowsRequest) => {
    asked.push(request);
    const page = await leader.page(request);
    return page === null
      ? { errorCode: KAFKA_ERROR.OFFSET_OUT_OF_RANGE, instance: '', through: -1, complete: false, rows: [] }
      : { errorCode: 0, ...page };
  },
} as unknown as StateSource;

function begin(): void {
  leader = new PairRows(leaderMeta, systemEnv.random, BOUNDS);
}

beforeEach(async () => {
  leaderMeta = await openMeta();
  const meta = await openMeta();
  writes = 0;
  followerMeta = {
    get: (key) => meta.get(key),
    entries: (range) => meta.entries(range),
    write: (operations) => {
      writes += operations.length;
      return meta.write(operations);
    },
    close: () => meta.close(),
  };
  asked = [];
  begin();
  copy = new CopyRows(followerMeta);
});

const put = (prefix: MetaPrefix, name: string, size: number) =>
  leader.write([{ key: metaKey(prefix, name), value: Buffer.alloc(size, name) }]);

async function contentOf(meta: MetaStore): Promise<string[]> {
  const rows: string[] = [];
  for await (const { key, value } of copiedRows(meta, NOTHING)) {
    rows.push(`${Buffer.from(key).toString('hex')}=${Buffer.from(value).toString('hex')}`);
  }
  return rows;
}

async function settle(): Promise<void> {
  for (let pass = 0; pass < 50; pass++) {
    const before = asked.length;
    await copy.run(source);
    if (copy.complete && asked.length === before + 1) return;
  }
  throw new Error('the copy does not come to an end');
}

const same = async () => expect(await contentOf(followerMeta)).toEqual(await contentOf(leaderMeta));

describe('the rows of a pair', () => {
  it('are copied page by page, and of what is the same nothing is written again', async () => {
    for (let i = 0; i < 20; i++) await put(i % 2 === 0 ? 'session' : 'retained', `name-${i}`, 100);
    await put('quota', 'user', 2_000);
    await settle();
    await same();
    expect(writes).toBe(21);
    expect(asked.length).toBeGreaterThan(6);
    copy = new CopyRows(followerMeta);
    await settle();
    expect(writes).toBe(21);
  });

  it('are those of MQTT and quotas only', async () => {
    await leader.write([{ key: metaKey('partition', 3), value: Buffer.from('of the leader') }]);
    await put('session', 'a', 10);
    await followerMeta.write([{ key: metaKey('partition', 3), value: Buffer.from('of the follower') }]);
    await settle();
    await same();
    expect(String(await followerMeta.get(metaKey('partition', 3)))).toBe('of the follower');
    const foreign = {
      serves: () => true,
      send: async () => ({
        errorCode: 0,
        instance: 'x',
        through: 1,
        complete: true,
        rows: [{ key: metaKey('partition', 3), value: null }],
      }),
    } as unknown as StateSource;
    await expect(new CopyRows(followerMeta).run(foreign)).rejects.toThrow(/a row of its own/);
    expect(await followerMeta.get(metaKey('partition', 3))).toBeDefined();
  });

  it('lose at the follower what the leader has not: it led before', async () => {
    await followerMeta.write([
      { key: metaKey('session', 'info', 'old'), value: Buffer.from('1') },
      { key: metaKey('retained', 'zzz'), value: Buffer.from('2') },
    ]);
    await put('retained', 'm', 10);
    await settle();
    await same();
    expect(await contentOf(followerMeta)).toHaveLength(1);
  });

  it('follow changes and removals without being asked for as a whole', async () => {
    await put('session', 'a', 10);
    await settle();
    const before = asked.length;
    await put('session', 'a', 20);
    await put('session', 'b', 20);
    await leader.write([{ key: metaKey('session', 'a'), value: null }]);
    await settle();
    await same();
    expect(asked.slice(before).every(({ since }) => since >= 0)).toBe(true);
    // What the follower has is noted no more.
    await copy.run(source);
    expect(leader.changesBytes).toBe(0);
  });

  it('are asked for as a whole when more changed than is noted, and noted within the bound', async () => {
    await settle();
    for (let i = 0; i < 100; i++) {
      await put('session', `name-${i}`, 10);
      expect(leader.changesBytes).toBeLessThanOrEqual(BOUNDS.changesMaxBytes);
    }
    const before = asked.length;
    await settle();
    await same();
    expect(asked.slice(before).some(({ since }) => since === -1)).toBe(true);
  });

  it('come to be the same whatever changes between two pages, at whichever process of the leader', async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), name: fc.nat(30), size: fc.nat(150) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('del' as const), name: fc.nat(30) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('pass' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('follower' as const) }) },
    );
    const prefixes: MetaPrefix[] = ['quota', 'retained', 'session'];
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
        leaderMeta = await openMeta();
        followerMeta = await openMeta();
        begin();
        copy = new CopyRows(followerMeta);
        for (const one of steps) {
          if (one.kind === 'put') await put(prefixes[one.name % 3]!, `n${one.name}`, one.size);
          else if (one.kind === 'del') {
            await leader.write([{ key: metaKey(prefixes[one.name % 3]!, `n${one.name}`), value: null }]);
          } else if (one.kind === 'pass') {
            // While it runs, something changes.
            await Promise.all([copy.run(source), put('retained', 'meanwhile', steps.length)]);
          } else if (one.kind === 'restart') begin();
          else copy = new CopyRows(followerMeta);
        }
        await settle();
        await same();
      }),
      { numRuns: 150 },
    );
  });
});
