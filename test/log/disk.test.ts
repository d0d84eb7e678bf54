import { describe, expect, it } from 'vitest';
import type { DiskOptions } from '../../src/log/disk-ladder.ts';
import {
  DISK_STEPS,
  type DiskSight,
  type DiskState,
  diskMarks,
  diskSight,
  isRefused,
} from '../../src/log/disk-states.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import type { LogOptions } from '../../src/log/log-options.ts';
import { reclaimable } from '../../src/log/retention-choice.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { append, openOnDisk, TestClock, topicSpec, valuesOf } from './records.ts';

const marks = diskMarks(800);

describe('the steps of the disk ladder', () => {
  it('sees the free space by its marks', () => {
    const sights = [1_000, 999, 800, 799, 400, 399, 200, 199, 0, -5].map((bytes) => diskSight(bytes, marks));
    expect(sights).toEqual(['roomy', 'enough', 'enough', 'short', 'short', 'scarce', 'scarce', 'none', 'none', 'none']);
  });

  it('goes down at one mark and back at a higher one, from every state and with every sight', () => {
    const sights: DiskSight[] = ['roomy', 'enough', 'short', 'scarce', 'none'];
    const walk = (state: DiskState) => sights.map((sight) => DISK_STEPS[state][sight]).join(' ');
    expect(walk('ok')).toBe('ok ok low low full');
    expect(walk('low')).toBe('ok low low low full');
    expect(walk('full')).toBe('ok low low full full');
  });

  it('does not flap where the free space moves about a mark', () => {
    let state: DiskState = 'ok';
    const seen = [199, 201, 399, 201, 199, 401, 399, 201, 999, 801, 799, 1_000, 801].map((bytes) => {
      state = DISK_STEPS[state][diskSight(bytes, marks)];
      return state;
    });
    expect(seen.join(' ')).toBe('full full full full full low low low low low low ok ok');
  });

  it('refuses topics with reject at the last step, and all when nothing gives way', () => {
    const refused = (['ok', 'low', 'full'] as const).map((state) => [
      isRefused(state, 'reject', true),
      isRefused(state, 'drop-oldest', true),
      isRefused(state, 'drop-oldest', false),
    ]);
    expect(refused).toEqual([
      [false, false, false],
      [false, false, false],
      [true, false, true],
    ]);
  });

  it('expects back what of a slice is dead, if the rest is worth copying', () => {
    expect(reclaimable(0, 100)).toBe(100);
    expect(reclaimable(74, 100)).toBe(26);
    expect(reclaimable(75, 100)).toBe(0);
  });
});

const small: LogOptions = { writeBufferBytes: 8_000, sliceBytes: 20_000 };
const KB = 1_000;
const text = (n: number) => `${n} ${'x'.repeat(180)}`;

interface Watched {
  readonly log: HeadwaterLog;
  readonly clock: TestClock;
  state(): string;
  /** A second passes, and what it sets going comes to rest. */
  second(): Promise<void>;
}

