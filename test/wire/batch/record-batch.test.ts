import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HeadwaterError } from '../../../src/errors.ts';
import { decodeMarker, encodeMarker } from '../../../src/wire/batch/control-batch.ts';
import * as batches from '../../../src/wire/batch/record-batch.ts';
import { RecordCursor } from '../../../src/wire/batch/record-cursor.ts';
import { encodeBatch, type RecordInput, recordSizeBound } from '../../../src/wire/batch/record-encoder.ts';

const require = createRequire(import.meta.url);
const Long = require('kafkajs/src/utils/long');
const { RecordBatch: kafkajsBatch } = require('kafkajs/src/protocol/recordBatch/v0');
const kafkajsRecord = require('kafkajs/src/protocol/recordBatch/record/v0');
const KafkajsDecoder = require('kafkajs/src/protocol/decoder');
const kafkajsDecodeBatch = require('kafkajs/src/protocol/recordBatch/v0/decoder');

const bytes = fc.uint8Array({ maxLength: 40 }).map((value) => Buffer.from(value));
const maybe = fc.option(bytes);
const anyRecord: fc.Arbitrary<RecordInput> = fc.record({
  key: maybe,
  value: maybe,
  headers: fc.array(fc.record({ key: fc.string({ unit: 'grapheme', maxLength: 8 }), value: maybe }), { maxLength: 3 }),
  timestamp: fc.oneof(fc.integer({ min: 0, max: 2 ** 45 }), fc.constant(-1)),
});
const anyRecords = fc.array(anyRecord, { minLength: 1, maxLength: 30 });

function read(batch: Uint8Array) {
  const cursor = new RecordCursor(batch);
  const found = [];
  while (cursor.next()) {
    found.push({
      offset: cursor.offset,
      timestamp: cursor.timestamp,
      key: cursor.key,
      value: cursor.value,
      headers: cursor.headers(),
    });
  }
  return found;
}

const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    if (error instanceof HeadwaterError) return error.code;
    throw error;
  }
  return 'none';
};

describe('encodeBatch', () => {
  it('writes what the cursor reads back, for any records', () => {
    fc.assert(
      fc.property(anyRecords, fc.nat({ max: 2 ** 50 }), (records, baseOffset) => {
        const batch = encodeBatch(records, { now: 1_700_000_000_000, baseOffset });
        batches.validateProducedBatch(batch);
        expect(read(batch)).toEqual(
          records.map((record, index) => ({
            offset: baseOffset + index,
            timestamp: record.timestamp < 0 ? 1_700_000_000_000 : record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
          })),
        );
        new RecordCursor(batch).checkDense();
        const times = records.map((record) => (record.timestamp < 0 ? 1_700_000_000_000 : record.timestamp));
        expect(batches.maxTimestampOf(batch)).toBe(Math.max(...times));
        const bound = records.reduce((sum, record) => sum + recordSizeBound(record), 61);
        expect(batch.length).toBeLessThanOrEqual(bound);
      }),
    );
  });

  it('is read by kafkajs, record by record', async () => {
    const batch = encodeBatch(
      [
        {
          key: Buffer.from('k'),
          value: Buffer.from('v1'),
          headers: [{ key: 'h', value: Buffer.from('x') }],
          timestamp: 1e12,
        },
        { key: null, value: Buffer.alloc(300, 7), headers: [], timestamp: 1e12 + 5e9 },
        { key: null, value: null, headers: [], timestamp: 1e12 - 3 },
      ],
      { now: 0, baseOffset: 2 ** 40, leaderEpoch: 3 },
    );
    const decoder = new KafkajsDecoder(batch);
    const decoded = await kafkajsDecodeBatch(decoder);
    expect(decoded.firstOffset).toBe(String(2 ** 40));
    expect(decoded.lastOffsetDelta).toBe(2);
    expect(decoded.records.map((record: { timestamp: string }) => Number(record.timestamp))).toEqual([
      1e12,
      1e12 + 5e9,
      1e12 - 3,
    ]);
    expect(decoded.records[0].headers.h.toString()).toBe('x');
    expect(decoded.records[1].value).toEqual(Buffer.alloc(300, 7));
    expect(decoded.records[2].value).toBeNull();
  });

  it('gives the same bytes as kafkajs for the same records', async () => {
    const first = 1_600_000_000_000;
    const inputs = [
      { key: 'one', value: 'first', timestamp: first },
      { key: null, value: 'second', timestamp: first + 70_000 },
    ];
    const theirs = await kafkajsBatch({
      compression: 0,
      firstTimestamp: first,
      maxTimestamp: first + 70_000,
      partitionLeaderEpoch: -1,
      lastOffsetDelta: 1,
      producerId: Long.fromNumber(77),
      producerEpoch: 4,
      firstSequence: 12,
      records: inputs.map((input, offsetDelta) =>
        kafkajsRecord({ ...input, offsetDelta, timestampDelta: input.timestamp - first, headers: {} }),
      ),
    });
    const ours = encodeBatch(
      inputs.map(({ key, value, timestamp }) => ({
        key: key === null ? null : Buffer.from(key),
        value: Buffer.from(value),
        headers: [],
        timestamp,
      })),
      { now: 0, producerId: 77, producerEpoch: 4, baseSequence: 12 },
    );
    expect(ours.toString('hex')).toBe(theirs.buffer.toString('hex'));
  });

  it('refuses to make a batch of nothing', () => {
    expect(codeOf(() => encodeBatch([], { now: 0 }))).toBe('INVALID_RECORD');
  });
});

