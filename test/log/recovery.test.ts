import { describe, expect, it } from 'vitest';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import type { LedgerEntry } from '../../src/log/ledger.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { appendBatch, openOnDisk, producedBatch, topicSpec, valuesOf } from './records.ts';

async function ledgerOf(log: HeadwaterLog): Promise<LedgerEntry[]> {
  await log.meta.write([]);
  const entries: LedgerEntry[] = [];
  for await (const entry of log.ledger.entries()) entries.push(entry);
  return entries;
}

describe('damage that is found while reading', () => {
  it('counts as lost only from the log start on', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const partition = (await log.createTopic(topicSpec('t'))).partitions[0]!;
    await appendBatch(partition, producedBatch(['a', 'b', 'c', 'd']));
    await appendBatch(partition, producedBatch(['e']));
    await partition.deleteRecordsBefore(2);
    await log.close();
    const stored = disk.tables.get('slice-0000000001')!.values[0]!;
    stored[stored.length - 2]! ^= 1;
    disk.crash();

    const again = await openOnDisk(disk);
    expect(await valuesOf(again.topic('t')!.partitions[0]!)).toEqual(['4:e']);
    expect(await ledgerOf(again)).toMatchObject([
      { firstOffset: 2, lastOffset: 3, reason: expect.stringMatching(/^corruption/) },
    ]);
    await again.close();
  });
});
