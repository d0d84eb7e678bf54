import { describe, expect, it } from 'vitest';
import { type EdgeLog, locate, locateFresh, type Position, type UpstreamLog } from '../../src/links/evidence.ts';
import { edgeLogOf } from '../../src/links/forwarding.ts';
import { EVERYTHING } from '../../src/links/selection.ts';
import {
  nextOffsetOf,
  patchBaseOffset,
  patchProducer,
  shiftTimestamps,
  writeInt64,
} from '../../src/wire/batch/record-batch.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { MemoryLog, type MemoryPartition } from '../kafka/memory-log.ts';

const PRODUCER = 7;

function stored(offset: number, count: number): Buffer {
  const records = Array.from({ length: count }, (_, index) => ({
    key: null,
    value: Buffer.from(`record ${offset + index}`),
    headers: [],
    timestamp: 1_700_000_000_000 + offset + index,
  }));
  return encodeBatch(records, { now: 0, baseOffset: offset, leaderEpoch: 0 });
}

/** Batches of `size` records from `start` to `end`, as the edge has them. */
async function edgeOf(start: number, end: number, size: number): Promise<EdgeLog> {
  const { partitions } = await new MemoryLog().createTopic({ name: 't', partitions: 1, config: new Map() });
  const partition = partitions[0] as MemoryPartition;
  for (let offset = 0; offset < end; offset += size) partition.commit(stored(offset, size));
  partition.logStartOffset = start;
  return edgeLogOf(partition, false, EVERYTHING);
}

/** Upstream has the records from offset 0 to `end`, each batch with the sequence that its offset gives. */
function upstreamOf(end: number, size: number): UpstreamLog {
  const all: Buffer[] = [];
  for (let offset = 0; offset < end; offset += size) {
    const batch = stored(offset, size);
    patchProducer(batch, PRODUCER, 0, offset);
    all.push(batch);
  }
  return {
    range: async () => ({ start: 0, end }),
    read: async (offset) => all.filter((batch) => nextOffsetOf(batch) > offset).slice(0, 1),
  };
}

const cursorAt = (offset: number): Position => ({
  offset,
  sequence: offset,
  producerId: PRODUCER,
  producerEpoch: 0,
  upstreamNext: offset,
});

describe('where a link goes on', () => {
  it('after what upstream has beyond the cursor', async () => {
    const located = await locate(cursorAt(10), await edgeOf(0, 60, 5), upstreamOf(40, 5));
    expect(located).toMatchObject({ kind: 'advanced', offset: 40, sequence: 40, upstreamNext: 40 });
  });

  it('by the records that went upstream before their time was corrected', async () => {
    const early = 20_000_000_000;
    const upstream = upstreamOf(40, 5);
    const before: UpstreamLog = {
      ...upstream,
      read: async (...args) =>
        (await upstream.read(...args)).map((batch) => {
          const copy = Buffer.from(batch);
          shiftTimestamps(copy, -early);
          return copy;
        }),
    };
    const edge = await edgeOf(0, 60, 5);
    expect(await locate(cursorAt(10), edge, before)).toMatchObject({ kind: 'diverged' });
    const correcting = {
      ...edge,
      correctedTime: (offset: number, time: number) => (offset < 30 ? time + early : time),
    };
    // Where it was not corrected, another time is another record.
    expect(await locate(cursorAt(10), correcting, before)).toMatchObject({ kind: 'diverged', offset: 30 });
    const all = { ...edge, correctedTime: (_: number, time: number) => time + early };
    expect(await locate(cursorAt(10), all, before)).toMatchObject({ kind: 'advanced', offset: 40, upstreamNext: 40 });
    // Some of it may have gone upstream with its time corrected.
    expect(await locate(cursorAt(10), all, upstream)).toMatchObject({ kind: 'advanced', offset: 40 });
  });

  it.each([
    { start: 20, why: 'at the end of a batch' },
    { start: 22, why: 'inside a batch' },
  ])('also when retention here removed some of it, $why', async ({ start }) => {
    const located = await locate(cursorAt(10), await edgeOf(start, 60, 5), upstreamOf(40, 5));
    expect(located).toMatchObject({ kind: 'advanced', offset: 40, sequence: 40 });
  });

  it('behind the last record that is the same, when what follows upstream is not ours any more', async () => {
    // Upstream went on with batches of another size under the same sequences: a restored data directory.
    const edge = await edgeOf(20, 60, 5);
    const ours = upstreamOf(40, 5);
    const other = stored(140, 3);
    patchBaseOffset(other, 40);
    patchProducer(other, PRODUCER, 0, 40);
    const upstream: UpstreamLog = {
      range: async () => ({ start: 0, end: 43 }),
      read: async (offset, maxBytes) => (offset >= 40 ? [other] : ours.read(offset, maxBytes)),
    };
    const located = await locate(cursorAt(10), edge, upstream);
    expect(located).toMatchObject({ kind: 'diverged', offset: 40 });
  });

  describe('without a cursor', () => {
    /** Upstream holds our first `common` records in batches of `size`, then `others` batches that are not ours. */
    function grown(common: number, size: number, others: number): UpstreamLog & { reads: number } {
      const all: Buffer[] = [];
      for (let offset = 0; offset < common; offset += size) {
        const batch = stored(offset, Math.min(size, common - offset));
        patchProducer(batch, PRODUCER, 0, offset);
        all.push(batch);
      }
      for (let i = 0; i < others; i++) {
        const batch = stored(1_000_000 + i, 1);
        writeInt64(batch, 0, common + i);
        patchProducer(batch, PRODUCER, 0, common + i);
        all.push(batch);
      }
      const upstream = {
        reads: 0,
        range: async () => ({ start: 0, end: common + others }),
        read: async (offset: number) => {
          upstream.reads++;
          return all.filter((batch) => nextOffsetOf(batch) > offset).slice(0, 1);
        },
      };
      return upstream;
    }

    it('behind our records, however much was written behind them since', async () => {
      const upstream = grown(4_000, 5, 3_000);
      const located = await locateFresh(await edgeOf(0, 6_000, 5), upstream);
      expect(located).toMatchObject({ kind: 'advanced', offset: 4_000, sequence: 4_000, upstreamNext: 7_000 });
      expect(upstream.reads).toBeLessThan(50);
    });

    it('behind our records in a run that ends in others', async () => {
      // A copy of the data directory ends at 43; what is upstream was sent in one run of 38 to 47.
      const upstream = grown(40, 5, 0);
      const run = stored(40, 10);
      patchProducer(run, PRODUCER, 0, 40);
      const mixed: UpstreamLog = {
        range: async () => ({ start: 0, end: 50 }),
        read: async (offset, maxBytes) => (offset >= 40 ? [run] : upstream.read(offset, maxBytes)),
      };
      expect(await locateFresh(await edgeOf(0, 43, 1), mixed)).toMatchObject({ kind: 'advanced', offset: 43 });
      const cursor = await locate(cursorAt(10), await edgeOf(0, 43, 1), mixed);
      expect(cursor).toMatchObject({ kind: 'diverged', offset: 43 });
    });

    it('at the beginning, when nothing upstream is ours', async () => {
      expect(await locateFresh(await edgeOf(0, 40, 5), grown(0, 5, 500))).toMatchObject({
        kind: 'confirmed',
        offset: 0,
      });
    });
  });
});
