import { describe, expect, it } from 'vitest';
import { APPEND_QUEUE_MAX_BYTES } from '../../src/limits.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import type { Committed } from '../../src/log/types.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { attributesOf, maxTimestampOf, recordCountOf } from '../../src/wire/batch/record-batch.ts';
import { append, appendBatch, openOnDisk, producedBatch, record, TestClock, topicSpec, valuesOf } from './records.ts';

async function partitionOf(log: HeadwaterLog, config: Record<string, string> = {}) {
  return (await log.createTopic(topicSpec('t', 1, config))).partitions[0]!;
}

describe('group commit', () => {
  it('packs what waits for one partition into one batch and all partitions into one synced write', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const topic = await log.createTopic(topicSpec('t', 3));
    const committed: Committed[] = [];
    log.onCommit((commit) => committed.push(commit));
    await append(topic.partitions[0]!, 'opens the slice');
    committed.length = 0;
    disk.arm();
    const offsets = await Promise.all([0, 1, 2, 0, 1, 2, 0].map((p, i) => append(topic.partitions[p]!, `v${i}`)));
    expect(offsets).toEqual([1, 0, 0, 2, 1, 1, 3]);
    expect(disk.counts.write).toBe(1);
    expect(committed.map((c) => [c.partition.index, c.baseOffset, c.lastOffset, recordCountOf(c.batch)])).toEqual([
      [0, 1, 3, 3],
      [1, 0, 1, 2],
      [2, 0, 1, 2],
    ]);
    expect(committed[0]!.records!.map((r) => String(r.value))).toEqual(['v0', 'v3', 'v6']);
  });

  it('acknowledges only after the write, listeners before waiters', async () => {
    const disk = new MemoryDisk({ schedule: (task) => setImmediate(task) });
    const log = await openOnDisk(disk);
    const partition = await partitionOf(log);
    const events: string[] = [];
    log.onCommit(() => events.push('listener'));
    partition.wait({ wake: () => events.push('waiter') });
    const done = append(partition, 'a').then(() => events.push('done'));
    expect(partition.logEndOffset).toBe(0);
    await done;
    expect(events.slice(0, 2)).toEqual(['listener', 'waiter']);
    expect(events).toContain('done');
  });

  it('stores nothing of a failed write, says so to everybody in it, and goes on by itself', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const topic = await log.createTopic(topicSpec('t', 2));
    await append(topic.partitions[0]!, 'kept');
    disk.arm({ at: 1, kind: 'write', code: 'DISK_FULL' });
    const results = await Promise.allSettled([0, 1, 0].map((p) => append(topic.partitions[p]!, 'lost')));
    expect(results.map((r) => r.status === 'rejected' && r.reason.code)).toEqual([
      'DISK_FULL',
      'DISK_FULL',
      'DISK_FULL',
    ]);
    expect(topic.partitions[0]!.logEndOffset).toBe(1);
    expect(await append(topic.partitions[0]!, 'next')).toBe(1);
    expect(await append(topic.partitions[1]!, 'next')).toBe(0);
    expect(await valuesOf(topic.partitions[0]!)).toEqual(['0:kept', '1:next']);
    disk.crash();
    const again = await openOnDisk(disk);
    expect(await valuesOf(again.topic('t')!.partitions[0]!)).toEqual(['0:kept', '1:next']);
  });

  it('bounds the bytes that wait, and calls back when half of them are gone', async () => {
    const log = await openOnDisk(new MemoryDisk());
    const partition = await partitionOf(log);
    const outcomes: (string | number)[] = [];
    const big = 'x'.repeat(100_000);
    for (let i = 0; i < 60; i++) {
      partition.appendRecord(record(big), 1, (error, offset) => outcomes.push(error === null ? offset : error.code));
    }
    expect(log.queuedBytes).toBeLessThanOrEqual(APPEND_QUEUE_MAX_BYTES);
    expect(outcomes).toContain('QUOTA_EXCEEDED');
    await new Promise<void>((resolve) => log.whenDrained(resolve));
    expect(log.queuedBytes).toBeLessThanOrEqual(APPEND_QUEUE_MAX_BYTES / 2);
    await append(partition, 'fits again');
    const stored = outcomes.filter((outcome) => typeof outcome === 'number');
    expect(stored).toEqual(stored.map((_, i) => i));
    expect(stored.length).toBeGreaterThanOrEqual(40);
    expect(partition.logEndOffset).toBe(stored.length + 1);
  });

  it('commits and answers what waits when the log closes, and refuses what comes later', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const partition = await partitionOf(log);
    const waiting = Promise.all(['a', 'b'].map((value) => append(partition, value)));
    const closed = log.close();
    await expect(append(partition, 'late')).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    expect(await waiting).toEqual([0, 1]);
    await closed;
  });
});

