import { describe, expect, it } from 'vitest';
import { checkStore } from '../../src/log/check.ts';
import { EndStamps, parseStamps, STAMP_INTERVAL_MS } from '../../src/log/end-stamps.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import type { LedgerEntry } from '../../src/log/ledger.ts';
import { DAMAGE_SKIP_OFFSETS } from '../../src/log/placement.ts';
import { silentLogger } from '../../src/logger.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { append, openOnDisk, TestClock, topicSpec, valuesOf } from './records.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

async function ledgerOf(log: HeadwaterLog): Promise<LedgerEntry[]> {
  const entries: LedgerEntry[] = [];
  for await (const entry of log.ledger.entries()) entries.push(entry);
  return entries;
}

/** Keeps what the process wrote, synced or not: it was killed, the machine was not. */
function kill(disk: MemoryDisk): void {
  const scratch = new Map([...disk.scratch].map(([name, { bytes }]) => [name, bytes]));
  disk.crash();
  for (const [name, bytes] of scratch) disk.scratch.get(name)!.bytes = bytes;
}

async function lifeWith(values: number, disk: MemoryDisk): Promise<void> {
  const clock = new TestClock();
  const log = await openOnDisk(disk, {}, clock);
  const topic = await log.createTopic(topicSpec('t', 2));
  for (let i = 0; i < values; i++) await append(topic.partitions[0]!, `v${i}`);
  await append(topic.partitions[1]!, 'w0');
  clock.advance(STAMP_INTERVAL_MS);
  for (let i = 0; i < 5; i++) await turn();
  kill(disk);
}

/** What a disk does that says "synced" and forgets: the last `count` batches are gone. */
function cutEnd(disk: MemoryDisk, count: number): void {
  const table = disk.tables.get('slice-0000000001')!;
  const of0 = table.keys.filter((key) => key.readUInt32BE(4) === 0);
  for (const key of of0.slice(-count)) table.apply({ key, value: null });
}

describe('stamps of log ends', () => {
  it('are there at once after a pause, and otherwise ten times a second', async () => {
    const disk = new MemoryDisk();
    const store = disk.mount();
    const clock = new TestClock();
    const { stamps, found } = await EndStamps.load(store, clock, silentLogger);
    expect(found.size).toBe(0);
    const partition = { id: 7, logEndOffset: 1, highWatermark: 1, replicated: false, cutBefore: 0, stampQueued: false };
    const stored = () => parseStamps(disk.scratch.get('ends')!.bytes).get(7);
    stamps.note(partition);
    await turn();
    await turn();
    expect(stored()).toMatchObject({ end: 1, highWatermark: 1 });
    partition.logEndOffset = 5;
    stamps.note(partition);
    await turn();
    expect(stored()).toMatchObject({ end: 1 });
    clock.advance(STAMP_INTERVAL_MS);
    await turn();
    expect(stored()).toMatchObject({ end: 5, highWatermark: 1 });
    partition.logEndOffset = 6;
    stamps.note(partition);
    await stamps.close();
    expect(stored()).toMatchObject({ end: 6 });
  });

  it('give slots of partitions that are gone to new ones, and take a damaged slot for none', async () => {
    const disk = new MemoryDisk();
    const store = disk.mount();
    const { stamps } = await EndStamps.load(store, new TestClock(), silentLogger);
    for (let id = 0; id < 300; id++) {
      stamps.note({ id, logEndOffset: id + 1, highWatermark: 0, replicated: false, cutBefore: 0, stampQueued: false });
    }
    await turn();
    await turn();
    for (let id = 0; id < 299; id++) stamps.forget(id);
    for (let id = 1_000; id < 1_299; id++) {
      stamps.note({ id, logEndOffset: 9, highWatermark: 9, replicated: false, cutBefore: 0, stampQueued: false });
    }
    await stamps.close();
    const { bytes } = disk.scratch.get('ends')!;
    expect(bytes.length).toBe(3 * 4096);
    const found = parseStamps(bytes);
    expect([...found.keys()].sort((a, b) => a - b)).toEqual([299, ...Array.from({ length: 299 }, (_, i) => 1_000 + i)]);
    const { slot } = found.get(299)!;
    bytes[slot * 32 + 20]! ^= 1;
    expect(parseStamps(bytes).has(299)).toBe(false);
  });
});

