import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  batchKey,
  CHUNK_ID_MAX,
  CHUNK_RECORD_PARTITION,
  chunkRecordKey,
  metaKey,
  metaRange,
  OUTSIDE_DATA,
  PARTITION_ID_MAX,
  parseBatchKey,
  parseMetaKey,
  parseSliceName,
  sliceName,
} from '../../src/store/keys.ts';

const part = fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }));

describe('keys of the metadata database', () => {
  it('come back from parsing as they were made', () => {
    fc.assert(
      fc.property(fc.array(part), (parts) => {
        expect(parseMetaKey(metaKey('group', ...parts))).toEqual(parts);
      }),
    );
  });

  it('lie in the range of every shorter key that begins them, and in no other', () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1 }), part, (parts, other) => {
        const key = metaKey('session', ...parts);
        const inside = ({ gte, lt }: { gte: Uint8Array; lt: Uint8Array }) =>
          Buffer.compare(gte, key) <= 0 && Buffer.compare(key, lt) < 0;
        expect(inside(metaRange('session', ...parts.slice(0, -1)))).toBe(true);
        expect(inside(metaRange('session', ...parts))).toBe(true);
        if (other !== parts[0]) expect(inside(metaRange('session', other))).toBe(false);
        expect(inside(metaRange('group'))).toBe(false);
      }),
    );
  });

  it('refuse what metaKey did not make', () => {
    expect(() => parseMetaKey(Buffer.from([0x67, 0x07]))).toThrow(RangeError);
    expect(() => parseMetaKey(Buffer.from([0x67, 0x01, 0x00, 0x09, 0x61]))).toThrow(RangeError);
  });
});

describe('keys of a slice', () => {
  const offset = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const chunk = fc.integer({ min: 0, max: CHUNK_ID_MAX });
  const partition = fc.integer({ min: 0, max: PARTITION_ID_MAX });

  it('come back from parsing as they were made', () => {
    fc.assert(
      fc.property(chunk, partition, offset, (chunkId, partitionId, lastOffset) => {
        expect(parseBatchKey(batchKey(chunkId, partitionId, lastOffset))).toEqual({ chunkId, partitionId, lastOffset });
      }),
    );
  });

  it('order by chunk, then partition, then last offset, with the chunk record last and the outside key behind all', () => {
    fc.assert(
      fc.property(chunk, partition, offset, chunk, partition, offset, (c1, p1, o1, c2, p2, o2) => {
        const order = Math.sign(Buffer.compare(batchKey(c1, p1, o1), batchKey(c2, p2, o2)));
        expect(order).toBe(Math.sign(c1 - c2) || Math.sign(p1 - p2) || Math.sign(o1 - o2));
        expect(Buffer.compare(batchKey(c1, p1, o1), chunkRecordKey(c1))).toBe(-1);
        expect(Buffer.compare(chunkRecordKey(c1), OUTSIDE_DATA)).toBe(-1);
      }),
    );
  });

  it('are null when they are not keys of a batch', () => {
    expect(parseBatchKey(Buffer.alloc(15))).toBeNull();
    expect(parseBatchKey(Buffer.alloc(16, 0xff))).toBeNull();
    expect(parseBatchKey(chunkRecordKey(7))).toEqual({
      chunkId: 7,
      partitionId: CHUNK_RECORD_PARTITION,
      lastOffset: 0,
    });
  });

  it('name slices so that the order of names is the order of ids', () => {
    expect(sliceName(7)).toBe('slice-0000000007');
    expect(parseSliceName(sliceName(4_000_000_000))).toBe(4_000_000_000);
    expect(parseSliceName('meta')).toBeNull();
  });
});
