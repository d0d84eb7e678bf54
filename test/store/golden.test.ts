import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkStore } from '../../src/log/check.ts';
import { checkFormat, formatLine, STORE_FORMAT_VERSION } from '../../src/store/format-file.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { appendBatch, openOn, producedBatch, valuesOf } from '../log/records.ts';

let directory: string;

/** A data directory as the first release of a format version left it; it is never written again, only migrated. */
describe('a data directory of format version 1', () => {
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'headwater-golden-'));
    await cp(join(import.meta.dirname, 'golden/v1'), directory, { recursive: true });
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('opens, sound and complete, and goes on where it was', async () => {
    const store = await openLevelStore(directory);
    expect((await checkStore(store)).problems).toEqual([]);
    const log = await openOn(store);
    expect(log.troubled).toEqual([]);
    const [first, second] = log.topic('plain')!.partitions;
    const squeezed = log.topic('squeezed')!;
    expect(squeezed.config).toMatchObject({ 'cleanup.policy': 'compact', 'compression.type': 'gzip' });
    expect([first!.logEndOffset, second!.logStartOffset, second!.logEndOffset]).toEqual([90, 5, 30]);
    const values = await valuesOf(first!);
    expect(values.slice(0, 4)).toEqual(['0:value 0 ', '1:p0', '2:p1', `3:value 2 ${'x'.repeat(6)}`]);
    expect(await valuesOf(second!)).toHaveLength(25);
    expect((await valuesOf(squeezed.partitions[0]!)).at(-1)).toBe(`59:v59 ${'y'.repeat(200)}`);
    // Producer state: the last batch again is recognised, the next one follows on.
    expect(await appendBatch(first!, producedBatch(['p59'], { id: 3, sequence: 59 }))).toBe(89);
    expect(await appendBatch(first!, producedBatch(['p60'], { id: 3, sequence: 60 }))).toBe(90);
    expect(await log.nextProducerId()).toBeGreaterThan(3);
    for await (const entry of log.ledger.entries()) throw new Error(`in the ledger: ${JSON.stringify(entry)}`);
    await log.close();
    await store.close();
  });

  it('is migrated step by step, each step durable before the next', async () => {
    const seen: string[] = [];
    await writeFile(join(directory, 'FORMAT'), formatLine(7));
    const step = (name: string) => async () => {
      seen.push(`${name} on ${(await readFile(join(directory, 'FORMAT'), 'utf8')).split(' ')[1]}`);
      if (name === 'fails') throw new Error('no space');
    };
    const failing = new Map([
      [7, step('seven')],
      [8, step('fails')],
    ]);
    await expect(checkFormat(directory, 9, failing)).rejects.toThrow('no space');
    await checkFormat(directory, 9, new Map([[8, step('eight')]]));
    expect(seen).toEqual(['seven on 7', 'fails on 8', 'eight on 8']);
    expect(await readFile(join(directory, 'FORMAT'), 'utf8')).toBe(formatLine(9));
  });

  it('of a version that nobody can migrate, or a newer one, is refused by name', async () => {
    await writeFile(join(directory, 'FORMAT'), formatLine(0));
    await expect(openLevelStore(directory)).rejects.toMatchObject({
      code: 'STORE_FORMAT',
      message: expect.stringMatching(/has format 0; .* from format 1 on/),
    });
    await writeFile(join(directory, 'FORMAT'), formatLine(STORE_FORMAT_VERSION + 1));
    await expect(openLevelStore(directory)).rejects.toMatchObject({
      code: 'STORE_FORMAT',
      message: expect.stringMatching(/has format 2; this version reads up to 1/),
    });
  });
});