describe('the header', () => {
  const make = () =>
    encodeBatch([{ key: null, value: Buffer.from('x'), headers: [], timestamp: 5 }], { now: 0, baseOffset: 9 });

  it('keeps its CRC when base offset and leader epoch are patched', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 53 - 1 }), fc.integer({ min: -1 }), (offset, epoch) => {
        const batch = make();
        batches.patchBaseOffset(batch, offset);
        batches.patchLeaderEpoch(batch, epoch);
        batches.validateBatch(batch);
        expect(batches.baseOffsetOf(batch)).toBe(offset);
        expect(batches.leaderEpochOf(batch)).toBe(epoch);
      }),
    );
  });

  it('takes another producer and gets a new CRC', () => {
    const batch = make();
    batches.patchProducer(batch, 2 ** 48 + 3, 32_767, 2 ** 31 - 1);
    batches.validateBatch(batch);
    expect([batches.producerIdOf(batch), batches.producerEpochOf(batch), batches.baseSequenceOf(batch)]).toEqual([
      2 ** 48 + 3,
      32_767,
      2 ** 31 - 1,
    ]);
    batches.patchProducer(batch, -1, -1, -1);
    expect([batches.producerIdOf(batch), batches.producerEpochOf(batch), batches.lastSequenceOf(batch)]).toEqual([
      -1, -1, -1,
    ]);
  });

  it('stamps append time on every record, and shifts create times', () => {
    const batch = make();
    batches.shiftTimestamps(batch, 1_000_000_000_000);
    expect(read(batch)[0]!.timestamp).toBe(1_000_000_000_005);
    batches.patchLogAppendTime(batch, 123);
    batches.validateBatch(batch);
    expect(read(batch)[0]!.timestamp).toBe(123);
  });

  it('wraps sequences after 2147483647', () => {
    expect(batches.addToSequence(2_147_483_647, 1)).toBe(0);
    expect(batches.addToSequence(2_147_483_646, 5)).toBe(3);
    expect(batches.addToSequence(2, -3)).toBe(2_147_483_647);
  });
});

