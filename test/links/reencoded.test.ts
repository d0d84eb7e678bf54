import { encode } from 'cbor-x';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { selectionOf } from '../../src/links/selection.ts';
import { loadCodec } from '../../src/wire/batch/compression.ts';
import { codecOf } from '../../src/wire/batch/record-batch.ts';
import type { RecordInput } from '../../src/wire/batch/record-encoder.ts';
import type { MemoryPartition } from '../kafka/memory-log.ts';
import { FakeKafka } from './fake-kafka.ts';
import { Edge, until } from './harness.ts';

let kafka: FakeKafka;
let edge: Edge;

function makeEdge(settings: ConstructorParameters<typeof Edge>[0] = {}): Edge {
  edge = new Edge({ 'bootstrap.servers': [kafka.bootstrap], ...settings });
  return edge;
}

beforeEach(async () => {
  kafka = await FakeKafka.start();
  makeEdge();
});
afterEach(async () => {
  await edge.stop();
  await kafka.stop();
});

const upstream = () => kafka.partition('edge.t');

function record(number: number, bytes = 0, key: string | null = null): RecordInput {
  const value = Buffer.from(`${number}:${'x'.repeat(bytes)}`);
  return { key: key === null ? null : Buffer.from(key), value, headers: [], timestamp: 1_700_000_000_000 + number };
}

const numbers = (from = upstream()) => from.values().map((value) => Number(value.split(':')[0]));
const upTo = (end: number) => Array.from({ length: end }, (_, index) => index);

function seeded(): { seed: number; random: () => number } {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9));
  let state = seed;
  return {
    seed,
    random: () => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return state / 0x7fffffff;
    },
  };
}

/** Faults, crashes and outages while `write` adds; the edge is drained at the end. */
async function interrupted(random: () => number, rounds: number, write: () => void): Promise<void> {
  kafka.autoFaults = () => {
    const roll = random();
    if (roll < 0.06) return { kind: 'drop-after-append' };
    if (roll < 0.12) return { kind: 'drop-before-append' };
    if (roll < 0.18) return { kind: 'code', code: [6, 7, 19, 20][Math.floor(random() * 4)]!, append: random() < 0.5 };
    return null;
  };
  await edge.start();
  for (let round = 0; round < rounds; round++) {
    write();
    await new Promise((resolve) => setTimeout(resolve, random() * 20));
    const roll = random();
    if (roll < 0.3) {
      await edge.kill();
      await edge.start();
    } else if (roll < 0.4) {
      await kafka.stop();
      if (random() < 0.5) kafka.forgetProducers();
      await kafka.listen();
    }
  }
  kafka.autoFaults = null;
  await edge.drained(20_000);
}