describe('a stored batch', () => {
  it('is compressed once with the compression.type of the topic', async () => {
    const log = await openOnDisk(new MemoryDisk());
    const partition = await partitionOf(log, { 'compression.type': 'gzip' });
    await append(partition, '{"temperature":21.5}'.repeat(50));
    const { batches } = await partition.read({ from: 0, upTo: 1, maxBytes: 1 });
    expect(attributesOf(batches[0]!) & 7).toBe(1);
    expect(batches[0]!.length).toBeLessThan(200);
    expect(await valuesOf(partition)).toEqual([`0:${'{"temperature":21.5}'.repeat(50)}`]);
  });

  it('bears the broker clock under LogAppendTime', async () => {
    const clock = new TestClock();
    const log = await openOnDisk(new MemoryDisk(), {}, clock);
    const partition = await partitionOf(log, { 'message.timestamp.type': 'LogAppendTime' });
    await append(partition, 'a', { timestamp: 5 });
    await appendBatch(partition, producedBatch(['b']));
    const { batches } = await partition.read({ from: 0, upTo: 2, maxBytes: 1 << 20 });
    expect(batches.map((batch) => [attributesOf(batch) & 8, maxTimestampOf(batch)])).toEqual([
      [8, clock.wall],
      [8, clock.wall],
    ]);
    expect(await valuesOf(partition)).toEqual(['0:a', '1:b']);
  });

  it('is refused when its CRC, its length or its size is wrong, and nothing is stored', async () => {
    const log = await openOnDisk(new MemoryDisk());
    const partition = await partitionOf(log, { 'max.message.bytes': '1000' });
    const flipped = producedBatch(['a']);
    flipped[65]! ^= 1;
    await expect(appendBatch(partition, flipped)).rejects.toMatchObject({ code: 'CORRUPT_BATCH' });
    const cut = producedBatch(['a']).subarray(0, -1);
    await expect(appendBatch(partition, cut)).rejects.toMatchObject({ code: 'CORRUPT_BATCH' });
    const large = producedBatch(['x'.repeat(1_000)]);
    await expect(appendBatch(partition, large)).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE' });
    await expect(append(partition, 'x'.repeat(1_000))).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE' });
    expect(partition.logEndOffset).toBe(0);
  });
});

describe('reading', () => {
  it('begins with the batch that contains the offset, ends before upTo, and gives one batch at least', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk);
    let partition = await partitionOf(log);
    for (let i = 0; i < 5; i++) await appendBatch(partition, producedBatch([`${i}a`, `${i}b`]));
    for (const where of ['tail cache', 'disk']) {
      const read = (from: number, upTo: number, maxBytes: number) => partition.read({ from, upTo, maxBytes });
      expect((await read(3, 10, 1)).nextOffset, where).toBe(4);
      expect((await read(3, 10, 1 << 20)).batches, where).toHaveLength(4);
      expect((await read(0, 4, 1 << 20)).nextOffset, where).toBe(4);
      expect((await read(10, 10, 1 << 20)).batches, where).toEqual([]);
      await expect(read(11, 11, 1)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
      if (where === 'disk') break;
      await log.close();
      disk.crash();
      log = await openOnDisk(disk);
      partition = log.topic('t')!.partitions[0]!;
    }
  });

  it('finds offsets by time, and the record with the largest time', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk, { writeBufferBytes: 4_000, sliceBytes: 10_000 });
    const partition = await partitionOf(log);
    expect(await partition.offsetOfMaxTimestamp()).toBeNull();
    for (let i = 0; i < 100; i++) await append(partition, 'x'.repeat(200), { timestamp: 1_000 + (i % 50) * 10 + i });
    expect(await partition.offsetForTimestamp(0)).toEqual({ offset: 0, timestamp: 1_000 });
    expect(await partition.offsetForTimestamp(1_012)).toEqual({ offset: 2, timestamp: 1_022 });
    expect(await partition.offsetForTimestamp(1_540)).toEqual({ offset: 95, timestamp: 1_545 });
    expect(await partition.offsetForTimestamp(2_000)).toBeNull();
    expect(await partition.offsetOfMaxTimestamp()).toEqual({ offset: 99, timestamp: 1_589 });
  });
});