async function rest(): Promise<void> {
  for (let i = 0; i < 60; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function open(disk: MemoryDisk, policy: DiskOptions['policy'], options: LogOptions = {}): Promise<Watched> {
  const clock = new TestClock();
  const watched = { lowBytes: 100 * KB, reserveBytes: 20 * KB, policy };
  const log = await openOnDisk(disk, { ...small, disk: watched, ...options }, clock);
  await rest();
  return {
    log,
    clock,
    state: () => log.conditions().find(({ name }) => name === 'disk')!.detail!,
    async second() {
      clock.advance(1_000);
      await rest();
    },
  };
}

async function lossesOf(log: HeadwaterLog): Promise<Map<string, number>> {
  const losses = new Map<string, number>();
  for await (const { topic, firstOffset, lastOffset, reason, by } of log.ledger.entries()) {
    expect(reason).toMatch(/^disk-full: /);
    expect(by).toBe('log');
    expect(firstOffset).toBe(losses.get(topic) ?? 0);
    losses.set(topic, lastOffset + 1);
  }
  return losses;
}

/** Appends until the first refusal; returns how many were acknowledged. */
async function appendUntilRefused(log: HeadwaterLog, topic: string, max = 10_000): Promise<number> {
  const partition = log.topic(topic)!.partitions[0]!;
  for (let i = 0; i < max; i++) {
    try {
      expect(await append(partition, text(i))).toBe(i);
    } catch (error) {
      expect(error).toMatchObject({ code: 'DISK_FULL', kafkaCode: 56, mqttReason: 0x97 });
      return i;
    }
  }
  return max;
}

describe('a log on a disk that fills up', () => {
  it('goes on with drop-oldest: the oldest records give way, and the ledger says which', async () => {
    const disk = new MemoryDisk({ capacityBytes: 500 * KB });
    const { log, second } = await open(disk, () => 'drop-oldest');
    const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
    for (let i = 0; i < 5_000; i++) {
      expect(await append(partition, text(i))).toBe(i);
      if (i % 50 === 49) await second();
    }
    expect(partition.logStartOffset).toBeGreaterThan(2_000);
    expect(disk.usedBytes).toBeLessThan(480 * KB);
    expect(log.liveBytes).toBeGreaterThan(200 * KB);
    expect(await lossesOf(log)).toEqual(new Map([['t', partition.logStartOffset]]));
    expect(log.ledger.totals.get('disk-full')).toBe(partition.logStartOffset);
    const kept = (first: number) => Array.from({ length: 5_000 - first }, (_, i) => `${first + i}:${text(first + i)}`);
    expect(await valuesOf(partition)).toEqual(kept(partition.logStartOffset));
    disk.crash();
    const again = await open(disk, () => 'drop-oldest');
    const found = again.log.topic('t')!.partitions[0]!;
    expect(found.logStartOffset).toBeGreaterThanOrEqual(partition.logStartOffset);
    expect(await lossesOf(again.log)).toEqual(new Map([['t', found.logStartOffset]]));
    expect(await valuesOf(found)).toEqual(kept(found.logStartOffset));
  });

  it('takes from the lowest priority first, and nothing from a topic with reject', async () => {
    const disk = new MemoryDisk({ capacityBytes: 600 * KB });
    const policy = (topic: string) => (topic === 'alarms' ? 'reject' : 'drop-oldest');
    const topicPriority = (topic: string) => (topic === 'vital' ? 9 : 0);
    const { log, second } = await open(disk, policy, { topicPriority });
    const [alarms, vital, bulk] = await Promise.all(
      ['alarms', 'vital', 'bulk'].map(async (name) => (await log.createTopic(topicSpec(name))).partitions[0]!),
    );
    for (let i = 0; i < 6_000; i++) {
      await append(bulk!, text(i));
      if (i % 20 === 0) await Promise.all([append(alarms!, text(i)), append(vital!, text(i))]);
      if (i % 50 === 49) await second();
    }
    expect(bulk!.logStartOffset).toBeGreaterThan(2_000);
    expect([alarms!.logStartOffset, vital!.logStartOffset]).toEqual([0, 0]);
    expect((await valuesOf(alarms!)).length).toBe(300);
    expect([...(await lossesOf(log)).keys()]).toEqual(['bulk']);
  });

  it('refuses with reject before the store has failed, reads on, and takes records again without a restart', async () => {
    const disk = new MemoryDisk({ capacityBytes: 400 * KB });
    const { log, second, state } = await open(disk, () => 'reject');
    const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
    disk.arm();
    const stored = await appendUntilRefused(log, 't');
    await second();
    expect(stored).toBeGreaterThan(800);
    expect(disk.freeBytes).toBeGreaterThan(10 * KB);
    expect(
      log
        .conditions()
        .filter(({ ok }) => !ok)
        .map(({ name }) => name),
    ).toEqual(state() === 'full' ? ['disk'] : []);
    const values = Array.from({ length: stored }, (_, i) => `${i}:${text(i)}`);
    expect(await valuesOf(partition)).toEqual(values);
    expect(await lossesOf(log)).toEqual(new Map());
    disk.capacityBytes += 400 * KB;
    await second();
    expect(state()).toBe('ok');
    expect(disk.reservedBytes).toBe(20 * KB);
    expect(await append(partition, 'again')).toBe(stored);
    expect(await valuesOf(partition)).toEqual([...values, `${stored}:again`]);
  });

  it('survives a disk that others fill at once: the reserve is given back, metadata can be written, all comes back', async () => {
    const disk = new MemoryDisk({ capacityBytes: 2_000 * KB });
    const { log, second, state } = await open(disk, () => 'drop-oldest');
    const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
    for (let i = 0; i < 50; i++) await append(partition, text(i));
    expect(disk.reservedBytes).toBe(20 * KB);
    disk.capacityBytes = disk.usedBytes + disk.reservedBytes;
    await expect(append(partition, 'the store meets the full disk')).rejects.toMatchObject({ code: 'DISK_FULL' });
    await rest();
    expect(state()).toBe('full');
    expect(disk.reservedBytes).toBe(0);
    expect(log.conditions().map(({ name, ok }) => [name, ok])).toEqual([
      ['log', false],
      ['metadata', true],
      ['disk', false],
    ]);
    disk.arm();
    await expect(append(partition, 'refused before the store')).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(disk.counts.write).toBe(0);
    expect((await valuesOf(partition)).length).toBe(50);
    await log.createTopic(topicSpec('made-in-the-reserve'), { configured: true });
    disk.capacityBytes = 2_000 * KB;
    await second();
    expect(state()).toBe('ok');
    expect(log.conditions().every(({ ok }) => ok)).toBe(true);
    expect(await append(partition, 'back')).toBe(50);
    expect((await valuesOf(partition)).length).toBe(51);
    expect(await lossesOf(log)).toEqual(new Map());
  });

  it('keeps what is left for what takes away: no topic, partition or commit is added, records and topics still go', async () => {
    const disk = new MemoryDisk({ capacityBytes: 2_000 * KB });
    const { log, second, state } = await open(disk, () => 'reject');
    const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
    await log.createTopic(topicSpec('goes'));
    for (let i = 0; i < 50; i++) await append(partition, text(i));
    expect(log.changeRefusal('offset is committed')).toBeNull();
    disk.capacityBytes = disk.usedBytes + disk.reservedBytes;
    await expect(append(partition, 'the store meets the full disk')).rejects.toMatchObject({ code: 'DISK_FULL' });
    await rest();
    expect(state()).toBe('full');
    const refused = { code: 'DISK_FULL', kafkaCode: 56, mqttReason: 0x97 };
    disk.arm();
    await expect(log.createTopic(topicSpec('new'))).rejects.toMatchObject(refused);
    await expect(log.createTopic(topicSpec('new'), { validateOnly: true })).rejects.toMatchObject(refused);
    await expect(log.createPartitions('t', 3)).rejects.toThrow(
      /bytes free: no partitions are added to topic "t" until/,
    );
    expect(log.changeRefusal('offset is committed')).toMatchObject(refused);
    expect(disk.counts.write).toBe(0);
    expect(log.topic('new')).toBeUndefined();
    expect(log.topic('t')!.partitions.length).toBe(1);
    await log.deleteTopic('goes');
    await partition.deleteRecordsBefore(20);
    await log.alterTopic('t', new Map([['retention.ms', '1000']]));
    disk.capacityBytes = 2_000 * KB;
    await second();
    expect(state()).toBe('ok');
    await log.createTopic(topicSpec('new'));
    await log.createPartitions('t', 3);
    expect(log.changeRefusal('offset is committed')).toBeNull();
    disk.crash();
    const again = await open(disk, () => 'reject');
    expect([...again.log.topics()].map(({ name, partitions }) => [name, partitions.length])).toEqual([
      ['new', 1],
      ['t', 3],
    ]);
    expect(again.log.topic('t')!.partitions[0]!.logStartOffset).toBe(20);
  });

  it('starts on a full disk out of its reserve', async () => {
    const disk = new MemoryDisk({ capacityBytes: 2_000 * KB });
    const first = await open(disk, () => 'reject');
    await first.log.createTopic(topicSpec('t'));
    expect(await appendUntilRefused(first.log, 't', 200)).toBe(200);
    disk.crash();
    disk.capacityBytes = disk.usedBytes + disk.reservedBytes;
    const { log, state, second } = await open(disk, () => 'reject');
    expect(state()).toBe('full');
    expect(log.troubled).toEqual([]);
    const partition = log.topic('t')!.partitions[0]!;
    expect((await valuesOf(partition)).length).toBe(200);
    await expect(append(partition, 'no')).rejects.toMatchObject({ code: 'DISK_FULL' });
    disk.capacityBytes += 400 * KB;
    await second();
    expect(await append(partition, 'yes')).toBe(200);
  });

  it('does not start where even the reserve is used up, and has lost nothing when there is space', async () => {
    const disk = new MemoryDisk({ capacityBytes: 400 * KB });
    const first = await open(disk, () => 'reject');
    await first.log.createTopic(topicSpec('t'));
    const stored = await appendUntilRefused(first.log, 't');
    await rest();
    disk.crash();
    disk.capacityBytes = disk.usedBytes + disk.reservedBytes;
    expect(disk.reservedBytes).toBe(0);
    await expect(open(disk, () => 'reject')).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(disk.quarantined.size).toBe(0);
    disk.crash();
    disk.capacityBytes += 400 * KB;
    const { log } = await open(disk, () => 'reject');
    const partition = log.topic('t')!.partitions[0]!;
    expect((await valuesOf(partition)).length).toBe(stored);
    expect(await append(partition, 'yes')).toBe(stored);
  });

  it('is ready again after a failed write of metadata, without anybody writing', async () => {
    const disk = new MemoryDisk({ capacityBytes: 2_000 * KB });
    const { log, second } = await open(disk, () => 'reject');
    for (const code of ['DISK_FULL', 'STORE_FAILED'] as const) {
      disk.arm({ at: 1, kind: 'write', code });
      await expect(log.createTopic(topicSpec(code))).rejects.toMatchObject({ code });
      expect(log.conditions().find(({ name }) => name === 'metadata')!.ok).toBe(false);
      await rest();
      await second();
      expect(log.conditions().every(({ ok }) => ok)).toBe(true);
      await log.createTopic(topicSpec(code));
    }
  });
});
