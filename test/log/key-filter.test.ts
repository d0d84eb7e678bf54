/** Readers of few records pass over the rest of the log, and never over one they want. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyFilter, KeyFilterBuilder, KeyFilterCache } from '../../src/log/key-filter.ts';
import { recordsOf } from '../../src/log/reader.ts';
import type { LabelQuery, Partition } from '../../src/log/types.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { append, appendBatch, openOnDisk, producedBatch, record, topicSpec } from './records.ts';

const SMALL = { writeBufferBytes: 12_000, sliceBytes: 40_000 };

const labels = (...values: number[]) => Uint32Array.from(values);

/** Everything read with the query, offset by offset, and how many bytes of batches that took. */
async function readOnly(partition: Partition, only: LabelQuery, maxBytes = 4096, from = partition.logStartOffset) {
  const values: string[] = [];
  let bytes = 0;
  let reads = 0;
  for (let next = from; next < partition.logEndOffset; reads++) {
    const result = await partition.read({ from: next, upTo: partition.logEndOffset, maxBytes, only });
    for (const batch of result.batches) {
      const cursor = await recordsOf(batch);
      while (cursor.next()) if (cursor.offset >= next) values.push(String(cursor.value));
    }
    bytes += result.bytes;
    expect(result.nextOffset).toBeGreaterThan(next);
    next = result.nextOffset;
  }
  return { values, bytes, reads };
}