describe('deleting', () => {
  it('moves the log start durably and refuses what lies behind the high watermark', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk);
    let partition = await partitionOf(log);
    for (let i = 0; i < 5; i++) await append(partition, `v${i}`);
    expect(await partition.deleteRecordsBefore(3)).toBe(3);
    expect(await partition.deleteRecordsBefore(1)).toBe(3);
    await expect(partition.deleteRecordsBefore(6)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    await expect(partition.read({ from: 2, upTo: 5, maxBytes: 1 })).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
    });
    disk.crash();
    log = await openOnDisk(disk);
    partition = log.topic('t')!.partitions[0]!;
    expect(await valuesOf(partition)).toEqual(['3:v3', '4:v4']);
    expect(await partition.deleteRecordsBefore(-1)).toBe(5);
    disk.crash();
    log = await openOnDisk(disk);
    expect(log.topic('t')!.partitions[0]!.logEndOffset).toBe(5);
    expect(await append(log.topic('t')!.partitions[0]!, 'never reused')).toBe(5);
  });

  it('gives a topic that is created again another id and an empty log', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk);
    const first = await partitionOf(log);
    await append(first, 'old');
    await log.deleteTopic('t');
    await expect(append(first, 'late')).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' });
    const second = await partitionOf(log);
    expect(second.topic.id).not.toBe(first.topic.id);
    expect(second.logEndOffset).toBe(0);
    await append(second, 'new');
    disk.crash();
    log = await openOnDisk(disk);
    expect(await valuesOf(log.topic('t')!.partitions[0]!)).toEqual(['0:new']);
  });
});

describe('topics', () => {
  it('are refused with a name, a number or a setting that is not allowed, naming it', async () => {
    const log = await openOnDisk(new MemoryDisk());
    await expect(log.createTopic(topicSpec('a/b'))).rejects.toMatchObject({ code: 'INVALID_TOPIC' });
    await expect(log.createTopic(topicSpec('..'))).rejects.toMatchObject({ code: 'INVALID_TOPIC' });
    await expect(log.createTopic(topicSpec('t', 0))).rejects.toMatchObject({ code: 'INVALID_PARTITIONS' });
    await expect(log.createTopic(topicSpec('t', 5_000))).rejects.toMatchObject({ code: 'INVALID_PARTITIONS' });
    const config = { 'retention.ms': 'soon' };
    await expect(log.createTopic(topicSpec('t', 1, config))).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    await log.createTopic(topicSpec('t'), { validateOnly: true });
    expect(log.topic('t')).toBeUndefined();
    await log.createTopic(topicSpec('t'));
    await expect(log.createTopic(topicSpec('t'))).rejects.toMatchObject({ code: 'TOPIC_EXISTS' });
    await expect(log.deleteTopic('u')).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' });
  });

  it('keep partitions and settings that were changed, and tell listeners', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk, { numPartitions: 3 });
    const events: string[] = [];
    log.onTopicEvent((event) => events.push(`${event.kind} ${event.topic.name}`));
    await log.createTopic({ name: 't', partitions: -1, config: new Map() });
    await log.createPartitions('t', 5);
    await expect(log.createPartitions('t', 5)).rejects.toMatchObject({ code: 'INVALID_PARTITIONS' });
    await log.alterTopic('t', new Map([['retention.ms', '1h']]));
    expect(events).toEqual(['created t', 'altered t', 'altered t']);
    await log.close();
    disk.crash();
    log = await openOnDisk(disk);
    expect(log.topic('t')!.partitions).toHaveLength(5);
    expect(log.topic('t')!.config['retention.ms']).toBe(3_600_000);
    await log.alterTopic('t', new Map([['retention.ms', null]]));
    expect(log.topic('t')!.overrides.size).toBe(0);
  });
});

describe('a sync replica', () => {
  it('holds the high watermark and acks=all back while it is in sync, and no longer when it lags', async () => {
    const clock = new TestClock();
    const log = await openOnDisk(new MemoryDisk(), { brokerId: 1 }, clock);
    const partition = await partitionOf(log, { 'min.insync.replicas': '2' });
    await expect(append(partition, 'too few', {}, -1)).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' });
    await append(partition, 'acks=1 goes on');
    const replica = partition.addReplica(9, 1_000);
    replica.advance(1);
    expect(partition.inSyncReplicas).toEqual([1, 9]);
    let answered = -1;
    const waiting = append(partition, 'all', {}, -1).then((offset) => {
      answered = offset;
    });
    await append(partition, 'one');
    expect([partition.logEndOffset, partition.highWatermark, answered]).toEqual([3, 1, -1]);
    replica.advance(2);
    await waiting;
    expect([partition.highWatermark, answered]).toEqual([2, 1]);
    const late = append(partition, 'late', {}, -1);
    await append(partition, 'x');
    clock.advance(2_500);
    await expect(late).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS_AFTER_APPEND' });
    expect(partition.inSyncReplicas).toEqual([1]);
    expect(partition.highWatermark).toBe(5);
    replica.advance(5);
    expect(partition.inSyncReplicas).toEqual([1, 9]);
    replica.remove();
    expect(partition.replicas).toEqual([1]);
  });
});
