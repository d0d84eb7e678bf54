import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { caughtUpTime, mayJoin, nextHighWatermark, staysInSync } from '../../src/log/high-watermark.ts';
import { endOffsetForEpoch, raiseEpoch, trimEpochs } from '../../src/log/leader-epochs.ts';
import { missingRanges } from '../../src/log/losses.ts';
import { encodeRunTable, type Run, RunTable } from '../../src/log/run-table.ts';
import { Segments } from '../../src/log/segments.ts';
import { Slice } from '../../src/log/slice.ts';
import { closesChunk, needsNewChunk, sliceBytes } from '../../src/log/slice-size.ts';
import { Tail, TailCache } from '../../src/log/tail-cache.ts';

describe('the high watermark', () => {
  it('is the smallest log end in the ISR', () => expect(nextHighWatermark(3, 10, [7, 5, 9])).toBe(5));
  it('is the local log end without replicas', () => expect(nextHighWatermark(3, 10, [])).toBe(10));
  it('never moves back', () => expect(nextHighWatermark(6, 10, [4])).toBe(6));
});

describe('a replica', () => {
  it('stays in sync while it has everything, however long nothing came', () =>
    expect(staysInSync(10, 10, 99_999, 0, 100)).toBe(true));
  it('stays in sync for the allowed time after it last had everything', () => {
    expect(staysInSync(9, 10, 200, 100, 100)).toBe(true);
    expect(staysInSync(9, 10, 201, 100, 100)).toBe(false);
  });
  it('joins when nothing that consumers have seen is missing on it', () => {
    expect(mayJoin(5, 5)).toBe(true);
    expect(mayJoin(4, 5)).toBe(false);
  });
  it('that has what the log held at its last confirmation was caught up then', () => {
    expect(caughtUpTime(10, 10, 50, { at: 40, localEnd: 8 }, 1)).toBe(50);
    expect(caughtUpTime(9, 10, 50, { at: 40, localEnd: 8 }, 1)).toBe(40);
    expect(caughtUpTime(7, 10, 50, { at: 40, localEnd: 8 }, 1)).toBe(1);
  });
});

describe('leader epochs', () => {
  const epochs = [
    { epoch: 1, startOffset: 10 },
    { epoch: 3, startOffset: 50 },
    { epoch: 4, startOffset: 70 },
  ];
  it('answer the log end for the present epoch', () =>
    expect(endOffsetForEpoch(epochs, 4, 90)).toEqual({ epoch: 4, endOffset: 90 }));
  it('answer where the next epoch begins for an older one', () =>
    expect(endOffsetForEpoch(epochs, 3, 90)).toEqual({ epoch: 3, endOffset: 70 }));
  it('answer the largest epoch below one that had no records', () =>
    expect(endOffsetForEpoch(epochs, 2, 90)).toEqual({ epoch: 1, endOffset: 50 }));
  it('answer the start of the oldest for one before all', () =>
    expect(endOffsetForEpoch(epochs, 0, 90)).toEqual({ epoch: 0, endOffset: 10 }));
  it('know nothing of a future epoch', () => expect(endOffsetForEpoch(epochs, 5, 90)).toBeNull());
  it('are raised at an offset and drop those that hold nothing', () =>
    expect(raiseEpoch(epochs, 70)).toEqual([...epochs.slice(0, 2), { epoch: 5, startOffset: 70 }]));
  it('begin at the log start after it moved', () =>
    expect(trimEpochs(epochs, 60)).toEqual([
      { epoch: 3, startOffset: 60 },
      { epoch: 4, startOffset: 70 },
    ]));
});

describe('missing ranges', () => {
  it('are what no segment covers', () => {
    const spans = (...ranges: [first: number, last: number][]) => ({
      length: ranges.length,
      baseOffset: (i: number) => ranges[i]![0],
      lastOffset: (i: number) => ranges[i]![1],
    });
    const segments = spans([5, 9], [12, 19]);
    expect(missingRanges(3, 25, segments)).toEqual([
      { firstOffset: 3, lastOffset: 4 },
      { firstOffset: 10, lastOffset: 11 },
      { firstOffset: 20, lastOffset: 24 },
    ]);
    expect(missingRanges(7, 10, segments)).toEqual([]);
    expect(missingRanges(0, 0, spans())).toEqual([]);
  });
});