describe('damage', () => {
  it('is found: no flipped bit and no cut passes validation', () => {
    fc.assert(
      fc.property(anyRecords, fc.nat(), fc.nat({ max: 7 }), (records, where, bit) => {
        const batch = encodeBatch(records, { now: 0 });
        // Base offset and leader epoch are outside the CRC.
        const covered = [...Array(batch.length).keys()].filter((at) => at >= 8 && (at < 12 || at >= 16));
        const at = covered[where % covered.length]!;
        batch[at]! ^= 1 << bit;
        expect(codeOf(() => batches.validateBatch(batch))).toMatch(/CORRUPT_BATCH|INVALID_RECORD/);
        batch[at]! ^= 1 << bit;
        expect(codeOf(() => batches.validateBatch(batch.subarray(0, where % batch.length)))).toMatch(/CORRUPT_BATCH/);
      }),
    );
  });

  it('inside the records ends in CORRUPT_BATCH, never in a crash or a read beyond the batch', () => {
    fc.assert(
      fc.property(
        anyRecords,
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 5 }),
        (records, noise) => {
          const batch = encodeBatch(records, { now: 0 });
          for (const [where, byte] of noise) batch[57 + (where % (batch.length - 57))] = byte;
          expect(codeOf(() => read(batch))).toMatch(/none|CORRUPT_BATCH/);
          expect(codeOf(() => new RecordCursor(batch).checkDense())).toMatch(/none|CORRUPT_BATCH/);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('of a count, a codec or an offset delta is refused by name', () => {
    const make = (change: (batch: Buffer) => void) => {
      const batch = encodeBatch([{ key: null, value: null, headers: [], timestamp: 0 }], { now: 0 });
      change(batch);
      batches.patchCrc(batch);
      return () => batches.validateProducedBatch(batch);
    };
    expect(codeOf(make((batch) => batch.writeInt32BE(2, 57)))).toBe('CORRUPT_BATCH');
    expect(codeOf(make((batch) => batch.writeInt32BE(0, 57)))).toBe('INVALID_RECORD');
    expect(codeOf(make((batch) => batch.writeInt32BE(7, 23)))).toBe('INVALID_RECORD');
    expect(codeOf(make((batch) => batch.writeInt16BE(5, 21)))).toBe('UNSUPPORTED_COMPRESSION');
    expect(codeOf(make((batch) => batch.writeInt16BE(0x20, 21)))).toBe('INVALID_RECORD');
    expect(codeOf(make((batch) => batch.writeInt16BE(0x10, 21)))).toBe('INVALID_RECORD');
    expect(codeOf(make((batch) => batch.writeInt8(1, 16)))).toBe('INVALID_RECORD');
    expect(codeOf(make((batch) => batches.writeInt64(batch, 43, 5)))).toBe('INVALID_RECORD');
    expect(codeOf(make(() => {}))).toBe('none');
  });
});

describe('splitBatches', () => {
  it('gives whole batches and leaves a cut one at the end out', () => {
    const one = encodeBatch([{ key: null, value: Buffer.from('a'), headers: [], timestamp: 0 }], { now: 0 });
    const set = Buffer.concat([one, one, one]);
    for (let cut = 0; cut <= set.length; cut++) {
      expect(batches.splitBatches(set.subarray(0, cut))).toHaveLength(Math.floor(cut / one.length));
    }
    set.writeInt32BE(3, one.length + 8);
    expect(codeOf(() => batches.splitBatches(set))).toBe('CORRUPT_BATCH');
  });
});

describe('control batches', () => {
  it('carry a marker as Kafka writes it', () => {
    const batch = encodeMarker({ type: 'commit', coordinatorEpoch: 9, producerId: 5, producerEpoch: 2, timestamp: 77 });
    batches.validateBatch(batch);
    expect(batches.isControl(batch) && batches.isTransactional(batch)).toBe(true);
    expect(batches.baseSequenceOf(batch)).toBe(-1);
    expect(batch.subarray(61).toString('hex')).toBe('200000000800000001' + '0c000000000009' + '00');
    expect(decodeMarker(batch)).toEqual({ type: 'commit', coordinatorEpoch: 9 });
    expect(codeOf(() => batches.validateProducedBatch(batch))).toBe('INVALID_RECORD');
  });
});
