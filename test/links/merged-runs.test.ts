import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Forwarded } from '../../src/links/outgoing.ts';
import { RUN_MAX_BYTES, runLength } from '../../src/links/runs.ts';
import { lastOffsetDeltaOf } from '../../src/wire/batch/record-batch.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { FakeKafka, type Fault } from './fake-kafka.ts';
import { Edge, until } from './harness.ts';

let kafka: FakeKafka;
let edge: Edge;

beforeEach(async () => {
  kafka = await FakeKafka.start();
  edge = new Edge({ 'bootstrap.servers': [kafka.bootstrap] });
});
afterEach(async () => {
  await edge.stop();
  await kafka.stop();
});

const crash = async () => {
  await edge.kill();
  await edge.start();
};
const upstream = () => kafka.partition('edge.t');
const producers = () => new Set(upstream().batches.map((batch) => batch.readBigInt64BE(43))).size;

function stored(baseOffset: number, valueBytes: number): Forwarded {
  const record = { key: null, value: Buffer.alloc(valueBytes), headers: [], timestamp: 1 };
  const batch = encodeBatch([record], { now: 0, baseOffset });
  return { batch, count: 1, first: baseOffset, next: baseOffset + 1, offsets: null };
}

describe('a run', () => {
  it('ends where the stored batches say, however many of them are known', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 5000 }), { minLength: 1, maxLength: 60 }),
        fc.nat(),
        (sizes, cut) => {
          const all = sizes.map((size, offset) => stored(offset, size));
          const whole = runLength(all);
          const part = runLength(all.slice(0, 1 + (cut % all.length)));
          if (part.open) expect(part.length).toBe(1);
          else expect(part).toEqual(whole);
          const bytes = all.slice(0, whole.length).reduce((sum, { batch }) => sum + batch.length, 0);
          expect(whole.length === 1 || bytes <= RUN_MAX_BYTES).toBe(true);
        },
      ),
    );
  });

  it('ends before a batch that is not small', () => {
    expect(runLength([stored(0, 1), stored(1, 1), stored(3, 5000)])).toEqual({ length: 2, open: false });
    expect(runLength([stored(0, 5000), stored(1, 1)])).toEqual({ length: 1, open: false });
  });
});

