import { describe, expect, it } from 'vitest';
import { loadCodec } from '../../src/wire/batch/compression.ts';
import { eachRecord } from './record-batch.ts';

const varint = (value: number): number[] => {
  const bytes: number[] = [];
  let left = value >= 0 ? value * 2 : -value * 2 - 1;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) | 128);
  return [...bytes, left];
};
const text = (value: string): number[] => [...varint(value.length), ...Buffer.from(value)];

const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;

/** A batch as KIP-98 lays it out, of one record a sequence number. */
async function batch(base: number, sequences: readonly number[], attributes = 0): Promise<Buffer> {
  const records = sequences.flatMap((sequence, delta) => {
    const headers = { device: 'dev-1', epoch: '7', sequence: String(sequence) };
    const body = [0, ...varint(0), ...varint(delta), ...varint(-1), ...text('x'.repeat(200)), ...varint(3)];
    for (const [key, value] of Object.entries(headers)) body.push(...text(key), ...text(value));
    return [...varint(body.length), ...body];
  });
  const codec = await loadCodec(CODECS[attributes & 7]!, { compress: true });
  const payload = codec.compress(Buffer.from(records));
  const header = Buffer.alloc(61);
  header.writeBigInt64BE(BigInt(base), 0);
  header.writeInt32BE(49 + payload.length, 8);
  header[16] = 2;
  header.writeInt16BE(attributes, 21);
  header.writeInt32BE(sequences.length - 1, 23);
  header.writeInt32BE(sequences.length, 57);
  return Buffer.concat([header, payload]);
}

async function read(bytes: Buffer): Promise<{ next: number | undefined; found: [number, string | undefined][] }> {
  const found: [number, string | undefined][] = [];
  const next = await eachRecord(bytes, ({ offset, headers }) => found.push([offset, headers.get('sequence')]));
  return { next, found };
}

describe('record batches', () => {
  it.each(CODECS.map((name, codec) => [name, codec] as const))('%s: offsets and headers come out', async (_, codec) => {
    const { next, found } = await read(Buffer.concat([await batch(10, [1, 2], codec), await batch(12, [5], codec)]));
    expect(found).toEqual([
      [10, '1'],
      [11, '2'],
      [12, '5'],
    ]);
    expect(next).toBe(13);
  });

  it('a batch that is cut short is left for the next read', async () => {
    const whole = await batch(10, [1]);
    const { next, found } = await read(Buffer.concat([whole, (await batch(11, [2])).subarray(0, -1)]));
    expect([next, found.length]).toEqual([11, 1]);
    expect(await read(whole.subarray(0, 70))).toEqual({ next: undefined, found: [] });
  });

  it('control batches are passed over', async () => {
    expect(await read(await batch(10, [1], 0x20))).toEqual({ next: 11, found: [] });
  });

  it('a codec that nobody knows is named', async () => {
    const bytes = await batch(10, [1]);
    bytes[22] = 7;
    await expect(read(bytes)).rejects.toThrow(/codec 7/);
  });
});
