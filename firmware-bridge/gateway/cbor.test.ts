/** The C encoder and cbor-x read each other: values go from cbor-x through the C library and back. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decoder, Encoder } from 'cbor-x';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const device = new URL('../device/', import.meta.url).pathname;
const hasCompiler = spawnSync('cc', ['--version']).status === 0;
if (!hasCompiler) console.log('skipped: no C compiler (cc), so the C encoder is not compared with cbor-x');

const encoder = new Encoder({ useRecords: false, mapsAsObjects: false, useFloat32: 0 } as never);
const decoder = new Decoder({ useRecords: false, mapsAsObjects: false } as never);
let directory = '';
let tool = '';

/** Runs every item through the C reader and writer. */
function transcode(items: readonly Buffer[]): (Buffer | undefined)[] {
  const input = items.map((item) => `${item.toString('hex')}\n`).join('');
  const output = execFileSync(tool, { input, maxBuffer: 1 << 28 })
    .toString()
    .trimEnd()
    .split('\n');
  return output.map((line) => (line === '-' ? undefined : Buffer.from(line, 'hex')));
}

const key = fc.oneof(fc.string({ maxLength: 12 }), fc.integer({ min: -1000, max: 100_000 }));
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.integer(),
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.double(),
    fc.float(),
    fc.double({ min: -70_000, max: 70_000 }).map((number) => Math.round(number * 8) / 8),
    fc.string({ unit: 'grapheme', maxLength: 40 }),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc.boolean(),
    fc.constant(null),
    fc.constant(undefined),
    fc.array(tie('value'), { maxLength: 30 }),
    fc.array(fc.tuple(key, tie('value')), { maxLength: 30 }).map((pairs) => new Map(pairs)),
  ),
}));

describe.runIf(hasCompiler)('CBOR, between C and cbor-x', () => {
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'headwater-cbor-'));
    tool = join(directory, 'transcode');
    const sources = ['test/transcode.c', 'src/hw_cbor.c', 'src/hw_bytes.c'].map((file) => join(device, file));
    execFileSync('cc', ['-std=c99', '-O1', ...sources, '-o', tool]);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('2,000 generated records mean the same after C has read and written them, and stay the same bytes after that', () => {
    const values = fc.sample(value, { numRuns: 2000, seed: 20_261_123 });
    const items = values.map((item) => Buffer.from(encoder.encode(item)));
    const once = transcode(items);
    for (const [i, bytes] of once.entries()) {
      expect(bytes, `C read ${items[i]!.toString('hex')}`).toBeDefined();
      expect(decoder.decode(bytes!)).toEqual(decoder.decode(items[i]!));
      expect(bytes!.length).toBeLessThanOrEqual(items[i]!.length); // the shortest form
    }
    const hex = (buffers: readonly (Buffer | undefined)[]): unknown[] => buffers.map((bytes) => bytes?.toString('hex'));
    expect(hex(transcode(once as Buffer[]))).toEqual(hex(once));
  });
});
