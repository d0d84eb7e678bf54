import { describe, expect, it } from 'vitest';
import { MemoryDisk } from '../../src/store/memory.ts';
import { append, appendBatch, openOnDisk, producedBatch, topicSpec, valuesOf } from './records.ts';

describe('the log', () => {
  it('gives dense offsets in order of appending and reads back what was appended', async () => {
    const log = await openOnDisk(new MemoryDisk());
    const topic = await log.createTopic(topicSpec('temperature', 2));
    const [first, second] = topic.partitions;
    const offsets = await Promise.all(['a', 'b', 'c'].map((value) => append(first!, value)));
    expect(offsets).toEqual([0, 1, 2]);
    expect(await append(second!, 'x')).toBe(0);
    expect(await appendBatch(first!, producedBatch(['d', 'e']))).toBe(3);
    expect(await append(first!, 'f')).toBe(5);
    expect(first!.logEndOffset).toBe(6);
    expect(first!.highWatermark).toBe(6);
    expect(await valuesOf(first!)).toEqual(['0:a', '1:b', '2:c', '3:d', '4:e', '5:f']);
    await log.close();
  });

  it('keeps everything over a clean restart and over a power cut', async () => {
    const disk = new MemoryDisk();
    const values: string[] = [];
    for (let round = 0; round < 4; round++) {
      const log = await openOnDisk(disk);
      const topic = log.topic('t') ?? (await log.createTopic(topicSpec('t')));
      const partition = topic.partitions[0]!;
      expect(partition.logEndOffset).toBe(values.length);
      for (let i = 0; i < 10; i++) {
        const offset = await append(partition, `r${round}.${i}`);
        values.push(`${offset}:r${round}.${i}`);
      }
      expect(await valuesOf(partition)).toEqual(values);
      if (round % 2 === 0) await log.close();
      if (round % 2 === 0) disk.crash();
      else disk.crash();
    }
    const log = await openOnDisk(disk);
    expect(await valuesOf(log.topic('t')!.partitions[0]!)).toEqual(values);
    expect(log.troubled).toEqual([]);
  });
});