describe('a stored batch above the limit upstream', () => {
  async function large(codec: 'none' | 'gzip' = 'none'): Promise<MemoryPartition> {
    const [partition] = await edge.topic('t');
    kafka.create('edge.t', 1);
    upstream().maxMessageBytes = 2_000;
    const compressor = codec === 'none' ? null : await loadCodec(codec, { compress: true });
    edge.store(partition!, [record(0)]);
    // Every record is different, so that compression does not make it small.
    const noise = (n: number) => ({
      ...record(n),
      value: Buffer.from(
        `${n}:${Array.from({ length: 60 }, (_, i) => ((n * 7919 + i * 104729) % 99991).toString(36)).join('')}`,
      ),
    });
    edge.store(
      partition!,
      Array.from({ length: 50 }, (_, index) => noise(index + 1)),
      compressor,
    );
    edge.store(partition!, [record(51)]);
    return partition!;
  }

  it.each(['none', 'gzip'] as const)('goes up in parts that fit, in order and once (%s)', async (codec) => {
    await large(codec);
    await edge.start();
    await edge.drained();
    expect(numbers()).toEqual(upTo(52));
    expect(upstream().batches.every((batch) => batch.length <= 2_000)).toBe(true);
    expect(upstream().batches.some((batch) => codecOf(batch) === codec && batch.readInt32BE(57) > 1)).toBe(true);
    expect(edge.status).toMatchObject({ lostRecords: 0, lastError: null });
  });

  it('also where the settings upstream may not be read', async () => {
    kafka.hidesConfigs = true;
    await large();
    await edge.start();
    await edge.drained();
    expect(numbers()).toEqual(upTo(52));
  });

  it('is there once when the answer to the n-th part is lost and the edge is killed', async () => {
    for (const at of [2, 3, 4]) {
      await edge.stop();
      await kafka.stop();
      kafka = await FakeKafka.start();
      makeEdge();
      await large();
      let parts = 0;
      kafka.autoFaults = () => {
        if (upstream().batches.length < 1 || ++parts !== at) return null;
        setImmediate(() => kafka.forgetProducers());
        return { kind: 'drop-after-append' };
      };
      await edge.start();
      await until(() => parts >= at, 'the fault');
      await edge.kill();
      await edge.start();
      await edge.drained();
      expect(numbers()).toEqual(upTo(52));
    }
  });

  it('is there once under random faults and crashes, whatever the seed', async () => {
    const { seed, random } = seeded();
    const [partition] = await edge.topic('t');
    kafka.create('edge.t', 1);
    upstream().maxMessageBytes = 1_500;
    let written = 0;
    await interrupted(random, 25, () => {
      for (let batches = 0; batches < 3; batches++) {
        const count = random() < 0.5 ? 1 : 1 + Math.floor(random() * 40);
        edge.store(
          partition!,
          Array.from({ length: count }, () => record(written++, Math.floor(random() * 200))),
        );
      }
    });
    expect(numbers(), `SEED=${seed}`).toEqual(upTo(written));
    expect(await edge.losses()).toEqual([]);
  }, 40_000);
});

describe('a single record above the limit upstream', () => {
  async function withGiant(settings: ConstructorParameters<typeof Edge>[0]): Promise<void> {
    makeEdge(settings);
    const [partition] = await edge.topic('t');
    kafka.create('edge.t', 1);
    upstream().maxMessageBytes = 1_000;
    edge.store(partition!, [record(0), record(1)]);
    edge.store(partition!, [record(2), record(3, 5_000), record(4)]);
    edge.store(partition!, [record(5)]);
    await edge.start();
  }

  it('holds its partition and says so, until upstream takes it (block)', async () => {
    await withGiant({ oversize: 'block' });
    await until(() => edge.status.state === 'blocked', 'blocked');
    expect(edge.status.lastError).toMatch(/MESSAGE_TOO_LARGE.*record 3 of t-0 has \d+ bytes \(oversize: block\)/);
    expect(numbers()).toEqual([0, 1, 2]);
    upstream().maxMessageBytes = 10_000;
    await edge.drained();
    expect(numbers()).toEqual(upTo(6));
    expect(await edge.losses()).toEqual([]);
  });

  it('goes to the ledger, once, and the others go on (skip)', async () => {
    await withGiant({ oversize: 'skip' });
    await edge.drained();
    expect(numbers()).toEqual([0, 1, 2, 4, 5]);
    expect(edge.status.lostRecords).toBe(1);
    await edge.kill();
    await edge.start();
    await edge.drained();
    expect(numbers()).toEqual([0, 1, 2, 4, 5]);
    expect(await edge.losses()).toMatchObject([
      {
        topic: 't',
        firstOffset: 3,
        lastOffset: 3,
        by: 'cloud',
        reason: expect.stringMatching(/^oversize: \d+ bytes.*1000/),
      },
    ]);
  });

  it('goes to the ledger once under random faults and crashes', async () => {
    const { seed, random } = seeded();
    makeEdge({ oversize: 'skip' });
    const [partition] = await edge.topic('t');
    kafka.create('edge.t', 1);
    upstream().maxMessageBytes = 1_500;
    let written = 0;
    const giants = new Set<number>();
    await interrupted(random, 25, () => {
      const batch = Array.from({ length: 1 + Math.floor(random() * 20) }, () => {
        const giant = random() < 0.05;
        if (giant) giants.add(written);
        return record(written++, giant ? 3_000 : 50);
      });
      edge.store(partition!, batch);
    });
    expect(numbers(), `SEED=${seed}`).toEqual(upTo(written).filter((number) => !giants.has(number)));
    expect((await edge.losses()).map(({ firstOffset }) => firstOffset)).toEqual([...giants]);
  }, 40_000);
});

