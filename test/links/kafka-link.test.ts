import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeKafka } from './fake-kafka.ts';
import { Edge, until } from './harness.ts';

let kafka: FakeKafka;
let edge: Edge;
const edges: Edge[] = [];

function makeEdge(settings: ConstructorParameters<typeof Edge>[0] = {}): Edge {
  edge = new Edge({ 'bootstrap.servers': [kafka.bootstrap], ...settings });
  edges.push(edge);
  return edge;
}

beforeEach(async () => {
  kafka = await FakeKafka.start();
});
afterEach(async () => {
  for (const one of edges.splice(0)) await one.stop();
  await kafka.stop();
});

describe('a Kafka link', () => {
  it('creates the topic upstream, sends what there is and what comes, partition by partition', async () => {
    makeEdge();
    const partitions = await edge.topic('readings', 3);
    for (const partition of partitions) edge.write(partition, 10);
    await edge.start();
    await edge.drained();
    for (const partition of partitions) edge.write(partition, 1 + partition.index);
    await edge.drained();
    for (const partition of partitions) {
      expect(kafka.partition('edge.readings', partition.index).values()).toEqual(edge.written(partition));
    }
    expect(edge.status).toMatchObject({ state: 'live', lostRecords: 0, resends: 0, lastError: null });
  });

  it('sends the stored record bytes as they are, under a producer of its own and with sequences that are offsets', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 3);
    edge.write(partition!, 2);
    await edge.start();
    await edge.drained();
    const sent = kafka.partition('edge.t').batches;
    expect(sent.map((batch) => batch.readInt32BE(53))).toEqual([0, 3]);
    expect(sent.every((batch) => Number(batch.readBigInt64BE(43)) >= 1000)).toBe(true);
    expect(sent.map((batch) => batch.subarray(57).toString('hex'))).toEqual(
      partition!.batches.map((batch) => batch.subarray(57).toString('hex')),
    );
    expect(kafka.requests.every(({ acks }) => acks === -1)).toBe(true);
  });

  it('goes on from its cursor after a restart, without asking for another producer id', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 5);
    await edge.start();
    await edge.drained();
    await edge.stop();
    edge.write(partition!, 5);
    await edge.start();
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
    expect(new Set(kafka.partition('edge.t').batches.map((batch) => batch.readBigInt64BE(43))).size).toBe(1);
  });

  it('waits for an upstream that is not there, and counts the backlog', async () => {
    makeEdge();
    await kafka.stop();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 7);
    await edge.start();
    await until(() => edge.status.lastError !== null, 'an error is shown');
    expect(edge.status).toMatchObject({ state: 'backing-off', backlogRecords: 7 });
    await until(() => edge.status.oldestUnsentAgeMs !== null, 'the age of the oldest is known');
    await kafka.listen();
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
  });
});

