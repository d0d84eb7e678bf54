import { decode } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { RunTable } from '../../src/log/run-table.ts';
import { unseal } from '../../src/store/checksum.ts';
import { batchKey, chunkRecordKey, metaKey } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { append, openOnDisk, topicSpec } from '../log/records.ts';

describe('the worked example of FORMAT.md', () => {
  it('is what the log stores', async () => {
    const disk = new MemoryDisk();
    const log = await openOnDisk(disk);
    const topic = await log.createTopic(topicSpec('t'));
    await append(topic.partitions[0]!, 'a', { timestamp: 5 });
    await log.close();

    const entry = (database: string, key: Uint8Array): Buffer => {
      const table = disk.tables.get(database)!;
      const at = table.keys.findIndex((stored) => stored.equals(key));
      return table.values[at]!;
    };
    const rowKey = Buffer.from('63010005746f70696301000174', 'hex');
    expect(metaKey('catalog', 'topic', 't')).toEqual(rowKey);
    expect(decode(unseal(entry('meta', rowKey))!)).toMatchObject({ v: 1, name: 't', id: topic.id, partitionIds: [0] });
    expect(batchKey(1, 0, 0).toString('hex')).toBe('00000001000000000000000000000000');
    expect(entry('slice-0000000001', batchKey(1, 0, 0)).toString('hex')).toBe(
      '0000000000000000000000390000000002' +
        '5e1da808000000000000' +
        '00000000000000050000000000000005' +
        'ffffffffffffffffffffffffffff00000001' +
        '0e00000001026100',
    );
    const record = RunTable.parse(entry('slice-0000000001', chunkRecordKey(1)))!;
    expect([...record.runs()]).toEqual([
      { partitionId: 0, bytes: 69, baseOffset: 0, lastOffset: 0, maxTimestamp: 5, firstChunk: 1, lastChunk: 1 },
    ]);
  });
});