describe('a backlog of small batches', () => {
  it('goes up in few large ones, with the records and times they were stored with', async () => {
    const [partition] = await edge.topic('t');
    for (let n = 0; n < 2000; n++) edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    expect(upstream().values()).toEqual(edge.written(partition!));
    const { batches } = upstream();
    expect(batches.every((batch) => batch.length <= RUN_MAX_BYTES)).toBe(true);
    const merged = batches.filter((batch) => lastOffsetDeltaOf(batch) > 0);
    expect(merged.length).toBeGreaterThan(5);
    // What is left behind the last run is less than a run.
    expect(kafka.requests.length - merged.length).toBeLessThan(RUN_MAX_BYTES / 61);
    expect(edge.status).toMatchObject({ resends: 0, duplicatesAvoided: 0, lastError: null });
    expect(producers()).toBe(1);
  });

  it('goes up batch by batch where upstream takes no larger ones', async () => {
    const [partition] = await edge.topic('t');
    kafka.create('edge.t', 1);
    upstream().maxMessageBytes = 1000;
    for (let n = 0; n < 400; n++) edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    expect(upstream().values()).toEqual(edge.written(partition!));
    expect(edge.status.lastError).toBeNull();
  });

  const faults: readonly Fault[] = [
    { kind: 'drop-after-append' },
    { kind: 'drop-before-append' },
    { kind: 'code', code: 7, append: true },
    { kind: 'code', code: 19 },
    { kind: 'code', code: 45 },
  ];
  for (const fault of faults) {
    for (const killed of [false, true]) {
      // While its batches are acknowledged upstream does not forget a producer.
      for (const forgotten of fault.kind === 'code' ? [false] : [false, true]) {
        const after = `${killed ? ', killed then' : ''}${forgotten ? ', its producer forgotten upstream' : ''}`;
        it(`is there once, after ${JSON.stringify(fault)} at the n-th request${after}`, async () => {
          for (const at of [1, 2, 4]) {
            edge = new Edge({ 'bootstrap.servers': [kafka.bootstrap], rename: `at${at}.{topic}` });
            const [partition] = await edge.topic('t');
            for (let n = 0; n < 900; n++) edge.write(partition!, 1 + (n % 3));
            const answered = kafka.requests.length;
            let hit = false;
            kafka.autoFaults = () => {
              if (kafka.requests.length - answered !== at) return null;
              hit = true;
              if (forgotten) setImmediate(() => kafka.forgetProducers());
              return fault;
            };
            await edge.start();
            await until(() => hit, 'the fault');
            if (killed) await crash();
            for (let n = 0; n < 100; n++) edge.write(partition!, 1);
            await edge.drained();
            kafka.autoFaults = null;
            expect(kafka.partition(`at${at}.t`).values()).toEqual(edge.written(partition!));
            await edge.stop();
          }
        });
      }
    }
  }

  it('is there once when upstream has singles of it that nobody can see yet, and they are a run by now', async () => {
    const [partition] = await edge.topic('t');
    edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    for (let n = 0; n < 3; n++) edge.write(partition!, 1);
    await edge.drained();
    // The cursor on disk is before them, as a crash in the first second leaves it.
    upstream().uncommitted = 3;
    await edge.kill();
    for (let n = 0; n < 500; n++) edge.write(partition!, 1);
    await edge.start();
    await until(() => upstream().batches.length > 4, 'more');
    upstream().uncommitted = 0;
    await edge.drained();
    expect(upstream().values()).toEqual(edge.written(partition!));
    expect(producers()).toBe(1);
  });

  it('is there once when upstream has a run of it that nobody can see yet', async () => {
    const [partition] = await edge.topic('t');
    edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    kafka.autoFaults = () => (upstream().batches.length > 1 ? { kind: 'drop-before-append' } : null);
    edge.links!.pause('cloud', true);
    for (let n = 0; n < 700; n++) edge.write(partition!, 1);
    edge.links!.pause('cloud', false);
    await until(() => upstream().batches.length > 1, 'the run');
    upstream().uncommitted = upstream().batches.length - 1;
    await edge.kill();
    kafka.autoFaults = null;
    await edge.start();
    await until(() => upstream().batches.length > 3, 'more');
    upstream().uncommitted = 0;
    await edge.drained();
    expect(upstream().values()).toEqual(edge.written(partition!));
    expect(producers()).toBe(1);
  });

  it('is there once when an old data directory is restored, or none', async () => {
    const [partition] = await edge.topic('t');
    for (let n = 0; n < 700; n++) edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    await edge.stop();
    const image = await edge.image();
    await edge.start();
    for (let n = 0; n < 700; n++) edge.write(partition!, 1);
    await edge.drained();
    await edge.stop();
    await edge.restore(image);
    kafka.forgetProducers();
    for (let n = 0; n < 300; n++) edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    expect(upstream().values()).toEqual(edge.written(partition!));
    await edge.stop();
    // All singles behind the last run are gone upstream: its last batch is a run.
    const last = upstream().batches.findLastIndex((batch) => lastOffsetDeltaOf(batch) > 0);
    upstream().loseLast(upstream().batches.length - 1 - last);
    await edge.restore([]);
    edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    expect(upstream().values()).toEqual(edge.written(partition!));
  });

  it('is sent again when upstream lost acknowledged runs', async () => {
    const [partition] = await edge.topic('t');
    for (let n = 0; n < 900; n++) edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    await edge.stop();
    const first = upstream().batches.findIndex((batch) => lastOffsetDeltaOf(batch) > 0);
    upstream().loseLast(upstream().batches.length - 1 - first);
    edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    expect(upstream().values()).toEqual(edge.written(partition!));
    expect(producers()).toBe(1);
  });

  it('is there once and in order under random faults and crashes, whatever the seed', async () => {
    const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9));
    let state = seed;
    const random = () => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return state / 0x7fffffff;
    };
    const partitions = await edge.topic('t', 2);
    kafka.autoFaults = () => {
      const roll = random();
      if (roll < 0.06) return { kind: 'drop-after-append' };
      if (roll < 0.12) return { kind: 'drop-before-append' };
      if (roll < 0.18) return { kind: 'code', code: [6, 7, 19, 20][Math.floor(random() * 4)]!, append: random() < 0.5 };
      return null;
    };
    await edge.start();
    for (let round = 0; round < 40; round++) {
      for (const partition of partitions) {
        const batches = random() < 0.4 ? 400 : 5;
        for (let n = 0; n < batches; n++) edge.write(partition, random() < 0.1 ? 1 + Math.floor(random() * 300) : 1);
      }
      await new Promise((resolve) => setTimeout(resolve, random() * 20));
      const roll = random();
      if (roll < 0.3) await crash();
      else if (roll < 0.4) {
        await kafka.stop();
        if (random() < 0.5) kafka.forgetProducers();
        await kafka.listen();
      }
    }
    kafka.autoFaults = null;
    await edge.drained(20_000);
    for (const partition of partitions) {
      expect(kafka.partition('edge.t', partition.index).values(), `SEED=${seed}`).toEqual(edge.written(partition));
    }
    expect(await edge.losses()).toEqual([]);
  }, 40_000);
});
