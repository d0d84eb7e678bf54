import { describe, expect, it } from 'vitest';
import type { LogOptions } from '../../src/log/log-options.ts';
import {
  givesWay,
  type RetentionLimits,
  retainedFrom,
  sliceAgeLimit,
  worthMoving,
} from '../../src/log/retention-choice.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { append, openOnDisk, TestClock, topicSpec, valuesOf } from './records.ts';

const stretch = (baseOffset: number, bytes: number, maxTimestamp: number) => ({
  lastOffset: baseOffset + 9,
  bytes,
  maxTimestamp,
});
const chosen = (log: readonly ReturnType<typeof stretch>[], logStart: number, limits: RetentionLimits) => {
  const bytes = log.reduce((sum, one) => sum + one.bytes, 0);
  const stretches = {
    length: log.length,
    bytes,
    lastOffset: (i: number) => log[i]!.lastOffset,
    bytesOf: (i: number) => log[i]!.bytes,
    maxTimestamp: (i: number) => log[i]!.maxTimestamp,
  };
  return retainedFrom(stretches, logStart, limits);
};
const log = [stretch(0, 100, 1_000), stretch(10, 100, 2_000), stretch(20, 100, 3_000)];
const open = { ms: -1, bytes: -1, now: 5_000, highWatermark: 30 };

describe('the choice of retention', () => {
  it('keeps everything without limits', () => expect(chosen(log, 0, open)).toBe(0));
  it('lets go what is older than retention.ms, from the front only', () => {
    expect(chosen(log, 0, { ...open, ms: 2_500 })).toBe(20);
    expect(chosen([log[2]!, log[0]!], 0, { ...open, ms: 2_500 })).toBe(0);
    expect(chosen(log, 0, { ...open, ms: 0 })).toBe(30);
  });
  it('lets go nothing by age while the clock is not trusted', () =>
    expect(chosen(log, 0, { ...open, ms: 0, now: null })).toBe(0));
  it('takes the age of what came after for timestamps of a clock that was not set', () => {
    const unset = [stretch(0, 100, 7), stretch(10, 100, 8), stretch(20, 100, 2_000), stretch(30, 100, 4_900)];
    const writtenAt = (timestamp: number) => (timestamp < 1_000 ? null : timestamp);
    const limits = { ...open, highWatermark: 40, writtenAt };
    expect(chosen(unset, 0, { ...limits, ms: 3_500 })).toBe(0);
    expect(chosen(unset, 0, { ...limits, ms: 2_500 })).toBe(30);
    expect(chosen(unset.slice(0, 2), 0, { ...limits, ms: 0 })).toBe(0);
    expect(chosen(unset.slice(0, 2), 0, { ...limits, bytes: 100 })).toBe(10);
  });
  it('keeps at least retention.bytes', () => {
    expect(chosen(log, 0, { ...open, bytes: 200 })).toBe(10);
    expect(chosen(log, 0, { ...open, bytes: 201 })).toBe(0);
    expect(chosen(log, 0, { ...open, bytes: 0 })).toBe(30);
  });
  it('never passes the high watermark', () => expect(chosen(log, 0, { ...open, ms: 0, highWatermark: 25 })).toBe(20));
  it('lets the lowest priority give way, then the oldest, then the largest', () => {
    const candidate = (priority: number, oldest: number, bytes: number) => ({ priority, oldest, bytes });
    expect(givesWay([])).toBe(-1);
    expect(givesWay([candidate(5, 1, 1), candidate(1, 9, 1), candidate(1, 8, 1)])).toBe(2);
    expect(givesWay([candidate(0, 1, 1), candidate(0, 1, 7)])).toBe(1);
  });
  it('moves what is small in a slice, more when space is short', () => {
    expect(worthMoving(24, 100, false)).toBe(true);
    expect(worthMoving(25, 100, false)).toBe(false);
    expect(worthMoving(25, 100, true)).toBe(true);
    expect(worthMoving(0, 100, true)).toBe(false);
  });
  it('closes a slice after an eighth of the shortest retention, ten seconds at least', () => {
    expect(sliceAgeLimit([80_000, 800_000, -1])).toBe(10_000);
    expect(sliceAgeLimit([800_000])).toBe(100_000);
    expect(sliceAgeLimit([])).toBe(Number.POSITIVE_INFINITY);
  });
});