describe('compression on a link', () => {
  it('packs what is stored without; what is compressed goes as it is', async () => {
    makeEdge({ 'compression.type': 'gzip' });
    const [partition] = await edge.topic('t');
    edge.store(
      partition!,
      Array.from({ length: 100 }, (_, n) => record(n, 20)),
    );
    for (let n = 100; n < 700; n++) edge.store(partition!, [record(n, 20)]);
    await edge.start();
    await edge.drained();
    expect(numbers()).toEqual(upTo(700));
    const sent = upstream().batches.reduce((sum, batch) => sum + batch.length, 0);
    expect(sent).toBeLessThan(partition!.sizeBytes / 3);
    expect(codecOf(upstream().batches[0]!)).toBe('gzip');
  });

  it('leaves exactly once as it is', async () => {
    const { seed, random } = seeded();
    makeEdge({ 'compression.type': 'gzip' });
    const [partition] = await edge.topic('t');
    let written = 0;
    await interrupted(random, 25, () => {
      const batches = random() < 0.3 ? 300 : 3;
      for (let n = 0; n < batches; n++) edge.store(partition!, [record(written++, 40), record(written++, 40)]);
    });
    expect(numbers(), `SEED=${seed}`).toEqual(upTo(written));
  }, 40_000);
});

describe('a filter', () => {
  it('by key and by fields lets through what matches, and positions still hold', async () => {
    makeEdge({ filter: ['plant/+/temp', '!plant/9/#'], where: ['temp > 30'] });
    const [partition] = await edge.topic('t');
    const one = (key: string, value: unknown): RecordInput => ({
      key: Buffer.from(key),
      value: typeof value === 'string' ? Buffer.from(value) : encode(value),
      headers: [],
      timestamp: 1,
    });
    edge.store(partition!, [
      one('plant/1/temp', '{"temp": 31}'),
      one('plant/1/temp', '{"temp": 30}'),
      one('plant/9/temp', '{"temp": 50}'),
      one('plant/1/hum', '{"temp": 50}'),
      one('plant/2/temp', { temp: 44 }),
      one('plant/2/temp', 'no JSON'),
    ]);
    await edge.start();
    await edge.drained();
    expect(upstream().batches.map((batch) => batch.readInt32BE(57))).toEqual([2]);
    expect(await edge.losses()).toEqual([]);
  });

  it('leaves exactly once as it is, under random faults and crashes', async () => {
    const { seed, random } = seeded();
    makeEdge({ filter: ['keep/#'] });
    const [partition] = await edge.topic('t');
    let written = 0;
    const kept: number[] = [];
    await interrupted(random, 40, () => {
      const batches = random() < 0.3 ? 300 : 4;
      for (let n = 0; n < batches; n++) {
        const batch = Array.from({ length: 1 + Math.floor(random() * 4) }, () => {
          const keep = random() < 0.4;
          if (keep) kept.push(written);
          return record(written++, 10, keep ? 'keep/it' : 'drop/it');
        });
        edge.store(partition!, batch);
      }
    });
    expect(numbers(), `SEED=${seed}`).toEqual(kept);
    expect(await edge.losses()).toEqual([]);
  }, 40_000);

  it('that changes while what was sent is not in the cursor yet takes effect behind it', async () => {
    makeEdge({ filter: ['a/#'] });
    const [partition] = await edge.topic('t');
    const write = (from: number, end: number) => {
      for (let n = from; n < end; n++) edge.store(partition!, [record(n, 0, n % 2 === 0 ? 'a/x' : 'b/x')]);
    };
    write(0, 4);
    await edge.start();
    await edge.drained();
    write(4, 21);
    await edge.drained();
    await edge.kill();
    kafka.forgetProducers();
    edge.configure({ filter: [] });
    write(21, 24);
    await edge.start();
    await edge.drained();
    expect(numbers()).toEqual([...upTo(21).filter((n) => n % 2 === 0), 21, 22, 23]);
  });

  it('finds its place again when upstream lost acknowledged records', async () => {
    makeEdge({ filter: ['a/#'], acks: '1' });
    const [partition] = await edge.topic('t');
    for (let n = 0; n < 60; n++) edge.store(partition!, [record(n, 0, n % 5 === 0 ? 'a/x' : 'b/x')]);
    await edge.start();
    await edge.drained();
    await edge.stop();
    upstream().loseLast(1);
    const left = numbers();
    expect(left.length).toBeLessThan(12);
    edge.store(partition!, [record(60, 0, 'a/x')]);
    await edge.start();
    await edge.drained();
    expect(numbers()).toEqual(upTo(61).filter((n) => n % 5 === 0));
  });
});

