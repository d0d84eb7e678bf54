import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MESSAGE_ELEMENTS_MAX, Reader } from '../../../src/wire/bytes/reader.ts';
import { Writer } from '../../../src/wire/bytes/writer.ts';

const reading = (...bytes: number[]): Reader => new Reader(Buffer.from(bytes));
const malformed = expect.objectContaining({ code: 'MALFORMED' });

describe('what is written is read back', () => {
  const pairs: [string, fc.Arbitrary<number>, (w: Writer, v: number) => void, (r: Reader) => number][] = [
    ['int8', fc.integer({ min: -128, max: 127 }), (w, v) => w.int8(v), (r) => r.int8()],
    ['int16', fc.integer({ min: -32_768, max: 32_767 }), (w, v) => w.int16(v), (r) => r.int16()],
    ['uint16', fc.integer({ min: 0, max: 65_535 }), (w, v) => w.int16(v), (r) => r.uint16()],
    ['int32', fc.integer(), (w, v) => w.int32(v), (r) => r.int32()],
    ['int64', fc.maxSafeInteger(), (w, v) => w.int64(v), (r) => r.int64()],
    ['float64', fc.double(), (w, v) => w.float64(v), (r) => r.float64()],
    ['uvarint', fc.integer({ min: 0, max: 2 ** 32 - 1 }), (w, v) => w.uvarint(v), (r) => r.uvarint()],
    ['varint', fc.integer(), (w, v) => w.varint(v), (r) => r.varint()],
    ['varlong', fc.maxSafeInteger(), (w, v) => w.varlong(v), (r) => r.varlong()],
  ];
  test.each(pairs)('%s', (_name, values, write, read) => {
    fc.assert(
      fc.property(fc.array(values, { minLength: 1, maxLength: 40 }), (list) => {
        const writer = new Writer(8);
        for (const value of list) write(writer, value);
        const reader = new Reader(writer.toBytes());
        expect(list.map(() => read(reader))).toEqual(list);
        expect(reader.remaining).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test('the ends of the 64-bit range', () => {
    const writer = new Writer();
    writer.int64(2 ** 63);
    writer.int64(-(2 ** 63));
    expect(writer.toBytes().toString('hex')).toBe('7fffffffffffffff8000000000000000');
    const reader = new Reader(Buffer.from('7fffffffffffffff', 'hex'));
    expect(reader.int64()).toBe(2 ** 63);
  });
});

describe('lies are refused', () => {
  test.each<[string, () => unknown]>([
    ['a number beyond the end', () => reading(0, 0, 0).int32()],
    ['a length beyond the end', () => reading(1, 2).bytes(3)],
    ['a negative length', () => reading(1, 2).bytes(-1)],
    ['a negative text length', () => reading(1, 2).utf8(-5)],
    ['a negative skip', () => reading(1, 2).skip(-1)],
    ['a varint without an end', () => reading(0x80, 0x80, 0x80, 0x80, 0x80, 0x80).uvarint()],
    ['a varint that is cut', () => reading(0x80, 0x80).uvarint()],
    ['a varint above 32 bits', () => reading(0xff, 0xff, 0xff, 0xff, 0x1f).uvarint()],
    ['a varlong without an end', () => new Reader(Buffer.alloc(20, 0x80)).varlong()],
    ['a varlong above 64 bits', () => reading(...new Array(9).fill(0xff), 0x03).varlong()],
    ['a negative count', () => reading(0).count(-1, 1)],
    ['more elements than bytes', () => reading(0, 0, 0).count(4, 1)],
    ['2^31-1 elements', () => reading(0, 0, 0).count(2 ** 31 - 1, 4)],
  ])('%s', (_what, read) => {
    expect(read).toThrow(malformed);
  });

  test('elements are bounded over the whole message', () => {
    const reader = new Reader(Buffer.alloc(MESSAGE_ELEMENTS_MAX + 10));
    reader.count(MESSAGE_ELEMENTS_MAX, 1);
    expect(() => reader.count(1, 1)).toThrow(malformed);
  });
});

test('bytes are a view and not a copy', () => {
  const source = Buffer.from([1, 2, 3, 4]);
  const view = new Reader(source, 1).bytes(2);
  source[1] = 9;
  expect([...view]).toEqual([9, 3]);
});