describe('slice and chunk sizes', () => {
  it('are an eighth of what is kept, 4 to 16 MiB', () => {
    expect(sliceBytes(Number.POSITIVE_INFINITY, 0)).toBe(16 << 20);
    expect(sliceBytes(80 << 20, 0)).toBe(10 << 20);
    expect(sliceBytes(1 << 20, 0)).toBe(4 << 20);
  });
  it('grow with what is stored, so that a retention of 32 GiB is 512 slices in the end', () => {
    const stored = (gib: number) => sliceBytes(64 * 2 ** 30, gib * 2 ** 30);
    expect([0, 8, 16, 32, 60].map(stored)).toEqual([16, 16, 32, 64, 64].map((mib) => mib << 20));
    expect(sliceBytes(100 << 20, 2 ** 35)).toBe((100 << 20) / 8);
    // A retention of 30 GB, each slice as large as the rule says when it begins, the oldest going.
    const slices: number[] = [];
    for (let i = 0, total = 0; i < 10_000; i++) {
      const next = sliceBytes(2 ** 40, total);
      slices.push(next);
      total += next;
      while (total > 30e9) total -= slices.shift()!;
    }
    expect(slices.length).toBeLessThanOrEqual(513);
  });
  it('let an empty chunk take any commit and a fuller one only what fits into the memtable', () => {
    const commit = { bytes: 900_000, entries: 1 };
    expect(needsNewChunk({ bytes: 0, entries: 0 }, { bytes: 5_000_000, entries: 1 }, 1 << 20)).toBe(false);
    expect(needsNewChunk({ bytes: 1_000, entries: 1 }, commit, 1 << 20)).toBe(false);
    expect(needsNewChunk({ bytes: 20_000, entries: 1 }, commit, 1 << 20)).toBe(true);
    expect(closesChunk({ bytes: 0, entries: 0 }, commit, 1 << 20)).toBe(true);
    expect(closesChunk({ bytes: 0, entries: 0 }, { bytes: 700_000, entries: 1 }, 1 << 20)).toBe(false);
  });
});

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const runOf = fc.record({
  partitionId: fc.integer({ min: 0, max: 5 }),
  baseOffset: fc.integer({ min: 0, max: 2 ** 52 }),
  lastOffset: fc.integer({ min: 0, max: 2 ** 52 }),
  bytes: u32,
  maxTimestamp: fc.integer({ min: -1, max: 2 ** 52 }),
  firstChunk: u32,
  lastChunk: u32,
});

describe('the run table', () => {
  it('gives back the runs it was made from, sorted', () => {
    fc.assert(
      fc.property(fc.array(runOf), (runs) => {
        const table = RunTable.parse(encodeRunTable(runs))!;
        const sorted = [...runs].sort((a, b) => a.partitionId - b.partitionId || a.baseOffset - b.baseOffset);
        expect([...table.runs()]).toEqual(sorted);
      }),
    );
  });

  it('is refused with any one bit flipped', () => {
    const run: Run = {
      partitionId: 1,
      baseOffset: 2,
      lastOffset: 3,
      bytes: 4,
      maxTimestamp: 5,
      firstChunk: 6,
      lastChunk: 7,
    };
    const bytes = encodeRunTable([run]);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(RunTable.parse(flipped)).toBeNull();
    }
  });

  it('finds the first run of a partition that ends at or behind an offset', () => {
    const at = (partitionId: number, baseOffset: number, lastOffset: number): Run => ({
      partitionId,
      baseOffset,
      lastOffset,
      bytes: 1,
      maxTimestamp: 0,
      firstChunk: 0,
      lastChunk: 0,
    });
    const table = RunTable.of([at(2, 0, 9), at(2, 20, 29), at(4, 5, 6)]);
    expect(table.find(2, 0)).toBe(0);
    expect(table.find(2, 10)).toBe(1);
    expect(table.find(2, 30)).toBe(-1);
    expect(table.find(3, 0)).toBe(-1);
    expect(table.find(4, 6)).toBe(2);
  });
});