describe('what a record is sent as', () => {
  const apply = async (value: Uint8Array | null, settings: Partial<Parameters<typeof selectionOf>[0]> = {}) => {
    const { apply } = await selectionOf({ filter: [], where: [], transform: 'cbor-to-json', ...settings });
    return apply!({ key: Buffer.from('k'), value, headers: [], timestamp: 1 });
  };

  it.each([
    [{ temp: 21.5, ok: true, list: [1, 'a', null] }, '{"temp":21.5,"ok":true,"list":[1,"a",null]}'],
    [{ raw: Buffer.from([1, 2, 3]) }, '{"raw":"AQID"}'],
    [{ big: 2n ** 60n }, '{"big":"1152921504606846976"}'],
    [[1, 2], '[1,2]'],
  ])('CBOR number %# becomes JSON', async (value, text) => {
    expect(String((await apply(encode(value)))!.value)).toBe(text);
  });

  it.each([Buffer.from('{"a": 1}'), Buffer.from('text'), Buffer.from([0xa1, 0x01]), Buffer.alloc(0), null])(
    'what is no CBOR map or array stays: %s',
    async (value) => {
      expect((await apply(value))!.value).toBe(value);
    },
  );

  it.each([
    ['temp > 3', true],
    ['temp >= 4', true],
    ['temp < 4', false],
    ['temp != 4', false],
    ['site.name = north', true],
    ['site.name = "north"', true],
    ['site.name > 3', false],
    ['site.on = true', true],
    ['none = 1', false],
    ['none != 1', false],
  ])('the rule %s on {temp: 4, site: {name: north, on: true}}: %s', async (rule, passes) => {
    const value = Buffer.from('{"temp":4,"site":{"name":"north","on":true}}');
    expect((await apply(value, { where: [rule], transform: 'none' })) !== null).toBe(passes);
    expect((await apply(encode(JSON.parse(String(value))), { where: [rule] })) !== null).toBe(passes);
  });

  it('records without a transform keep key, headers, time and order through a link that transforms', async () => {
    makeEdge({ transform: 'cbor-to-json' });
    const [partition] = await edge.topic('t');
    for (let n = 0; n < 30; n++) {
      const value = n % 2 === 0 ? encode({ n }) : Buffer.from(`{"n":${n}}`);
      edge.store(partition!, [{ key: Buffer.from('k'), value, headers: [], timestamp: 5 + n }]);
    }
    await edge.start();
    await edge.drained();
    expect(upstream().values()).toEqual(upTo(30).map((n) => `{"n":${n}}`));
  });
});
