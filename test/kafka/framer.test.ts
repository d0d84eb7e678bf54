import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Framer } from '../../src/kafka/framer.ts';

const framed = (payload: Uint8Array): Buffer => {
  const size = Buffer.alloc(4);
  size.writeInt32BE(payload.length);
  return Buffer.concat([size, payload]);
};

test('frames come out whole and in order however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 30 }),
      (payloads, cuts) => {
        const stream = Buffer.concat(payloads.map(framed));
        const framer = new Framer(100);
        const seen: Buffer[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const end = at + cuts[turn % cuts.length]!;
          framer.push(stream.subarray(at, end));
          at = end;
          for (let frame = framer.next(); frame !== null; frame = framer.next()) seen.push(frame);
        }
        expect(seen.map((frame) => [...frame])).toEqual(payloads.map((payload) => [...payload]));
        expect(framer.buffered).toBe(0);
      },
    ),
  );
});

test('a frame inside one chunk is a view of it', () => {
  const chunk = framed(Buffer.from('abc'));
  const framer = new Framer(10);
  framer.push(chunk);
  const frame = framer.next()!;
  chunk[4] = 0x7a;
  expect(frame.toString()).toBe('zbc');
});

test('sizes above the limit and below zero are refused before anything else arrives', () => {
  for (const size of [101, 2 ** 31 - 1, -1]) {
    const framer = new Framer(100);
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(size);
    framer.push(bytes);
    expect(() => framer.next()).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
  }
});

test('a frame of exactly the limit passes', () => {
  const framer = new Framer(100);
  framer.push(framed(Buffer.alloc(100)));
  expect(framer.next()).toHaveLength(100);
});
