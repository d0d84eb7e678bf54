import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isMergeable, mergeBatches } from '../../../src/wire/batch/merge.ts';
import {
  BATCH_HEADER_BYTES,
  maxTimestampOf,
  patchLogAppendTime,
  validateProducedBatch,
} from '../../../src/wire/batch/record-batch.ts';
import { RecordCursor } from '../../../src/wire/batch/record-cursor.ts';
import { encodeBatch, type RecordInput } from '../../../src/wire/batch/record-encoder.ts';

const bytes = fc.uint8Array({ maxLength: 300 }).map((value) => Buffer.from(value));
const anyRecord: fc.Arbitrary<RecordInput> = fc.record({
  key: fc.option(bytes),
  value: fc.option(bytes),
  headers: fc.array(fc.record({ key: fc.string({ maxLength: 8 }), value: fc.option(bytes) }), { maxLength: 2 }),
  timestamp: fc.oneof(fc.integer({ min: 0, max: 2 ** 45 }), fc.integer({ min: 1e12, max: 1e12 + 200 })),
});

function read(batch: Uint8Array) {
  const cursor = new RecordCursor(batch);
  const found = [];
  while (cursor.next()) {
    const { key, value, timestamp } = cursor;
    found.push({ key, value, timestamp, headers: cursor.headers() });
  }
  return found;
}

describe('merging batches', () => {
  it('gives one batch that Kafka takes, with the records of all, in order, times and all', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(anyRecord, { minLength: 1, maxLength: 70 }), { minLength: 1, maxLength: 12 }),
        (lists) => {
          const batches = lists.map((records, index) => encodeBatch(records, { now: 0, baseOffset: index * 1000 }));
          const before = batches.map((batch) => Buffer.from(batch));
          expect(batches.every((batch) => isMergeable(batch))).toBe(true);
          const merged = mergeBatches(batches)!;
          validateProducedBatch(merged);
          new RecordCursor(merged).checkDense();
          expect(read(merged)).toEqual(batches.flatMap(read));
          expect(maxTimestampOf(merged)).toBe(Math.max(...batches.map((batch) => maxTimestampOf(batch))));
          expect(batches).toEqual(before);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('is the same as encoding all records at once when the first has the base timestamp', () => {
    const records = Array.from({ length: 200 }, (_, index) => ({
      key: Buffer.from(`k${index % 7}`),
      value: Buffer.alloc(index * 3, index),
      headers: [],
      timestamp: 1_700_000_000_000 + index * 1000,
    }));
    const merged = mergeBatches(records.map((record) => encodeBatch([record], { now: 0 })))!;
    expect(merged.equals(encodeBatch(records, { now: 0 }))).toBe(true);
  });

  it('leaves out what has another form: append times, transactions, control batches, holes', () => {
    const batch = () => encodeBatch([{ key: null, value: Buffer.from('v'), headers: [], timestamp: 5 }], { now: 0 });
    const stamped = batch();
    patchLogAppendTime(stamped, 9);
    expect(isMergeable(batch())).toBe(true);
    expect(isMergeable(stamped)).toBe(false);
    for (const attributes of [1, 2, 3, 4, 0x10, 0x20, 0x40]) {
      const other = batch();
      other[22] = attributes;
      expect(isMergeable(other)).toBe(false);
    }
    const holes = batch();
    holes.writeInt32BE(3, 23);
    expect(isMergeable(holes)).toBe(false);
  });

  it('refuses records that are not what the header says, whatever byte is wrong, and never reads or writes beyond', () => {
    const good = () =>
      encodeBatch(
        [1, 2, 3].map((n) => ({ key: null, value: Buffer.alloc(n), headers: [], timestamp: n })),
        { now: 0 },
      );
    fc.assert(
      fc.property(fc.nat(), fc.nat(255), (at, byte) => {
        const bad = good();
        bad[BATCH_HEADER_BYTES + (at % (bad.length - BATCH_HEADER_BYTES))] = byte;
        const merged = mergeBatches([good(), bad]);
        if (merged !== null) validateProducedBatch(merged);
      }),
      { numRuns: 2000 },
    );
    const short = good();
    short[BATCH_HEADER_BYTES] = 2 * 60;
    expect(mergeBatches([short])).toBeNull();
    const cut = good();
    cut.writeInt32BE(2, 57);
    expect(mergeBatches([cut])).toBeNull();
  });
});
