import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Writer } from '../../../src/wire/bytes/writer.ts';

test('large ranges are referred to, small ones copied', () => {
  const large = Buffer.alloc(10_000, 1);
  const small = Buffer.alloc(10, 2);
  const writer = new Writer();
  writer.int32(7);
  writer.bytes(large);
  writer.bytes(small);
  writer.int8(3);
  const chunks = writer.chunks();
  expect(chunks[1]).toBe(large);
  expect(chunks.map((chunk) => chunk.length)).toEqual([4, 10_000, 11]);
});

test('whatever the order of small and large, the bytes come out in order', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9_000 }), { maxLength: 30 }), (sizes) => {
      const writer = new Writer(4);
      writer.int32(0);
      const parts = sizes.map((size, i) => Buffer.alloc(size, i));
      for (const part of parts) writer.bytes(part);
      const total = sizes.reduce((sum, size) => sum + size, 0);
      expect(writer.byteLength).toBe(4 + total);
      const all = Buffer.concat(writer.framed());
      expect(all.readInt32BE(0)).toBe(total);
      expect(all.subarray(4).equals(Buffer.concat(parts))).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test('a hex text of another length than said is refused', () => {
  expect(() => new Writer().hex('abcd', 16)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
});
