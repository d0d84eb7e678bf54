import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkStore } from '../../src/log/check.ts';
import { cleanable, dirtyShare } from '../../src/log/compaction-choice.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { KeyMap } from '../../src/log/key-map.ts';
import type { LogOptions } from '../../src/log/log-options.ts';
import type { LogPartition } from '../../src/log/partition.ts';
import { recordsOf } from '../../src/log/reader.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { loadCodec } from '../../src/wire/batch/compression.ts';
import { decodeMarker, encodeMarker } from '../../src/wire/batch/control-batch.ts';
import {
  baseOffsetOf,
  isControl,
  isTransactional,
  lastOffsetOf,
  producerIdOf,
  recordCountOf,
  validateBatch,
} from '../../src/wire/batch/record-batch.ts';
import { compressBatch, encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { append, appendBatch, openOnDisk, TestClock, topicSpec } from './records.ts';

const DAY = 86_400_000;
const small: LogOptions = { writeBufferBytes: 2_000, sliceBytes: 5_000 };

interface Put {
  readonly key: string;
  readonly value: string | null;
}

interface Served extends Put {
  readonly offset: number;
}

const bytes = (text: string | null) => (text === null ? null : Buffer.from(text));

/** What a read_committed consumer sees from `from` on, by the rules of Kafka's own client. */
async function consume(partition: LogPartition, from: number, maxBytes = 900): Promise<Served[]> {
  const seen: Served[] = [];
  const upTo = partition.lastStableOffset;
  let next = from;
  while (next < upTo) {
    const { batches, nextOffset } = await partition.read({ from: next, upTo, maxBytes });
    const aborted = [...partition.abortedTransactions(next, nextOffset)];
    const skipped = new Set<number>();
    for (const batch of batches) {
      validateBatch(batch);
      expect(recordCountOf(batch)).toBeGreaterThan(0);
      const id = producerIdOf(batch);
      while (aborted.length > 0 && aborted[0]!.firstOffset <= lastOffsetOf(batch))
        skipped.add(aborted.shift()!.producerId);
      if (isControl(batch)) {
        if (decodeMarker(batch)?.type === 'abort') skipped.delete(id);
        continue;
      }
      if (isTransactional(batch) && skipped.has(id)) continue;
      const cursor = await recordsOf(batch);
      while (cursor.next()) {
        if (cursor.offset < next) continue;
        seen.push({ offset: cursor.offset, key: String(cursor.key), value: cursor.value && String(cursor.value) });
      }
    }
    expect(nextOffset).toBeGreaterThan(next);
    next = nextOffset;
  }
  return seen;
}

/** Everything committed, as a table that others would have. */
class Model {
  readonly records = new Map<number, Put>();

  table(from = 0): Map<string, string | null> {
    const table = new Map<string, string | null>();
    for (const [offset, { key, value }] of [...this.records].sort((a, b) => a[0] - b[0])) {
      if (offset >= from) table.set(key, value);
    }
    return table;
  }

  /** What is served from `from` on says the same as what was written there; deleted keys may be without a tombstone. */
  async check(partition: LogPartition, from = partition.logStartOffset): Promise<Served[]> {
    const served = await consume(partition, from);
    let before = -1;
    const table = new Map<string, string | null>();
    for (const { offset, key, value } of served) {
      expect(offset).toBeGreaterThan(before);
      before = offset;
      expect(this.records.get(offset)).toEqual({ key, value });
      table.set(key, value);
    }
    for (const [key, value] of this.table(from)) {
      if (value !== null) expect([key, table.get(key)]).toEqual([key, value]);
      else expect(table.get(key) ?? null).toBe(null);
    }
    return served;
  }
}

async function put(model: Model, partition: LogPartition, key: string, value: string | null): Promise<void> {
  const offset = await append(partition, '', { key: Buffer.from(key), value: bytes(value) });
  model.records.set(offset, { key, value });
}

/** Writes of another topic: they close the slices that hold what was written before. */
async function fill(log: HeadwaterLog, times = 40): Promise<void> {
  const topic = log.topic('fill') ?? (await log.createTopic(topicSpec('fill', 1, { 'retention.bytes': '4000' })));
  for (let i = 0; i < times; i++) await append(topic.partitions[0]!, 'f'.repeat(300));
  await new Promise((resolve) => setImmediate(resolve));
}

async function passes(log: HeadwaterLog, times = 3): Promise<number> {
  let compacted = 0;
  for (let i = 0; i < times; i++) compacted += (await log.runRetention()).compactedBytes;
  return compacted;
}

/** A power cut and a start: what is read then comes from the store and not from the tail cache. */
async function reopen(disk: MemoryDisk, options: LogOptions, clock?: TestClock): Promise<HeadwaterLog> {
  await sound(disk);
  return openOnDisk(disk, options, clock);
}

function partitionOf(log: HeadwaterLog, topic = 't'): LogPartition {
  return log.topic(topic)!.partitions[0] as LogPartition;
}

async function noLoss(log: HeadwaterLog): Promise<void> {
  for await (const entry of log.ledger.entries()) throw new Error(`in the ledger: ${JSON.stringify(entry)}`);
  expect(log.troubled).toEqual([]);
}

async function sound(disk: MemoryDisk): Promise<void> {
  disk.crash();
  expect((await checkStore(disk.mount())).problems).toEqual([]);
  disk.crash();
}

describe('what compaction looks at', () => {
  const stretch = (lastOffset: number, fields = {}) => ({
    lastOffset,
    bytes: 100,
    maxTimestamp: 1_000,
    settled: true,
    ...fields,
  });
  const list = [stretch(9), stretch(19), stretch(29), stretch(39)];
  const limits = { dirtyFrom: 10, stableBelow: 100, lagMs: 0, now: 5_000 };

  it('is everything but the last stretch', () =>
    expect(cleanable(list, limits)).toEqual({ end: 30, dirtyBytes: 200, cleanBytes: 100 }));
  it('ends before what is not sealed, not decided or too young', () => {
    expect(cleanable([list[0]!, stretch(19, { settled: false }), list[2]!, list[3]!], limits).end).toBe(10);
    expect(cleanable(list, { ...limits, stableBelow: 29 }).end).toBe(20);
    expect(cleanable(list, { ...limits, lagMs: 4_001 }).end).toBe(10);
    expect(cleanable(list, { ...limits, lagMs: 4_000 }).end).toBe(30);
    expect(cleanable(list, { ...limits, lagMs: 1, now: null }).end).toBe(10);
  });
  it('has a share of what is new', () => {
    expect(dirtyShare(cleanable(list, limits))).toBeCloseTo(2 / 3);
    expect(dirtyShare(cleanable(list, { ...limits, dirtyFrom: 30 }))).toBe(0);
  });
});

describe('the map of keys', () => {
  it('keeps the newest offset of each key, and refuses what goes beyond its memory', () => {
    const map = new KeyMap(32 * 100);
    expect(map.byteLength).toBeLessThanOrEqual(32 * 100 + 24);
    for (let i = 0; i < 100; i++) expect(map.put(Buffer.from(`k${i}`), i)).toBe(true);
    expect(map.put(Buffer.from('one more'), 100)).toBe(false);
    expect(map.put(Buffer.from('k7'), 101)).toBe(true);
    expect(map.get(Buffer.from('k7'))).toBe(101);
    expect(map.get(Buffer.from('k99'))).toBe(99);
    expect(map.get(Buffer.from('one more'))).toBe(-1);
  });
});

describe('compaction', () => {
  it('keeps the newest record of each key at its offset, and gives the space back', async () => {
    const disk = new MemoryDisk();
    const model = new Model();
    let log = await openOnDisk(disk, small);
    await log.createTopic(topicSpec('t', 1, { 'cleanup.policy': 'compact' }));
    for (let i = 0; i < 400; i++) await put(model, partitionOf(log), `k${i % 5}`, `${i} ${'x'.repeat(80)}`);
    const before = partitionOf(log).sizeBytes;
    await fill(log);
    expect(await passes(log)).toBeGreaterThan(0);
    await fill(log);
    await passes(log);
    expect(partitionOf(log).sizeBytes).toBeLessThan(before / 4);
    expect(partitionOf(log).logStartOffset).toBe(0);
    expect(partitionOf(log).logEndOffset).toBe(400);
    await noLoss(log);
    // Whoever reads now sees it: what memory had of it is gone.
    expect((await model.check(partitionOf(log))).length).toBeLessThan(120);
    for (const clean of [true, false]) {
      if (clean) await log.close();
      await sound(disk);
      log = await openOnDisk(disk, small);
      const served = await model.check(partitionOf(log));
      expect(served.length).toBeLessThan(120);
      // In a hole, at its ends, and behind it.
      for (let from = 0; from < 400; from += 7) await model.check(partitionOf(log), from);
      await noLoss(log);
    }
    expect(disk.usedBytes).toBeLessThan(before);
  });

  it('leaves topics without the policy alone, and does nothing twice', async () => {
    const log = await openOnDisk(new MemoryDisk(), small);
    const model = new Model();
    await log.createTopic(topicSpec('t', 1, { 'cleanup.policy': 'delete' }));
    for (let i = 0; i < 200; i++) await put(model, partitionOf(log), 'k', `${i} ${'x'.repeat(80)}`);
    await fill(log);
    expect(await passes(log)).toBe(0);
    await log.alterTopic('t', new Map([['cleanup.policy', 'compact,delete']]));
    expect(await passes(log)).toBeGreaterThan(0);
    await fill(log);
    expect(await passes(log)).toBe(0);
    await model.check(partitionOf(log));
  });

  it('takes as many passes as the keys need when its memory is small', async () => {
    const disk = new MemoryDisk();
    const model = new Model();
    const log = await openOnDisk(disk, { ...small, compactionMapBytes: 32 * 8 });
    await log.createTopic(topicSpec('t', 1, { 'cleanup.policy': 'compact' }));
    for (let i = 0; i < 600; i++) await put(model, partitionOf(log), `k${i % 40}`, `${i} ${'x'.repeat(60)}`);
    const before = partitionOf(log).sizeBytes;
    for (let i = 0; i < 30; i++) {
      await fill(log, 20);
      await passes(log);
    }
    expect(partitionOf(log).sizeBytes).toBeLessThan(before * 0.7);
    await log.close();
    const again = await reopen(disk, small);
    await model.check(partitionOf(again));
    await noLoss(again);
  });

  it('keeps tombstones for delete.retention.ms after they were cleaned, on trusted time only', async () => {
    const disk = new MemoryDisk();
    const clock = new TestClock();
    let trusted = false;
    const options = { ...small, timeTrusted: () => trusted };
    let log = await openOnDisk(disk, options, clock);
    const model = new Model();
    const config = { 'cleanup.policy': 'compact', 'delete.retention.ms': String(DAY) };
    await log.createTopic(topicSpec('t', 1, config));
    const more = async () => {
      for (let i = 0; i < 100; i++) await put(model, partitionOf(log), 'other', `${i} ${'x'.repeat(100)}`);
      for (let i = 0; i < 2; i++) {
        await fill(log);
        await passes(log);
      }
      log = await reopen(disk, options, clock);
      return (await model.check(partitionOf(log))).filter(({ key }) => key === 'gone');
    };
    await put(model, partitionOf(log), 'gone', 'there');
    await put(model, partitionOf(log), 'gone', null);
    expect(await more()).toEqual([{ offset: 1, key: 'gone', value: null }]);
    clock.advance(2 * DAY);
    expect(await more()).toHaveLength(1);
    trusted = true;
    // Now it is known since when.
    expect(await more()).toHaveLength(1);
    clock.advance(DAY - 1);
    expect(await more()).toHaveLength(1);
    clock.advance(1);
    expect(await more()).toEqual([]);
  });

  it('waits until min.cleanable.dirty.ratio of a partition is new', async () => {
    for (const [ratio, due] of [
      ['0.9', false],
      ['0.1', true],
    ] as const) {
      const log = await openOnDisk(new MemoryDisk(), small);
      const config = { 'cleanup.policy': 'compact', 'min.cleanable.dirty.ratio': ratio };
      const partition = (await log.createTopic(topicSpec('t', 1, config))).partitions[0] as LogPartition;
      const model = new Model();
      for (let i = 0; i < 200; i++) await put(model, partition, `k${i % 100}`, `${i} ${'x'.repeat(80)}`);
      await fill(log);
      expect(await passes(log)).toBeGreaterThan(0);
      for (let i = 0; i < 50; i++) await put(model, partition, `k${i}`, `again ${'x'.repeat(80)}`);
      await fill(log);
      expect((await passes(log)) > 0).toBe(due);
      await log.close();
    }
  });

  it('does not touch what is younger than min.compaction.lag.ms', async () => {
    const clock = new TestClock();
    const log = await openOnDisk(new MemoryDisk(), small, clock);
    const model = new Model();
    const config = { 'cleanup.policy': 'compact', 'min.compaction.lag.ms': '60000' };
    await log.createTopic(topicSpec('t', 1, config));
    for (let i = 0; i < 200; i++) await put(model, partitionOf(log), 'k', `${i} ${'x'.repeat(80)}`);
    await fill(log);
    expect(await passes(log)).toBe(0);
    clock.advance(60_000);
    expect(await passes(log)).toBeGreaterThan(0);
  });

  it('compacts compressed batches and keeps records without a key', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk, small);
    await log.createTopic(topicSpec('t', 1, { 'cleanup.policy': 'compact' }));
    const model = new Model();
    const partition = partitionOf(log);
    const codecs = await Promise.all(
      (['gzip', 'lz4', 'snappy', 'zstd'] as const).map((n) => loadCodec(n, { compress: true })),
    );
    for (let i = 0; i < 80; i++) {
      const puts = [`a${i % 3}`, 'b', `c${i}`].map((key) => ({ key, value: `${i} ${'y'.repeat(100 + (i % 9))}` }));
      const records = puts.map(({ key, value }, at) => ({
        key: bytes(key),
        value: bytes(value),
        headers: [{ key: 'h', value: Buffer.from([i]) }],
        timestamp: 1_000 + i * 10 - at,
      }));
      const plain = encodeBatch(records, { now: 0 });
      const base = await appendBatch(partition, compressBatch(plain, codecs[i % codecs.length]!));
      for (const [at, one] of puts.entries()) model.records.set(base + at, one);
    }
    const keyless = await append(partition, 'no key');
    model.records.set(keyless, { key: 'null', value: 'no key' });
    await fill(log);
    await put(model, partition, 'end', 'end');
    await fill(log);
    await passes(log);
    log = await reopen(disk, small);
    const served = await model.check(partitionOf(log));
    expect(served.filter(({ key }) => key === 'b').length).toBeLessThan(40);
    expect(served.filter(({ key }) => key.startsWith('c'))).toHaveLength(80);
    expect(served.filter(({ key }) => key === 'null')).toHaveLength(1);
    expect(await partitionOf(log).offsetForTimestamp(1_400)).toMatchObject({ timestamp: expect.any(Number) });
  });

  it('survives a power cut at every step of a pass', async () => {
    let finished = false;
    for (let n = 1; !finished; n++) {
      const life = { left: Number.POSITIVE_INFINITY, cut: () => {} };
      const disk = new MemoryDisk({
        random: () => (n % 2 === 0 ? 0.1 : 0.9),
        schedule: (task) => {
          queueMicrotask(() => {
            if (--life.left === 0) life.cut();
            else task();
          });
        },
      });
      const model = new Model();
      const log = await openOnDisk(disk, small);
      await log.createTopic(topicSpec('t', 1, { 'cleanup.policy': 'compact', 'delete.retention.ms': '0' }));
      for (let i = 0; i < 60; i++) {
        await put(model, partitionOf(log), `k${i % 4}`, i % 9 === 0 ? null : `${i} ${'x'.repeat(200)}`);
      }
      await fill(log, 20);
      const cut = new Promise<boolean>((resolve) => {
        life.cut = () => {
          disk.crash();
          resolve(false);
        };
      });
      life.left = n;
      finished = await Promise.race([passes(log, 2).then(() => true), cut]);
      life.left = Number.POSITIVE_INFINITY;
      await sound(disk);
      let again = await openOnDisk(disk, small);
      await model.check(partitionOf(again));
      await fill(again, 20);
      await passes(again);
      await model.check(partitionOf(again));
      await noLoss(again);
      disk.crash();
      again = await openOnDisk(disk, small);
      await model.check(partitionOf(again));
      await noLoss(again);
      if (n > 3_000) throw new Error('the pass never ends');
      if (n > 60) n += 6;
    }
  });

  it('survives a write or read that fails at every step of a pass', async () => {
    for (const kind of ['write', 'read'] as const) {
      for (const applied of [false, true]) {
        for (let at = 1; ; at += at > 20 ? 5 : 1) {
          const disk = new MemoryDisk();
          const model = new Model();
          const log = await openOnDisk(disk, small);
          await log.createTopic(topicSpec('t', 1, { 'cleanup.policy': 'compact', 'delete.retention.ms': '0' }));
          for (let i = 0; i < 60; i++) await put(model, partitionOf(log), `k${i % 4}`, `${i} ${'x'.repeat(200)}`);
          await fill(log, 20);
          disk.arm({ kind, at, code: 'STORE_FAILED', applied });
          await passes(log, 1).catch(() => {});
          const met = disk.counts[kind] >= at;
          disk.arm();
          await fill(log, 20);
          await passes(log);
          await model.check(partitionOf(log));
          await noLoss(log);
          disk.crash();
          const again = await openOnDisk(disk, small);
          await model.check(partitionOf(again));
          await noLoss(again);
          if (!met) break;
        }
      }
    }
  });

  type Command =
    | { readonly kind: 'put'; readonly key: number; readonly tombstone: boolean }
    | { readonly kind: 'produce'; readonly keys: readonly number[]; readonly producer: number }
    | { readonly kind: 'transaction'; readonly keys: readonly number[]; readonly commit: boolean }
    | { readonly kind: 'compact' | 'pass' | 'crash' | 'restart' | 'wait' | 'open' };

  const key = fc.integer({ min: 0, max: 5 });
  const keys = fc.array(key, { minLength: 1, maxLength: 4 });
  const command: fc.Arbitrary<Command> = fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant('put' as const), key, tombstone: fc.boolean() }) },
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant('produce' as const), keys, producer: fc.integer({ min: 0, max: 1 }) }),
    },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('transaction' as const), keys, commit: fc.boolean() }) },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constantFrom(
          'compact' as const,
          'compact' as const,
          'pass' as const,
          'crash' as const,
          'restart' as const,
          'wait' as const,
        ),
      }),
    },
  );

  it('is a table for every reader, whatever happens in which order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 10, maxLength: 50 }), async (commands) => {
        const disk = new MemoryDisk();
        const clock = new TestClock();
        const model = new Model();
        const options = { ...small, writeBufferBytes: 1_500, sliceBytes: 3_000, compactionMapBytes: 32 * 4 };
        let log = await openOnDisk(disk, options, clock);
        const config = { 'cleanup.policy': 'compact', 'delete.retention.ms': '1000' };
        await log.createTopic(topicSpec('t', 1, config));
        const ids = [1_000, 1_001, 1_002];
        const sequences = [0, 0, 0];
        let n = 0;
        const value = () => `${n++} ${'v'.repeat(150)}`;
        const produce = async (producer: number, wanted: readonly number[], transactional: boolean) => {
          const puts = wanted.map((k) => ({ key: `k${k}`, value: n++ % 7 === 0 ? null : value() }));
          const records = puts.map((one) => ({
            key: bytes(one.key),
            value: bytes(one.value),
            headers: [],
            timestamp: clock.now(),
          }));
          const fields = {
            now: 0,
            producerId: ids[producer]!,
            producerEpoch: 0,
            baseSequence: sequences[producer]!,
            transactional,
          };
          const batch = encodeBatch(records, fields);
          const repeated = Buffer.from(batch);
          const partition = partitionOf(log);
          const base = await appendBatch(partition, batch, { acks: 1, origin: 'client', transactional });
          // Exactly what was sent before is known, also after compaction and restarts.
          const again = await appendBatch(partition, repeated, { acks: 1, origin: 'client', transactional });
          expect(again).toBe(base);
          sequences[producer]! += wanted.length;
          return { base, puts };
        };
        for (const step of commands) {
          const partition = partitionOf(log);
          if (step.kind === 'put') await put(model, partition, `k${step.key}`, step.tombstone ? null : value());
          else if (step.kind === 'produce') {
            const { base, puts } = await produce(step.producer, step.keys, false);
            for (const [i, one] of puts.entries()) model.records.set(base + i, one);
          } else if (step.kind === 'transaction') {
            const { base, puts } = await produce(2, step.keys, true);
            if (step.keys.length > 1) {
              // The open transaction is not in the last segment: only the last stable offset keeps compaction out.
              await fill(log, 12);
              await put(model, partition, 'other', value());
              await fill(log, 12);
              await passes(log, 1);
            }
            const type = step.commit ? 'commit' : 'abort';
            const fields = { producerId: ids[2]!, producerEpoch: 0, coordinatorEpoch: 0, timestamp: clock.now() };
            await appendBatch(partition, encodeMarker({ type, ...fields }), { acks: 1, origin: 'coordinator' });
            if (step.commit) for (const [i, one] of puts.entries()) model.records.set(base + i, one);
          } else if (step.kind === 'compact') {
            await fill(log, 12);
            await passes(log, 2);
          } else if (step.kind === 'pass') await passes(log, 1);
          else if (step.kind === 'wait') clock.advance(700);
          else {
            if (step.kind === 'restart') await log.close();
            await sound(disk);
            log = await openOnDisk(disk, options, clock);
          }
          await model.check(partitionOf(log));
        }
        await fill(log, 12);
        await passes(log);
        log = await reopen(disk, options, clock);
        const { logEndOffset } = partitionOf(log);
        for (let from = 0; from < logEndOffset; from += 3) await model.check(partitionOf(log), from);
        await noLoss(log);
        await log.close();
        await sound(disk);
      }),
      { numRuns: 40 },
    );
  });

  it('leaves an empty batch in the store, and no reader sees it', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk, small);
    const model = new Model();
    await log.createTopic(topicSpec('t', 1, { 'cleanup.policy': 'compact' }));
    for (let i = 0; i < 300; i++) await put(model, partitionOf(log), 'k', `${i} ${'x'.repeat(80)}`);
    await fill(log);
    await passes(log);
    log = await reopen(disk, small);
    const partition = partitionOf(log);
    const first = await partition.read({ from: 0, upTo: partition.logEndOffset, maxBytes: 1 });
    expect(first.batches).toHaveLength(1);
    expect(baseOffsetOf(first.batches[0]!)).toBeGreaterThan(100);
    expect(first.nextOffset).toBe(lastOffsetOf(first.batches[0]!) + 1);
  });
});

describe('a read that ends inside a run', () => {
  it('takes nothing behind its end for a gap', async () => {
    const disk = new MemoryDisk();
    let log = await openOnDisk(disk, small);
    await log.createTopic(topicSpec('t'));
    for (let i = 0; i < 100; i++) await append(partitionOf(log), `${i} ${'x'.repeat(80)}`);
    log = await reopen(disk, small);
    for (let upTo = 1; upTo <= 100; upTo++) {
      const { nextOffset } = await partitionOf(log).read({ from: 0, upTo, maxBytes: 1 << 20 });
      expect(nextOffset).toBe(upTo);
    }
    await new Promise((resolve) => setImmediate(resolve));
    await noLoss(log);
  });
});