describe('segments', () => {
  const run = (baseOffset: number, lastOffset: number): Run => ({
    partitionId: 1,
    baseOffset,
    lastOffset,
    bytes: 10,
    maxTimestamp: lastOffset,
    firstChunk: 1,
    lastChunk: 1,
  });
  const shape = (segments: Segments) => [...segments].map((s) => [s.slice.id, s.baseOffset, s.lastOffset]);

  it('prefer the newer slice where a crash left two copies', () => {
    const segments = new Segments();
    segments.place(new Slice(1), run(0, 9));
    segments.place(new Slice(2), run(10, 19));
    segments.place(new Slice(3), run(5, 12));
    expect(shape(segments)).toEqual([
      [1, 0, 4],
      [3, 5, 12],
      [2, 13, 19],
    ]);
  });

  it('find the one that holds an offset and forget those before the log start', () => {
    const segments = new Segments();
    segments.place(new Slice(1), run(0, 9));
    segments.place(new Slice(2), run(10, 19));
    expect(segments.find(9)).toBe(0);
    expect(segments.find(10)).toBe(1);
    expect(segments.find(20)).toBe(2);
    segments.trim(12);
    expect(shape(segments)).toEqual([[2, 10, 19]]);
  });

  it('hold, whatever is done to them, what a list of the owner of each offset holds', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('append'), count: fc.integer({ min: 1, max: 9 }), roll: fc.boolean() }),
      fc.record({ do: fc.constantFrom('place', 'forget'), from: fc.nat(60), count: fc.integer({ min: 1, max: 20 }) }),
      fc.record({ do: fc.constant('trim'), from: fc.nat(60) }),
      fc.record({ do: fc.constant('drop'), nth: fc.nat(9) }),
    ) as fc.Arbitrary<{ do: string; from: number; count: number; roll: boolean; nth: number }>;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const segments = new Segments();
        const slices = [new Slice(1)];
        const owners = new Map<number, Slice>();
        let [start, end] = [0, 0];
        for (const { do: what, from, count, roll, nth } of steps) {
          const last = Math.min(from + count, end) - 1;
          if (what !== 'append' && what !== 'drop' && last < from) continue;
          if (what === 'append') {
            if (roll) slices.push(new Slice(slices.length + 1));
            const slice = slices[slices.length - 1]!;
            segments.append(slice, slice.id, end, end + count - 1, count * 10, end);
            for (let i = 0; i < count; i++) owners.set(end++, slice);
          } else if (what === 'place') {
            const slice = new Slice(slices.length + 1);
            slices.push(slice);
            segments.place(slice, { ...run(from, last), bytes: (last - from + 1) * 10 });
            for (let offset = from; offset <= last; offset++) owners.set(offset, slice);
          } else if (what === 'forget') {
            segments.forget(from, last);
            for (let offset = from; offset <= last; offset++) owners.delete(offset);
          } else if (what === 'trim') {
            segments.trim(from);
            start = Math.max(start, from);
          } else {
            const slice = slices[nth % slices.length]!;
            segments.drop(slice);
            for (const [offset, owner] of owners) if (owner === slice) owners.delete(offset);
          }
        }
        let before = -1;
        for (const { baseOffset, lastOffset } of segments) {
          expect(baseOffset).toBeGreaterThan(before);
          expect(lastOffset).toBeGreaterThanOrEqual(baseOffset);
          before = lastOffset;
        }
        for (let offset = start; offset < end; offset++) {
          const found = segments.at(segments.find(offset));
          const holds = found !== undefined && found.baseOffset <= offset;
          expect(holds ? found.slice.id : null).toBe(owners.get(offset)?.id ?? null);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('the tail cache', () => {
  it('keeps the newest batches within its bytes and finds the one that holds an offset', () => {
    const cache = new TailCache(100);
    const [a, b] = [new Tail(), new Tail()];
    for (let i = 0; i < 500; i++) cache.add(i % 2 === 0 ? a : b, i * 10, i * 10 + 9, Buffer.alloc(10));
    expect(cache.bytes).toBe(100);
    expect(a.firstOffset).toBe(4_900);
    expect(b.firstOffset).toBe(4_910);
    expect(a.baseOffsets[a.seek(4_925)]).toBe(4_920);
    expect(a.length).toBeLessThan(300);
    cache.clear(a);
    expect(a.firstOffset).toBe(Number.POSITIVE_INFINITY);
    for (let i = 0; i < 20; i++) cache.add(b, 10_000 + i, 10_000 + i, Buffer.alloc(10));
    expect(cache.bytes).toBe(100);
    expect(b.firstOffset).toBe(10_010);
  });

  it('gives each reader the bytes that were stored, whatever came after, and forgets only the oldest', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 1, max: 130 })), {
      maxLength: 120,
    });
    fc.assert(
      fc.property(steps, (all) => {
        const cache = new TailCache(256);
        const tails = [new Tail(), new Tail(), new Tail()];
        const ends = [0, 0, 0];
        const stored: Buffer[][] = [[], [], []];
        const given: [Uint8Array, Buffer][] = [];
        for (const [which, bytes] of all) {
          const batch = Buffer.alloc(bytes, (ends[which]! * 3 + which) & 0xff);
          cache.add(tails[which]!, ends[which]!, ends[which]!, batch);
          stored[which]!.push(Buffer.from(batch));
          batch.fill(0xee);
          ends[which]!++;
          expect(cache.bytes).toBeLessThanOrEqual(256);
          expect(tails[which]!.firstOffset).toBeLessThan(ends[which]!);
          for (const [i, tail] of tails.entries()) {
            const first = tail.firstOffset;
            if (first === Number.POSITIVE_INFINITY) continue;
            const { batches, nextOffset } = cache.read(tail, first, ends[i]!, 10_000);
            expect(nextOffset).toBe(ends[i]);
            for (const [k, one] of batches.entries()) given.push([one, stored[i]![first + k]!]);
          }
        }
        for (const [got, wanted] of given) expect(Buffer.compare(got, wanted)).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  it('does not take a batch larger than itself, and holds nothing before it', () => {
    const cache = new TailCache(100);
    const tail = new Tail();
    cache.add(tail, 0, 0, Buffer.alloc(10));
    cache.add(tail, 1, 1, Buffer.alloc(101));
    expect(tail.firstOffset).toBe(Number.POSITIVE_INFINITY);
    cache.add(tail, 2, 2, Buffer.alloc(100, 7));
    expect(tail.firstOffset).toBe(2);
    expect(cache.read(tail, 2, 3, 1).batches.map((batch) => batch.length)).toEqual([100]);
  });
});