const small: LogOptions = { writeBufferBytes: 8_000, sliceBytes: 20_000 };
const text = (n: number) => `${n} ${'x'.repeat(100)}`;

describe('retention', () => {
  it('forgets by age, gives slices back, and survives a power cut right after', async () => {
    const disk = new MemoryDisk();
    const clock = new TestClock();
    const log = await openOnDisk(disk, small, clock);
    const topic = await log.createTopic(topicSpec('t', 2, { 'retention.ms': '100s' }));
    for (let i = 0; i < 1_000; i++) {
      await append(topic.partitions[i % 2]!, text(i));
      clock.advance(1_000);
    }
    const before = disk.usedBytes;
    const pass = await log.runRetention();
    expect(pass.removedSlices).toBeGreaterThan(3);
    expect(disk.usedBytes).toBeLessThan(before / 3);
    const partition = topic.partitions[0]!;
    expect(partition.logStartOffset).toBeGreaterThan(400);
    expect(partition.logStartOffset).toBeLessThanOrEqual(450);
    const values = await valuesOf(partition);
    expect(values[values.length - 1]).toBe(`499:${text(998)}`);
    disk.crash();
    const again = await openOnDisk(disk, small, clock);
    expect(again.topic('t')!.partitions[0]!.logStartOffset).toBe(partition.logStartOffset);
    expect(await valuesOf(again.topic('t')!.partitions[0]!)).toEqual(values);
    expect(again.troubled).toEqual([]);
  });

  it('deletes nothing by age while the clock is not trusted', async () => {
    const clock = new TestClock();
    let trusted = false;
    const log = await openOnDisk(new MemoryDisk(), { ...small, timeTrusted: () => trusted }, clock);
    const partition = (await log.createTopic(topicSpec('t', 1, { 'retention.ms': '1s' }))).partitions[0]!;
    await append(partition, 'a');
    clock.wall += 56 * 365 * 86_400_000;
    expect((await log.runRetention()).deletedOffsets).toBe(0);
    trusted = true;
    expect((await log.runRetention()).deletedOffsets).toBe(1);
  });

  it('keeps what was written in 1970 when the clock is set, until what came after has expired', async () => {
    const clock = new TestClock();
    const set = clock.wall;
    clock.wall = 15_000;
    let trusted = false;
    const options = { ...small, timeTrusted: () => trusted, writtenAt: (at: number) => (at < set ? null : at) };
    const log = await openOnDisk(new MemoryDisk(), options, clock);
    const partition = (await log.createTopic(topicSpec('t', 1, { 'retention.ms': '100s' }))).partitions[0]!;
    for (let i = 0; i < 100; i++) await append(partition, text(i));
    clock.wall = set;
    trusted = true;
    expect((await log.runRetention()).deletedOffsets).toBe(0);
    for (let i = 0; i < 100; i++) await append(partition, text(i));
    clock.advance(50_000);
    expect((await log.runRetention()).deletedOffsets).toBe(0);
    clock.advance(100_000);
    expect((await log.runRetention()).deletedOffsets).toBe(200);
  });

  it('makes a log start durable that could not be stored, before it removes what lies before it', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk, small);
    const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
    for (let i = 0; i < 500; i++) await append(partition, text(i));
    disk.arm({ at: 1, kind: 'write', code: 'DISK_FULL' });
    await expect(partition.deleteRecordsBefore(400)).rejects.toMatchObject({ code: 'DISK_FULL' });
    await log.createTopic(topicSpec('other'));
    expect((await log.runRetention()).removedSlices).toBeGreaterThan(1);
    disk.crash();
    const again = await openOnDisk(disk, small);
    expect(again.topic('t')!.partitions[0]!.logStartOffset).toBe(400);
    expect(again.ledger.totals.size).toBe(0);
  });

  it('lets the space of a topic come back that expired whole and gets nothing new', async () => {
    const disk = new MemoryDisk();
    const clock = new TestClock();
    const log = await openOnDisk(disk, { ...small, sliceBytes: 10_000_000 }, clock);
    const partition = (await log.createTopic(topicSpec('t', 1, { 'retention.ms': '100s' }))).partitions[0]!;
    for (let i = 0; i < 100; i++) await append(partition, text(i));
    clock.advance(200_000);
    await log.runRetention();
    expect(partition.logStartOffset).toBe(100);
    expect(disk.usedBytes).toBeLessThan(2_000);
    expect(await append(partition, 'goes on')).toBe(100);
    disk.crash();
    const again = await openOnDisk(disk, small, clock);
    expect(await valuesOf(again.topic('t')!.partitions[0]!)).toEqual(['100:goes on']);
  });

  it('keeps retention.bytes per partition and one run more at most', async () => {
    const log = await openOnDisk(new MemoryDisk(), small);
    const topic = await log.createTopic(topicSpec('t', 2, { 'retention.bytes': '30000' }));
    for (let i = 0; i < 1_000; i++) await append(topic.partitions[i % 2]!, text(i));
    await log.runRetention();
    for (const partition of topic.partitions) {
      expect(partition.sizeBytes).toBeGreaterThanOrEqual(30_000);
      expect(partition.sizeBytes).toBeLessThan(40_000);
      expect((await valuesOf(partition)).length).toBe(partition.logEndOffset - partition.logStartOffset);
    }
  });

  it('copies nothing forward from the slice that its front is in, which dies by itself', async () => {
    const clock = new TestClock();
    const log = await openOnDisk(new MemoryDisk(), small, clock);
    const topic = await log.createTopic(topicSpec('t', 4, { 'retention.ms': '60s' }));
    let removed = 0;
    for (let i = 0; i < 1_500; i++) {
      await append(topic.partitions[i % 4]!, text(i));
      clock.advance(200);
      if (i % 20 !== 19) continue;
      const pass = await log.runRetention();
      expect(pass.movedBytes).toBe(0);
      removed += pass.removedSlices;
    }
    expect(removed).toBeGreaterThan(3);
  });

  it('holds the total by letting topics of low priority give way first', async () => {
    const options: LogOptions = {
      ...small,
      retentionTotalBytes: 60_000,
      topicPriority: (topic) => (topic === 'alarms' ? 9 : 0),
    };
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk, options);
    const alarms = (await log.createTopic(topicSpec('alarms'))).partitions[0]!;
    const bulk = (await log.createTopic(topicSpec('bulk'))).partitions[0]!;
    for (let i = 0; i < 1_000; i++) {
      if (i % 10 === 0) await append(alarms, text(i));
      await append(bulk, text(i));
      if (i % 100 === 99) await log.runRetention();
    }
    for (let i = 0; i < 5; i++) await log.runRetention();
    expect(alarms.logStartOffset).toBe(0);
    expect(bulk.logStartOffset).toBeGreaterThan(500);
    expect(log.liveBytes).toBeLessThanOrEqual(60_000);
    expect(disk.usedBytes).toBeLessThan(120_000);
    expect((await valuesOf(alarms)).length).toBe(100);
  });

  it('copies a long-lived small topic forward so that it pins no slice, offsets and bytes unchanged', async () => {
    const disk = new MemoryDisk();
    const clock = new TestClock();
    let log = await openOnDisk(disk, small, clock);
    const kept = (await log.createTopic(topicSpec('kept', 1, { 'retention.ms': '-1' }))).partitions[0]!;
    const gone = (await log.createTopic(topicSpec('gone', 1, { 'retention.ms': '60s' }))).partitions[0]!;
    for (let i = 0; i < 1_000; i++) {
      if (i % 50 === 0) await append(kept, text(i));
      await append(gone, text(i));
      clock.advance(1_000);
      if (i % 100 === 99) await log.runRetention();
    }
    const values = await valuesOf(kept);
    expect(values).toEqual(Array.from({ length: 20 }, (_, i) => `${i}:${text(i * 50)}`));
    expect(disk.tables.size).toBeLessThan(8);
    expect(await kept.offsetOfMaxTimestamp()).toMatchObject({ offset: 19 });
    for (const clean of [false, true]) {
      if (clean) await log.close();
      disk.crash();
      log = await openOnDisk(disk, small, clock);
      expect(log.troubled).toEqual([]);
      expect(await valuesOf(log.topic('kept')!.partitions[0]!)).toEqual(values);
    }
  });
});
