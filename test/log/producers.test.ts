import { describe, expect, it } from 'vitest';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { encodeMarker } from '../../src/wire/batch/control-batch.ts';
import { append, appendBatch, openOnDisk, producedBatch, topicSpec, valuesOf } from './records.ts';

const one = async (log: HeadwaterLog) => (log.topic('t') ?? (await log.createTopic(topicSpec('t')))).partitions[0]!;

describe('an idempotent producer', () => {
  it('gets the original offset for a repeat of any of its last five batches, in the same commit as well', async () => {
    const log = await openOnDisk(new MemoryDisk());
    const partition = await one(log);
    const send = (n: number) => appendBatch(partition, producedBatch([`v${n}`, `w${n}`], { id: 7, sequence: n * 2 }));
    expect(await Promise.all([send(0), send(0), send(1), send(1), send(0)])).toEqual([0, 0, 2, 2, 0]);
    for (let n = 2; n < 6; n++) expect(await send(n)).toBe(n * 2);
    expect(await send(1)).toBe(2);
    await expect(send(0)).rejects.toMatchObject({ code: 'OUT_OF_ORDER_SEQUENCE' });
    expect(partition.logEndOffset).toBe(12);
  });

  it('is refused when a sequence is missing or an older epoch speaks', async () => {
    const log = await openOnDisk(new MemoryDisk());
    const partition = await one(log);
    await appendBatch(partition, producedBatch(['a'], { id: 7, sequence: 0, epoch: 2 }));
    const gap = producedBatch(['c'], { id: 7, sequence: 2, epoch: 2 });
    await expect(appendBatch(partition, gap)).rejects.toMatchObject({ code: 'OUT_OF_ORDER_SEQUENCE' });
    const old = producedBatch(['b'], { id: 7, sequence: 1, epoch: 1 });
    await expect(appendBatch(partition, old)).rejects.toMatchObject({ code: 'INVALID_PRODUCER_EPOCH' });
    const late = producedBatch(['b'], { id: 7, sequence: 1, epoch: 3 });
    await expect(appendBatch(partition, late)).rejects.toMatchObject({ code: 'OUT_OF_ORDER_SEQUENCE' });
    expect(await appendBatch(partition, producedBatch(['b'], { id: 7, sequence: 0, epoch: 3 }))).toBe(1);
  });

  it('wraps its sequence from 2147483647 to 0', async () => {
    const log = await openOnDisk(new MemoryDisk());
    const partition = await one(log);
    await appendBatch(partition, producedBatch(['a', 'b'], { id: 7, sequence: 2_147_483_646 }));
    expect(await appendBatch(partition, producedBatch(['c'], { id: 7, sequence: 0 }))).toBe(2);
  });

  it('is recognised after a power cut and after a clean restart', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk);
    const again = producedBatch(['a'], { id: 7, sequence: 0 });
    await appendBatch(await one(log), Buffer.from(again));
    disk.crash();
    log = await openOnDisk(disk);
    expect(await appendBatch(await one(log), Buffer.from(again))).toBe(0);
    await log.close();
    disk.crash();
    log = await openOnDisk(disk);
    expect(await appendBatch(await one(log), Buffer.from(again))).toBe(0);
    expect(await appendBatch(await one(log), producedBatch(['b'], { id: 7, sequence: 1 }))).toBe(1);
  });

  it('may repeat a batch whose write failed', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const partition = await one(log);
    await append(partition, 'first');
    const batch = producedBatch(['a'], { id: 7, sequence: 0 });
    disk.arm({ at: 1, kind: 'write', code: 'DISK_FULL' });
    await expect(appendBatch(partition, Buffer.from(batch))).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(await appendBatch(partition, Buffer.from(batch))).toBe(1);
    expect(await valuesOf(partition)).toEqual(['0:first', '1:a']);
  });

  it('never gets an id twice, restarts and power cuts included', async () => {
    const disk = new MemoryDisk();
    const seen = new Set<number>();
    for (let round = 0; round < 5; round++) {
      const log = await openOnDisk(disk);
      const ids = await Promise.all(Array.from({ length: 1_500 }, () => log.nextProducerId()));
      for (const id of ids) seen.add(id);
      if (round % 2 === 0) await log.close();
      disk.crash();
    }
    expect(seen.size).toBe(7_500);
  });
});

describe('a transaction', () => {
  const options = { acks: 1, origin: 'client', transactional: true } as const;
  const marker = (type: 'abort' | 'commit') =>
    encodeMarker({ type, coordinatorEpoch: 0, producerId: 7, producerEpoch: 0, timestamp: 1 });

  it('holds the last stable offset back until its marker, over restarts', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk);
    let partition = await one(log);
    await append(partition, 'before');
    await appendBatch(partition, producedBatch(['a'], { id: 7, sequence: 0, transactional: true }), options);
    await append(partition, 'after');
    expect(partition.lastStableOffset).toBe(1);
    disk.crash();
    log = await openOnDisk(disk);
    partition = await one(log);
    expect(partition.lastStableOffset).toBe(1);
    expect(await appendBatch(partition, marker('abort'), { acks: 1, origin: 'coordinator' })).toBe(3);
    expect(partition.lastStableOffset).toBe(4);
    const aborted = [{ producerId: 7, firstOffset: 1, lastOffset: 3 }];
    expect(partition.abortedTransactions(0, 4)).toEqual(aborted);
    expect(partition.abortedTransactions(0, 1)).toEqual([]);
    await log.close();
    disk.crash();
    log = await openOnDisk(disk);
    partition = await one(log);
    expect(partition.abortedTransactions(0, 4)).toEqual(aborted);
    await partition.deleteRecordsBefore(4);
    expect(partition.abortedTransactions(0, 4)).toEqual([]);
  });

  it('is refused on a partition that was not added, and control batches from clients always', async () => {
    const log = await openOnDisk(new MemoryDisk());
    const partition = await one(log);
    const batch = producedBatch(['a'], { id: 7, sequence: 0, transactional: true });
    await expect(appendBatch(partition, batch)).rejects.toMatchObject({ code: 'INVALID_TXN_STATE' });
    await expect(appendBatch(partition, marker('commit'), options)).rejects.toMatchObject({ code: 'INVALID_RECORD' });
  });
});