describe('key filters', () => {
  it('whatever was stored, a reader of some labels gets all that has them, in order', async () => {
    const step = fc.oneof(
      {
        weight: 8,
        arbitrary: fc.record({ kind: fc.constant('label' as const), label: fc.nat(40), size: fc.nat(900) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('plain' as const), label: fc.nat(40), size: fc.nat(900) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('batch' as const), label: fc.nat(40), size: fc.nat(900) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('fails' as const), label: fc.nat(40), size: fc.nat(900) }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), label: fc.nat(1), size: fc.nat(1) }) },
    );
    const property = fc.asyncProperty(
      fc.array(step, { minLength: 30, maxLength: 150 }),
      fc.nat(2),
      async (steps, p) => {
        const disk = new MemoryDisk();
        let log = await openOnDisk(disk, SMALL);
        await log.createTopic(topicSpec('t', 3));
        const wanted = new Map<number, string[]>();
        for (const [i, { kind, label, size }] of steps.entries()) {
          const partition = log.topic('t')!.partitions[i % 3]!;
          const text = `${label}.${i}.${'x'.repeat(size)}`;
          if (kind === 'restart') {
            if (i % 2 === 0) await log.close();
            disk.crash();
            log = await openOnDisk(disk, SMALL);
            continue;
          }
          if (kind === 'fails') {
            disk.arm({ at: 1, kind: 'write', code: 'DISK_FULL' });
            const stored = await append(partition, text, { labels: labels(label, 1000 + (label % 3)) }).then(
              () => true,
              () => false,
            );
            disk.arm();
            if (!stored) continue;
          } else if (kind === 'batch') await appendBatch(partition, producedBatch([text]));
          else if (kind === 'plain') await append(partition, text);
          else await append(partition, text, { labels: labels(label, 1000 + (label % 3)) });
          if (i % 3 === p) wanted.set(label, [...(wanted.get(label) ?? []), text]);
        }
        // What is in memory is not filtered: after a restart nothing is.
        await log.close();
        disk.crash();
        log = await openOnDisk(disk, SMALL);
        const partition = log.topic('t')!.partitions[p]!;
        for (const [label, texts] of wanted) {
          for (const only of [[labels(label)], [labels(label, 1000 + (label % 3))], [labels(99), labels(label)]]) {
            const { values } = await readOnly(partition, only, 1 + label * 100);
            expect(values.filter((value) => value.startsWith(`${label}.`))).toEqual(texts);
          }
        }
        await log.close();
      },
    );
    await fc.assert(property, { numRuns: 25 });
  });

  it('a thousandth of a topic takes a small part of its bytes, and what is not there takes next to none', async () => {
    const disk = new MemoryDisk();
    const options = { writeBufferBytes: 200_000, sliceBytes: 1_000_000 };
    let log = await openOnDisk(disk, options);
    const partition = (await log.createTopic(topicSpec('t', 1))).partitions[0]!;
    const every = Array.from({ length: 1000 }, (_, i) => labels(i));
    for (let i = 0; i < 20_000; i += 20) {
      await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          append(partition, `${i + n}`.padEnd(200, '.'), { labels: every[((i + n) * 7919) % 1000]! }),
        ),
      );
    }
    await log.close();
    disk.crash();
    log = await openOnDisk(disk, options);
    const again = log.topic('t')!.partitions[0]!;
    const { values, bytes } = await readOnly(again, [every[123]!], 65_536);
    const numbers = values.map((value) => Number.parseInt(value, 10)).filter((i) => (i * 7919) % 1000 === 123);
    expect(numbers).toHaveLength(20);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(bytes).toBeLessThan(again.sizeBytes * 0.13);
    const none = await readOnly(again, [labels(77_777)], 65_536);
    expect(none.bytes).toBeLessThan(again.sizeBytes * 0.05);
    await log.close();
  });

  it('a filter that is damaged, or of a version to come, is none', () => {
    const builder = new KeyFilterBuilder();
    builder.add(3, 10, 19, 100, [record('a', { labels: labels(1, 2) })]);
    const bytes = builder.finish()!;
    expect(KeyFilter.parse(bytes)!.next(3, 10, 19, [labels(1, 2)])).toEqual({ firstOffset: 10, lastOffset: 19 });
    for (let i = 0; i < bytes.length; i++) {
      const damaged = Buffer.from(bytes);
      damaged[i]! ^= 0x10;
      expect(KeyFilter.parse(damaged), `byte ${i}`).toBeNull();
    }
    for (let i = 0; i < bytes.length; i++) expect(KeyFilter.parse(bytes.subarray(0, i))).toBeNull();
  });

  it('what no stripe covers is to be read: before, between and behind them, and other partitions', () => {
    const builder = new KeyFilterBuilder();
    const about = (label: number) => [record('a', { labels: labels(label) })];
    builder.add(1, 10, 19, 20_000, about(1));
    builder.add(1, 20, 29, 20_000, about(2));
    builder.add(1, 30, 39, 20_000, null);
    builder.add(1, 40, 49, 20_000, about(1));
    const filter = KeyFilter.parse(builder.finish()!)!;
    const next = (from: number, last: number, label: number, partition = 1) =>
      filter.next(partition, from, last, [labels(label)]);
    expect(next(0, 100, 1)).toEqual({ firstOffset: 0, lastOffset: 19 });
    expect(next(20, 100, 1)).toEqual({ firstOffset: 30, lastOffset: 100 });
    expect(next(10, 49, 2)).toEqual({ firstOffset: 20, lastOffset: 39 });
    expect(next(40, 49, 2)).toBeNull();
    expect(next(12, 15, 2)).toBeNull();
    expect(next(12, 15, 1)).toEqual({ firstOffset: 12, lastOffset: 15 });
    expect(next(12, 15, 1, 0)).toEqual({ firstOffset: 12, lastOffset: 15 });
    expect(next(12, 15, 1, 2)).toEqual({ firstOffset: 12, lastOffset: 15 });
  });

  it('batches join a stripe up to 16 KB, and only those that follow each other', () => {
    const builder = new KeyFilterBuilder();
    const some = [record('a', { labels: labels(1) })];
    for (let i = 0; i < 16; i++) builder.add(1, i, i, 1024, some);
    expect(KeyFilter.parse(builder.finish()!)!.length).toBe(1);
    const more = new KeyFilterBuilder();
    for (let i = 0; i < 17; i++) more.add(1, i, i, 1024, some);
    more.add(1, 18, 18, 1024, some);
    expect(KeyFilter.parse(more.finish()!)!.length).toBe(3);
    expect(new KeyFilterBuilder().finish()).toBeNull();
  });

  it('one in fifty wrong answers at most', () => {
    const builder = new KeyFilterBuilder();
    const some = Array.from({ length: 300 }, (_, i) => record('a', { labels: labels(i * 2_654_435_761) }));
    builder.add(1, 0, 299, 16_000, some);
    const filter = KeyFilter.parse(builder.finish()!)!;
    let wrong = 0;
    for (let i = 300; i < 10_300; i++) if (filter.next(1, 0, 299, [labels(i * 2_654_435_761)]) !== null) wrong++;
    expect(wrong).toBeLessThan(200);
  });

  it('the cache forgets the longest unused at its bound', () => {
    const builder = new KeyFilterBuilder();
    builder.add(1, 0, 1, 100, [record('a', { labels: labels(1) })]);
    const filter = KeyFilter.parse(builder.finish()!)!;
    const one = 64 + filter.byteLength;
    const cache = new KeyFilterCache(3 * one);
    for (const chunk of [1, 2, 3]) cache.put(chunk, filter);
    expect(cache.bytes).toBe(3 * one);
    cache.get(1);
    cache.put(4, filter);
    expect([1, 2, 3, 4].map((chunk) => cache.get(chunk) !== undefined)).toEqual([true, false, true, true]);
    cache.put(4, null);
    expect(cache.bytes).toBe(2 * one + 64);
  });
});
