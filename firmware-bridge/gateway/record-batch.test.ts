import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { eachRecord } from './record-batch.ts';

const varint = (value: number): number[] => {
  const bytes: number[] = [];
  let left = value >= 0 ? value * 2 : -value * 2 - 1;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) | 128);
  return [...bytes, left];
};
const text = (value: string): number[] => [...varint(value.length), ...Buffer.from(value)];

/** A batch as KIP-98 lays it out, of one record a sequence number. */
function batch(base: number, sequences: readonly number[], attributes = 0): Buffer {
  const records = sequences.flatMap((sequence, delta) => {
    const headers = { device: 'dev-1', epoch: '7', sequence: String(sequence) };
    const body = [0, ...varint(0), ...varint(delta), ...varint(-1), ...text('x'.repeat(200)), ...varint(3)];
    for (const [key, value] of Object.entries(headers)) body.push(...text(key), ...text(value));
    return [...varint(body.length), ...body];
  });
  const payload = attributes === 1 ? gzipSync(Buffer.from(records)) : Buffer.from(records);
  const header = Buffer.alloc(61);
  header.writeBigInt64BE(BigInt(base), 0);
  header.writeInt32BE(49 + payload.length, 8);
  header[16] = 2;
  header.writeInt16BE(attributes, 21);
  header.writeInt32BE(sequences.length - 1, 23);
  header.writeInt32BE(sequences.length, 57);
  return Buffer.concat([header, payload]);
}

function read(bytes: Buffer): { next: number | undefined; found: [number, string | undefined][] } {
  const found: [number, string | undefined][] = [];
  const next = eachRecord(bytes, ({ offset, headers }) => found.push([offset, headers.get('sequence')]));
  return { next, found };
}

describe('record batches', () => {
  it.each([
    ['plain', 0],
    ['gzip', 1],
  ])('%s: offsets and headers come out', (_, attributes) => {
    const { next, found } = read(Buffer.concat([batch(10, [1, 2], attributes), batch(12, [5], attributes)]));
    expect(found).toEqual([
      [10, '1'],
      [11, '2'],
      [12, '5'],
    ]);
    expect(next).toBe(13);
  });

  it('a batch that is cut short is left for the next read', () => {
    const whole = batch(10, [1]);
    const { next, found } = read(Buffer.concat([whole, batch(11, [2]).subarray(0, -1)]));
    expect([next, found.length]).toEqual([11, 1]);
    expect(read(whole.subarray(0, 70))).toEqual({ next: undefined, found: [] });
  });

  it('control batches are passed over', () => {
    expect(read(batch(10, [1], 0x20))).toEqual({ next: 11, found: [] });
  });

  it('a compression that cannot be undone is named, with what to do', () => {
    expect(() => read(batch(10, [1], 3))).toThrow(/lz4: set compression.type of the topic to none or gzip/);
  });
});
