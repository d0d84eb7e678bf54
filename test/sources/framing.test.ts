import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bufferBytes, type Framing, frame } from '../../src/sources/framing.ts';

const LINES: Framing = { start: null, maxBytes: 16 };
const MULTI: Framing = { start: /^\d/, maxBytes: 24 };

const values = (text: string, framing: Framing, cuts: number[] = []) =>
  frame(Buffer.from(text), 0, framing, cuts).frames.map(({ value }) => Buffer.from(value).toString());

/** As a source reads: a bounded stretch from each position on, cut anywhere by what is there. */
function inStretches(bytes: Buffer, framing: Framing, cuts: number[], sizes: readonly number[]) {
  const records: string[] = [];
  let at = 0;
  let available = 0;
  for (let i = 0; at < bytes.length; i++) {
    available = Math.min(bytes.length, Math.max(available, at) + (sizes[i % sizes.length] ?? 1));
    const stretch = bytes.subarray(at, Math.min(available, at + bufferBytes(framing.maxBytes)));
    const framed = frame(stretch, at, framing, cuts);
    for (const { start, end, value } of framed.frames)
      records.push(`${start}-${end}:${Buffer.from(value).toString('latin1')}`);
    if (framed.next === at && available === bytes.length) break;
    at = framed.next;
  }
  return records;
}

describe('lines', () => {
  it('end with LF or CR LF, which are not part of the record; an empty line is an empty record', () => {
    expect(values('a\nbc\r\n\nd\n', LINES)).toEqual(['a', 'bc', '', 'd']);
  });

  it('are not complete without their end', () => {
    expect(frame(Buffer.from('a\nbc'), 100, LINES, [])).toMatchObject({ next: 102, wholeLines: 102 });
  });

  it('are cut at record.max.bytes and not one byte before', () => {
    expect(values(`${'x'.repeat(16)}\n`, LINES)).toEqual(['x'.repeat(16)]);
    expect(values(`${'x'.repeat(17)}\n`, LINES)).toEqual(['x'.repeat(16), 'x']);
    expect(frame(Buffer.from(`${'x'.repeat(40)}\n`), 0, LINES, []).cut).toBe(2);
  });

  it('end where a cut was decided, and go on behind it', () => {
    expect(values('abc', LINES, [3])).toEqual(['abc']);
    expect(values('abcdef\n', LINES, [3])).toEqual(['abc', 'def']);
  });

  it('are bytes: what is no text stays what it is', () => {
    const bytes = Buffer.from([0xff, 0x00, 0xc3, 0x0a]);
    expect(Buffer.from(frame(bytes, 0, LINES, []).frames[0]!.value)).toEqual(bytes.subarray(0, 3));
  });
});

describe('multi-line records', () => {
  it('begin at a line that matches and end before the next', () => {
    expect(values('1 a\n  b\n\n2 c\n3 d\n', MULTI)).toEqual(['1 a\n  b\n', '2 c']);
  });

  it('begin with whatever comes first', () => {
    expect(values('tail\n1 a\n2', MULTI)).toEqual(['tail']);
  });

  it('are over only when the next line is whole: its beginning may mislead', () => {
    const framing = { start: /^\d+ start$/, maxBytes: 100 };
    expect(values('1 start\n2 star', framing)).toEqual([]);
    expect(values('1 start\n2 start\n', framing)).toEqual(['1 start']);
    expect(frame(Buffer.from('1 start\nmore\n2 st'), 0, framing, []).wholeLines).toBe(13);
  });

  it('are cut between lines when they grow too long, and within a line that is too long alone', () => {
    expect(values(`1 ${'a'.repeat(20)}\n b\n2\n3\n`, MULTI)).toEqual([`1 ${'a'.repeat(20)}`, ' b', '2']);
    expect(values(`1 ${'a'.repeat(30)}\n2\n3\n`, MULTI)[0]).toHaveLength(24);
  });

  it('end where a cut was decided, whatever follows', () => {
    expect(values('1 a\n b\n2 c\n3\n', MULTI, [4])).toEqual(['1 a', ' b', '2 c']);
  });
});

describe('framing', () => {
  it('does not depend on when what was read', () => {
    const line = fc.oneof(
      fc.string({ maxLength: 30 }),
      fc.string({ maxLength: 10 }).map((text) => `1${text}`),
      fc.constant(''),
      fc.constant('\r'),
    );
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 }),
        fc.array(fc.nat(300), { maxLength: 3 }),
        fc.boolean(),
        (lines, sizes, at, multi) => {
          const bytes = Buffer.from(`${lines.join('\n')}\n`);
          const cuts = [...new Set(at)].filter((cut) => cut > 0 && cut < bytes.length).sort((a, b) => a - b);
          const framing = multi ? MULTI : LINES;
          expect(inStretches(bytes, framing, cuts, sizes)).toEqual(inStretches(bytes, framing, cuts, [bytes.length]));
          const whole = frame(bytes, 0, framing, cuts);
          // Nothing between the records is left out.
          let next = 0;
          for (const { start, end, value } of whole.frames) {
            expect(start).toBe(next);
            expect(value.length).toBeLessThanOrEqual(framing.maxBytes);
            next = end;
          }
          expect(whole.next).toBe(next);
        },
      ),
      { numRuns: 300 },
    );
  });
});
