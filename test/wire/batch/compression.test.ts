import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HeadwaterError } from '../../../src/errors.ts';
import { loadCodec, openBatch } from '../../../src/wire/batch/compression.ts';
import { CODECS, codecOf, validateBatch } from '../../../src/wire/batch/record-batch.ts';
import { compressBatch, encodeBatch } from '../../../src/wire/batch/record-encoder.ts';

const telemetry = Buffer.from(
  JSON.stringify(
    Array.from({ length: 4000 }, (_, index) => ({ sensor: `s-${index % 7}`, celsius: 20 + (index % 50) / 10 })),
  ),
);
const packed = CODECS.filter((name) => name !== 'none');

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof HeadwaterError) return error.code;
    throw error;
  }
  return 'none';
}

describe.each(packed)('%s', (name) => {
  it('gives back any bytes', async () => {
    const codec = await loadCodec(name, { compress: true });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 400 }),
          fc.array(fc.constantFrom(1, 2), { maxLength: 3000 }).map((a) => Uint8Array.from(a)),
        ),
        (bytes) => {
          const back = codec.decompress(codec.compress(bytes), 1 << 20);
          expect(Buffer.compare(back, bytes)).toBe(0);
        },
      ),
    );
    const big = Buffer.concat([telemetry, telemetry.subarray(0, 1000), Buffer.alloc(70_000), telemetry]);
    const small = codec.compress(big);
    expect(small.length).toBeLessThan(big.length / 4);
    expect(Buffer.compare(codec.decompress(small, big.length), big)).toBe(0);
  });

  it('never gives more than the bound', async () => {
    const codec = await loadCodec(name, { compress: true });
    const bomb = codec.compress(new Uint8Array(4 * 1024 * 1024));
    expect(codec.decompress(bomb, 4 * 1024 * 1024)).toHaveLength(4 * 1024 * 1024);
    expect(codeOf(() => codec.decompress(bomb, 4 * 1024 * 1024 - 1))).toBe('CORRUPT_BATCH');
  });

  it('answers damage with CORRUPT_BATCH or bytes within the bound', async () => {
    const codec = await loadCodec(name, { compress: true });
    const good = codec.compress(telemetry.subarray(0, 5000));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 6 }),
        fc.nat(),
        (noise, cut) => {
          const bad = Buffer.from(good);
          for (const [where, byte] of noise) bad[where % bad.length] = byte;
          for (const input of [bad, good.subarray(0, cut % good.length)]) {
            let size = 0;
            const code = codeOf(() => {
              size = codec.decompress(input, 20_000).length;
            });
            expect(code).toMatch(/none|CORRUPT_BATCH/);
            expect(size).toBeLessThanOrEqual(20_000);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('compresses a batch that still validates and reads the same', async () => {
    const records = Array.from({ length: 50 }, (_, index) => ({
      key: Buffer.from(`sensor-${index % 3}`),
      value: Buffer.from(`{"celsius":${index}}`),
      headers: [],
      timestamp: index,
    }));
    const plain = encodeBatch(records, { now: 0, baseOffset: 100 });
    const batch = compressBatch(plain, await loadCodec(name, { compress: true }));
    validateBatch(batch);
    expect(codecOf(batch)).toBe(name);
    expect(batch.length).toBeLessThan(plain.length);
    const cursor = await openBatch(batch);
    for (const [index, record] of records.entries()) {
      expect(cursor.next()).toBe(true);
      expect([cursor.offset, cursor.key, cursor.value]).toEqual([100 + index, record.key, record.value]);
    }
    expect(cursor.next()).toBe(false);
    expect(compressBatch(batch, await loadCodec('gzip'))).toBe(batch);
  });
});

describe('frames of other writers', () => {
  const text = 'headwater '.repeat(12);

  it('raw snappy without a frame is read', async () => {
    const codec = await loadCodec('snappy');
    // Literal "headwater " and copies of it, by the rules of format_description.txt.
    const raw = Buffer.concat([
      Buffer.from([120, 9 << 2]),
      Buffer.from('headwater '),
      Buffer.from([(63 << 2) | 2, 10, 0, (45 << 2) | 2, 10, 0]),
    ]);
    expect(Buffer.from(codec.decompress(raw, 1000)).toString()).toBe(text);
  });

  it('LZ4 frames with linked blocks, block and content checksums and a content size are read', async () => {
    const codec = await loadCodec('lz4');
    // Built by hand from lz4_Frame_format.md; only one of the 256 descriptor checksums may be accepted.
    const block = Buffer.concat([Buffer.from([0xaf]), Buffer.from('headwater '), Buffer.from([10, 0, 105 - 4 - 15])]);
    const tail = Buffer.concat([Buffer.from([0x50]), Buffer.from('ater ')]);
    const body = Buffer.concat([block, tail]);
    // Flags: version 1, linked, block checksums, content size, content checksum.
    const descriptor = Buffer.from([0x5c, 0x40, 120, 0, 0, 0, 0, 0, 0, 0]);
    const frame = (check: number) =>
      Buffer.concat([
        Buffer.from([0x04, 0x22, 0x4d, 0x18]),
        descriptor,
        Buffer.from([check, body.length, 0, 0, 0]),
        body,
        Buffer.alloc(4),
        Buffer.alloc(4),
        Buffer.alloc(4),
      ]);
    const accepted = [];
    for (let check = 0; check < 256; check++) {
      if (codeOf(() => codec.decompress(frame(check), 1000)) === 'none') accepted.push(check);
    }
    expect(accepted).toHaveLength(1);
    expect(Buffer.from(codec.decompress(frame(accepted[0]!), 1000)).toString()).toBe(text);
  });

  it('the LZ4 descriptor checksum is that of the reference', async () => {
    // The header that Java and the lz4 tool write for 64-KiB independent blocks without checksums.
    const codec = await loadCodec('lz4');
    expect(Buffer.from(codec.compress(Buffer.from('x')).subarray(0, 7)).toString('hex')).toBe('04224d18604082');
  });

  it('a zstd frame that does not name its size is read, and a huge window is refused before any memory is taken', async () => {
    const { Zstd } = await import('@hpcc-js/wasm-zstd');
    const zstd = await Zstd.load();
    zstd.reset();
    const frame = Buffer.concat([zstd.compressChunk(telemetry), zstd.compressEnd()]);
    const codec = await loadCodec('zstd');
    expect(Buffer.compare(codec.decompress(frame, telemetry.length), telemetry)).toBe(0);
    expect(codeOf(() => codec.decompress(frame, telemetry.length - 1))).toBe('CORRUPT_BATCH');
    const huge = Buffer.from('28b52ffd00b8010000', 'hex');
    expect(codeOf(() => codec.decompress(huge, 1 << 20))).toBe('CORRUPT_BATCH');
  });

  it('concatenated gzip members are one stream', async () => {
    const codec = await loadCodec('gzip');
    const both = Buffer.concat([gzipSync('one '), gzipSync('two')]);
    expect(Buffer.from(codec.decompress(both, 100)).toString()).toBe('one two');
  });
});