describe('a log whose end is gone', () => {
  it('gives no offset again, and has exactly what is missing in its ledger, once', async () => {
    const disk = new MemoryDisk();
    await lifeWith(10, disk);
    cutEnd(disk, 4);
    expect((await checkStore(disk.mount())).problems).toEqual([
      { where: 't-0', what: 'offsets up to 9 were given, the log ends at 6' },
    ]);
    kill(disk);
    for (let start = 0; start < 3; start++) {
      const log = await openOnDisk(disk);
      const [partition, other] = log.topic('t')!.partitions;
      expect(await valuesOf(partition!)).toHaveLength(6 + start);
      expect(await valuesOf(other!)).toEqual(['0:w0']);
      expect(await ledgerOf(log)).toMatchObject([
        { partition: 0, firstOffset: 6, lastOffset: 9, reason: 'corruption: records are missing' },
        {
          partition: 0,
          firstOffset: 10,
          lastOffset: 9 + DAMAGE_SKIP_OFFSETS,
          reason: expect.stringMatching(/^skipped/),
        },
      ]);
      expect(partition!.leaderEpoch).toBeGreaterThan(start);
      expect(await append(partition!, 'next')).toBe(10 + DAMAGE_SKIP_OFFSETS + start);
      kill(disk);
    }
  });

  it('with the newest slice in quarantine knows what it held, and skips nothing after a clean stop', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
    for (let i = 0; i < 10; i++) await append(partition, `v${i}`);
    await log.close();
    disk.crash();
    disk.tables.get('slice-0000000001')!.unreadable = true;

    const again = await openOnDisk(disk);
    expect(await ledgerOf(again)).toMatchObject([
      { firstOffset: 0, lastOffset: 9, reason: expect.stringMatching(/^corruption: slice-0000000001 quarantined/) },
    ]);
    expect(await append(again.topic('t')!.partitions[0]!, 'next')).toBe(10);
    await again.close();
  });

  it('skips offsets that may have been given when the stop was none', async () => {
    const disk = new MemoryDisk();
    await lifeWith(10, disk);
    disk.tables.get('slice-0000000001')!.unreadable = true;
    const log = await openOnDisk(disk);
    expect((await ledgerOf(log)).filter(({ partition }) => partition === 0)).toMatchObject([
      { firstOffset: 0, lastOffset: 9, reason: expect.stringMatching(/^corruption/) },
      { firstOffset: 10, lastOffset: 9 + DAMAGE_SKIP_OFFSETS, reason: expect.stringMatching(/^skipped/) },
    ]);
    await log.close();
  });

  it('starts all the same where the stamps are damaged', async () => {
    const disk = new MemoryDisk();
    await lifeWith(10, disk);
    disk.scratch.get('ends')!.bytes.fill(0xa5);
    const log = await openOnDisk(disk);
    expect(await valuesOf(log.topic('t')!.partitions[0]!)).toHaveLength(10);
    expect(await ledgerOf(log)).toEqual([]);
    await log.close();
  });
});

describe('the high watermark', () => {
  it('is the log end after a kill where no replica is waited for, however old the stamp is', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk, {}, new TestClock());
    const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
    await append(partition, 'a');
    for (let i = 0; i < 5; i++) await turn();
    for (const value of ['b', 'c']) await append(partition, value);
    kill(disk);
    expect(parseStamps(disk.scratch.get('ends')!.bytes).get(partition.id)).toMatchObject({ end: 1, highWatermark: 1 });

    const again = await openOnDisk(disk);
    const same = again.topic('t')!.partitions[0]!;
    expect([same.highWatermark, same.logEndOffset]).toEqual([3, 3]);
    await again.close();
  });

  it('is where it was after a restart, until the replica that was in sync is back or its time is over', async () => {
    for (const back of [true, false]) {
      const disk = new MemoryDisk();
      const log = await openOnDisk(disk);
      const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
      const replica = partition.addReplica(2, 10_000);
      await append(partition, 'a');
      replica.advance(1);
      expect(replica.inSync).toBe(true);
      for (const value of ['b', 'c']) await append(partition, value);
      expect([partition.highWatermark, partition.logEndOffset]).toEqual([1, 3]);
      await log.close();
      kill(disk);

      const clock = new TestClock();
      const again = await openOnDisk(disk, {}, clock);
      const same = again.topic('t')!.partitions[0]!;
      expect([same.highWatermark, same.logEndOffset]).toEqual([1, 3]);
      await append(same, 'd');
      expect(same.highWatermark).toBe(1);
      if (back) {
        const again2 = same.addReplica(2, 10_000);
        expect(same.highWatermark).toBe(1);
        again2.advance(4);
      } else clock.advance(30_000);
      expect(same.highWatermark).toBe(4);
      await again.close();
    }
  });
});
