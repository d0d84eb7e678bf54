import { describe, expect, it } from 'vitest';
import { ReadAhead } from '../../src/log/read-ahead.ts';
import { Segments } from '../../src/log/segments.ts';
import type { ReadResult } from '../../src/log/types.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { TestClock } from './records.ts';

const MiB = 1024 * 1024;
const END = 1_000;

/** One batch an offset, 64 KiB each. */
function batchAt(offset: number): Uint8Array {
  const value = Buffer.alloc(64 * 1024 - 100, offset);
  return encodeBatch([{ key: null, value, headers: [], timestamp: 1 }], { now: 1, baseOffset: offset, leaderEpoch: 0 });
}

function store() {
  const reads: number[] = [];
  const clock = new TestClock();
  const read = async (_id: number, _segments: Segments, from: number, upTo: number, maxBytes: number) => {
    reads.push(from);
    const batches: Uint8Array[] = [];
    let bytes = 0;
    let next = from;
    while (next < upTo && (batches.length === 0 || bytes < maxBytes)) {
      const batch = batchAt(next);
      if (batches.length > 0 && bytes + batch.length > maxBytes) break;
      batches.push(batch);
      bytes += batch.length;
      next++;
    }
    return { batches, bytes, nextOffset: next } satisfies ReadResult;
  };
  return { reads, clock, ahead: new ReadAhead(clock, read, 2 * MiB) };
}

const segments = new Segments();
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('reading ahead', () => {
  it('has the next answer ready when a reader comes back for it, each read once', async () => {
    const { reads, ahead } = store();
    let from = 0;
    const seen: number[] = [];
    for (let i = 0; i < 5; i++) {
      const before = reads.length;
      const result = await ahead.read(1, segments, from, END, MiB);
      // The first comes from the disk; later ones were read before they were asked for.
      if (i > 0) expect(reads[before - 1]).toBe(from);
      for (const batch of result.batches) seen.push(Buffer.from(batch).readUInt32BE(4));
      from = result.nextOffset;
      await settle();
    }
    expect(seen).toEqual(Array.from({ length: from }, (_, i) => i));
    expect(new Set(reads).size).toBe(reads.length);
    await ahead.close();
  });

  it('does not read ahead of small reads, nor at the end of what there is', async () => {
    const { reads, ahead } = store();
    await ahead.read(1, segments, 0, END, 64 * 1024);
    await ahead.read(1, segments, 990, END, MiB);
    await settle();
    expect(reads).toEqual([0, 990]);
    expect(ahead.bytes).toBe(0);
  });

  it('holds no more than its bound, and forgets what nobody came for', async () => {
    const { clock, ahead } = store();
    for (let partition = 0; partition < 10; partition++) await ahead.read(partition, segments, 0, END, MiB);
    expect(ahead.bytes).toBe(2 * MiB);
    clock.advance(1_000);
    expect(ahead.bytes).toBe(0);
    await ahead.close();
  });

  it('gives no batch at or above the end that this reader may see, and no more bytes than it asks for', async () => {
    const { ahead } = store();
    const { nextOffset } = await ahead.read(1, segments, 0, END, MiB);
    const committed = await ahead.read(1, segments, nextOffset, nextOffset + 2, MiB);
    expect(committed).toMatchObject({ nextOffset: nextOffset + 2 });
    expect(committed.batches).toHaveLength(2);
    const first = await ahead.read(2, segments, 0, END, MiB);
    const small = await ahead.read(2, segments, first.nextOffset, END, 200_000);
    expect(small.bytes).toBeLessThanOrEqual(200_000);
    expect(small.nextOffset).toBe(first.nextOffset + 3);
    await ahead.close();
  });

  it('reads for itself where reading ahead failed', async () => {
    const clock = new TestClock();
    let calls = 0;
    const ahead = new ReadAhead(clock, async (_id, _segments, from) => {
      if (++calls === 2) throw new Error('the disk');
      return {
        batches: Array.from({ length: 12 }, (_, i) => batchAt(from + i)),
        bytes: 12 * 65_536,
        nextOffset: from + 12,
      };
    });
    await ahead.read(1, segments, 0, END, MiB);
    expect(await ahead.read(1, segments, 12, END, MiB)).toMatchObject({ nextOffset: 24 });
    await ahead.close();
  });
});
