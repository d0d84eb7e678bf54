import { describe, expect, it } from 'vitest';
import { checkStore } from '../../src/log/check.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { patchBaseOffset, patchLeaderEpoch } from '../../src/wire/batch/record-batch.ts';
import { append, appendBatch, openOnDisk, producedBatch, topicSpec, valuesOf } from './records.ts';

/** A batch as the leader stored it. */
function led(offset: number, epoch: number, values: readonly string[], producer = 9): Buffer {
  const batch = producedBatch(values, { id: producer, sequence: offset });
  patchBaseOffset(batch, offset);
  patchLeaderEpoch(batch, epoch);
  return batch;
}

const copied = { acks: 1, origin: 'replication' } as const;

async function losses(log: HeadwaterLog) {
  const found = [];
  for await (const { topic, partition, firstOffset, lastOffset, reason } of log.ledger.entries()) {
    found.push({ topic, partition, firstOffset, lastOffset, reason });
  }
  return found;
}

describe('a log whose end went another way than its leader', () => {
  async function truncated() {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const topic = await log.createTopic(topicSpec('t', 2));
    const [partition, other] = topic.partitions;
    for (let i = 0; i < 10; i++) await append(partition!, `ours-${i}`);
    await append(other!, 'untouched');
    await log.truncate(partition!, 6, 'truncated: test', 'standby');
    return { disk, log, partition: partition!, other: other! };
  }

  it('gives the offsets again, with what the leader has there', async () => {
    const { log, partition } = await truncated();
    expect(partition.logEndOffset).toBe(6);
    expect(partition.highWatermark).toBe(6);
    await appendBatch(partition, led(6, 1_000, ['theirs-6', 'theirs-7']), copied);
    const values = await valuesOf(partition);
    expect(values.slice(-3)).toEqual(['5:ours-5', '6:theirs-6', '7:theirs-7']);
    expect(partition.leaderEpoch).toBe(1_000);
    expect(partition.endOffsetForEpoch(0)).toEqual({ epoch: 0, endOffset: 6 });
    expect(await losses(log)).toEqual([
      { topic: 't', partition: 0, firstOffset: 6, lastOffset: 9, reason: 'truncated: test' },
    ]);
  });

  it.each(['a clean stop', 'a crash'])('is the same after %s, before and after it grew again', async (how) => {
    const { disk, log, other } = await truncated();
    const again = async (open: HeadwaterLog) => {
      if (how === 'a clean stop') await open.close();
      disk.crash();
      return openOnDisk(disk);
    };
    let next = await again(log);
    let partition = next.topic('t')!.partitions[0]!;
    expect(await valuesOf(partition)).toEqual([0, 1, 2, 3, 4, 5].map((i) => `${i}:ours-${i}`));
    expect(partition.logEndOffset).toBe(6);
    await appendBatch(partition, led(6, 1_000, ['theirs-6', 'theirs-7', 'theirs-8']), copied);
    next = await again(next);
    partition = next.topic('t')!.partitions[0]!;
    expect((await valuesOf(partition)).slice(5)).toEqual(['5:ours-5', '6:theirs-6', '7:theirs-7', '8:theirs-8']);
    expect(await valuesOf(next.topic('t')!.partitions[1]!)).toEqual(['0:untouched']);
    expect(other.logEndOffset).toBe(1);
    await next.close();
    disk.crash();
    expect((await checkStore(disk.mount())).problems).toEqual([]);
  });

  it('can be cut twice, the second time below the first', async () => {
    const { disk, log, partition } = await truncated();
    await appendBatch(partition, led(6, 1_000, ['a', 'b']), copied);
    await log.truncate(partition, 3, 'truncated: again', 'standby');
    await appendBatch(partition, led(3, 2_000, ['c']), copied);
    await log.close();
    disk.crash();
    const next = await openOnDisk(disk);
    expect(await valuesOf(next.topic('t')!.partitions[0]!)).toEqual(['0:ours-0', '1:ours-1', '2:ours-2', '3:c']);
  });

  it('begins where the leader begins, when they have nothing in common', async () => {
    const { disk, log, partition } = await truncated();
    await log.truncate(partition, 100, 'truncated: elsewhere', 'standby', true);
    expect([partition.logStartOffset, partition.logEndOffset]).toEqual([100, 100]);
    await appendBatch(partition, led(100, 3_000, ['x']), copied);
    await log.close();
    disk.crash();
    const next = await openOnDisk(disk);
    const found = next.topic('t')!.partitions[0]!;
    expect(await valuesOf(found)).toEqual(['100:x']);
    expect(found.logStartOffset).toBe(100);
  });

  it('forgets what producers did behind the cut', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const [partition] = (await log.createTopic(topicSpec('t', 1))).partitions;
    for (const [sequence, value] of ['a', 'b', 'c'].entries()) {
      await appendBatch(partition!, producedBatch([value], { id: 7, sequence }));
    }
    await log.truncate(partition!, 1, 'truncated: test', 'standby');
    // 1 is due again, and stored; a copy of 0 is known.
    expect(await appendBatch(partition!, producedBatch(['b'], { id: 7, sequence: 1 }))).toBe(1);
    expect(await appendBatch(partition!, producedBatch(['a'], { id: 7, sequence: 0 }))).toBe(0);
  });
});

describe('a log that follows', () => {
  it('takes records and topics from its leader only', async () => {
    const log = await openOnDisk(new MemoryDisk());
    log.follows = true;
    await expect(log.createTopic(topicSpec('t', 1))).rejects.toMatchObject({ code: 'NOT_CONTROLLER' });
    const id = 'ab'.repeat(16);
    const topic = await log.createTopic({ ...topicSpec('t', 1), id }, { replicated: true });
    expect(topic.id).toBe(id);
    const [partition] = topic.partitions;
    await expect(append(partition!, 'x')).rejects.toMatchObject({ code: 'NOT_LEADER' });
    await expect(appendBatch(partition!, producedBatch(['x']))).rejects.toMatchObject({ code: 'NOT_LEADER' });
    expect(await appendBatch(partition!, led(0, 4, ['x']), copied)).toBe(0);
    expect(partition!.leaderEpoch).toBe(4);
    expect(partition!.lastRecordEpoch).toBe(4);
  });

  it('leads under an epoch and producer ids far above all that were', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    log.follows = true;
    const [partition] = (await log.createTopic(topicSpec('t', 1), { replicated: true })).partitions;
    await appendBatch(partition!, led(0, 1_003, ['x'], 41), copied);
    expect(await log.takeLead()).toBe(2_000);
    log.follows = false;
    expect(partition!.leaderEpoch).toBe(2_000);
    expect(partition!.lastRecordEpoch).toBe(1_003);
    expect(partition!.endOffsetForEpoch(1_003)).toEqual({ epoch: 1_003, endOffset: 1 });
    expect(await log.nextProducerId()).toBeGreaterThan(1_000_000);
    disk.crash();
    const next = await openOnDisk(disk);
    expect(next.topic('t')!.partitions[0]!.leaderEpoch).toBeGreaterThanOrEqual(2_000);
  });
});