describe('exactly once', () => {
  const crash = async () => {
    await edge.kill();
    await edge.start();
  };

  it('when the answer is lost after the append', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    for (let batch = 0; batch < 12; batch++) edge.write(partition!, 2);
    kafka.faults.push({ kind: 'drop-after-append' }, { kind: 'drop-before-append' }, { kind: 'drop-after-append' });
    await edge.start();
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
    expect(edge.status.duplicatesAvoided).toBeGreaterThan(0);
  });

  it('when it is killed with more sent than its cursor on disk says, and upstream has forgotten the producer', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 3);
    await edge.start();
    await edge.drained();
    // More batches than Kafka remembers, all acknowledged within one cursor interval.
    for (let batch = 0; batch < 20; batch++) edge.write(partition!, 1);
    await edge.drained();
    kafka.forgetProducers();
    await crash();
    edge.write(partition!, 4);
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
  });

  it('when others write to the same partition upstream', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 3);
    await edge.start();
    await edge.drained();
    const upstream = kafka.partition('edge.t');
    edge.write(partition!, 1);
    await edge.drained();
    const foreign = Buffer.from(partition!.batches[0]!);
    foreign.writeBigInt64BE(-1n, 43);
    foreign.writeInt16BE(-1, 51);
    foreign.writeInt32BE(-1, 53);
    const { patchCrc } = await import('../../src/wire/batch/record-batch.ts');
    patchCrc(foreign);
    for (let times = 0; times < 30; times++) upstream.append(foreign);
    kafka.forgetProducers();
    await crash();
    edge.write(partition!, 2);
    await edge.drained();
    const mine = upstream.batches.filter((batch) => batch.readBigInt64BE(43) !== -1n);
    expect(mine.reduce((sum, batch) => sum + batch.readInt32BE(57), 0)).toBe(6);
  });

  it('when an old data directory is restored: records that upstream has are not sent again, new ones all are', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 4);
    await edge.start();
    await edge.drained();
    await edge.stop();
    const oldBatches = [...partition!.batches];
    const oldEnd = partition!.logEndOffset;
    const image = await edge.image();
    edge.write(partition!, 6);
    edge.write(partition!, 6);
    await edge.start();
    await edge.drained();
    await edge.stop();
    // The card is replaced by the copy: offsets 4 to 15 are given to other records.
    await edge.restore(image);
    partition!.batches.splice(0, partition!.batches.length, ...oldBatches);
    partition!.logEndOffset = oldEnd;
    edge.write(partition!, 6);
    edge.write(partition!, 6);
    edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    const numbers = kafka
      .partition('edge.t')
      .values()
      .map((value) => Number(value.split(':')[1]));
    expect(numbers).toEqual(Array.from({ length: 29 }, (_, index) => index));
  });

  it('when the metadata is lost: the last batch upstream says where to go on', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    for (let batch = 0; batch < 5; batch++) edge.write(partition!, 3);
    await edge.start();
    await edge.drained();
    await edge.stop();
    await edge.restore([]);
    edge.write(partition!, 2);
    await edge.start();
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
  });

  it('when upstream lost records that it had acknowledged: they are sent again', async () => {
    makeEdge({ acks: '1' });
    const [partition] = await edge.topic('t');
    for (let batch = 0; batch < 6; batch++) edge.write(partition!, 2);
    await edge.start();
    await edge.drained();
    kafka.partition('edge.t').loseLast(2);
    edge.write(partition!, 2);
    await until(() => kafka.partition('edge.t').end === 14, 'everything upstream again');
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
  });

  it.each([6, 7, 19, 20, 3, 56])('when upstream answers error %i, with or without storing', async (code) => {
    makeEdge();
    const [partition] = await edge.topic('t');
    for (let batch = 0; batch < 12; batch++) edge.write(partition!, 1);
    kafka.faults.push({ kind: 'code', code }, { kind: 'code', code, append: true });
    await edge.start();
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
  });

  it('under random faults and crashes, whatever the seed', async () => {
    const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9));
    let state = seed;
    const random = () => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return state / 0x7fffffff;
    };
    makeEdge();
    const partitions = await edge.topic('t', 3);
    kafka.autoFaults = () => {
      const roll = random();
      if (roll < 0.04) return { kind: 'drop-after-append' };
      if (roll < 0.08) return { kind: 'drop-before-append' };
      if (roll < 0.12) return { kind: 'code', code: [6, 7, 19, 20][Math.floor(random() * 4)]!, append: random() < 0.5 };
      return null;
    };
    await edge.start();
    for (let round = 0; round < 40; round++) {
      for (const partition of partitions)
        for (let n = 0; n < 3; n++) edge.write(partition, 1 + Math.floor(random() * 4));
      await new Promise((resolve) => setTimeout(resolve, random() * 15));
      const roll = random();
      if (roll < 0.25) await crash();
      else if (roll < 0.35) {
        await kafka.stop();
        // A long outage: what upstream knew of producers is gone.
        if (random() < 0.5) kafka.forgetProducers();
        await kafka.listen();
      }
    }
    kafka.autoFaults = null;
    await edge.drained();
    for (const partition of partitions) {
      expect(kafka.partition('edge.t', partition.index).values(), `SEED=${seed}`).toEqual(edge.written(partition));
    }
    expect(await edge.losses()).toEqual([]);
  }, 30_000);
});
