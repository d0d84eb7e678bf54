import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeMarker } from '../../src/wire/batch/control-batch.ts';
import { patchCrc, patchLogAppendTime } from '../../src/wire/batch/record-batch.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
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

describe('what is not for upstream', () => {
  it('control batches and aborted transactions stay here; what was committed goes, without its transaction', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    const batch = (value: string, producerId: number) =>
      encodeBatch([{ key: null, value: Buffer.from(value), headers: [], timestamp: 1 }], {
        now: 0,
        producerId,
        producerEpoch: 0,
        baseSequence: 0,
        transactional: true,
      });
    const marker = (type: 'abort' | 'commit', producerId: number) =>
      encodeMarker({ type, producerId, producerEpoch: 0, coordinatorEpoch: 0, timestamp: 1 });
    partition!.commit(batch('committed', 5));
    partition!.commit(batch('aborted', 6));
    partition!.commit(marker('commit', 5));
    partition!.commit(marker('abort', 6));
    partition!.aborted = [{ producerId: 6, firstOffset: 1, lastOffset: 3 }];
    partition!.commit(batch('open', 7));
    partition!.stable = 4;
    await edge.start();
    await until(() => edge.status.partitions[0]?.nextOffset === 4, 'everything decided is sent');
    expect(kafka.partition('edge.t').values()).toEqual(['committed']);
    partition!.commit(marker('commit', 7));
    partition!.stable = null;
    partition!.wake();
    await edge.drained();
    const { batches, values } = {
      batches: kafka.partition('edge.t').batches,
      values: kafka.partition('edge.t').values(),
    };
    expect(values).toEqual(['committed', 'open']);
    expect(batches.map((sent) => sent.readInt16BE(21) & 0x10)).toEqual([0, 0]);
    expect(batches.map((sent) => sent.readInt32BE(53))).toEqual([0, 1]);
  });

  it('holes of compaction and append times are encoded so that Kafka takes them', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 3);
    edge.write(partition!, 1);
    const { batches } = partition!;
    // Offsets 0 to 5 of which 3 are left: the last offset delta stays.
    const holed = batches[0]!;
    holed.writeInt32BE(5, 23);
    patchCrc(holed);
    batches[1]!.writeBigInt64BE(6n, 0);
    partition!.logEndOffset = 7;
    patchLogAppendTime(batches[1]!, 5_000);
    await edge.start();
    await edge.drained();
    const upstream = kafka.partition('edge.t');
    expect(upstream.values()).toEqual(edge.written(partition!));
    expect(upstream.batches.map((sent) => [sent.readInt32BE(23), sent.readInt32BE(57), sent.readInt16BE(21)])).toEqual([
      [2, 3, 0],
      [0, 1, 0],
    ]);
    expect(upstream.batches[1]!.readBigInt64BE(27)).toBe(5_000n);
  });

  it('what retention removed first is in the ledger, exactly, and once', async () => {
    makeEdge({ paused: true });
    const [partition] = await edge.topic('t');
    for (let batch = 0; batch < 6; batch++) edge.write(partition!, 2);
    await edge.start();
    edge.links!.pause('cloud', false);
    await edge.drained();
    edge.links!.pause('cloud', true);
    for (let batch = 0; batch < 6; batch++) edge.write(partition!, 2);
    await edge.stop();
    partition!.logStartOffset = 18;
    partition!.batches.splice(0, 9);
    await edge.start();
    edge.links!.pause('cloud', false);
    await edge.drained();
    const written = edge.written(partition!);
    expect(kafka.partition('edge.t').values()).toEqual([...written.slice(0, 12), ...written.slice(18)]);
    expect(edge.status.lostRecords).toBe(6);
    await edge.stop();
    await edge.start();
    await edge.drained();
    expect(await edge.losses()).toMatchObject([
      {
        topic: 't',
        partition: 0,
        firstOffset: 12,
        lastOffset: 17,
        by: 'cloud',
        reason: expect.stringMatching(/^retention/),
      },
    ]);
  });

  it('a topic of the same name that is created again starts from its own beginning', async () => {
    makeEdge();
    const [first] = await edge.topic('t');
    edge.write(first!, 5);
    await edge.start();
    await edge.drained();
    await edge.stop();
    await edge.log.deleteTopic('t');
    const [second] = await edge.topic('t');
    edge.write(second!, 2);
    await edge.start();
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual([...edge.written(first!), ...edge.written(second!)]);
  });
});

describe('trouble', () => {
  it('of one partition does not hold the others, and shows', async () => {
    makeEdge();
    const [good] = await edge.topic('good');
    const [bad] = await edge.topic('bad');
    kafka.create('edge.bad', 1);
    kafka.partition('edge.bad').append = () => ({ code: 29, baseOffset: -1 });
    edge.write(bad!, 1);
    await edge.start();
    for (let batch = 0; batch < 20; batch++) edge.write(good!, 1);
    await until(() => kafka.topics.get('edge.good')?.partitions[0]?.end === 20, 'the good one is upstream');
    await until(() => edge.status.state === 'blocked', 'the link says so');
    expect(edge.status.lastError).toContain('TOPIC_AUTHORIZATION_FAILED');
    await until(() => edge.status.backlogRecords === 1, 'only the bad one is behind');
  });

  it('silence without a reset is noticed and the connection is built anew', async () => {
    makeEdge({ 'request.timeout.ms': 200 });
    const [partition] = await edge.topic('t');
    edge.write(partition!, 1);
    await edge.start();
    await edge.drained();
    kafka.faults.push({ kind: 'silence' });
    edge.write(partition!, 1);
    await until(() => edge.status.lastError !== null, 'the silence is noticed');
    kafka.silent = false;
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
  });

  it('another producer id is asked for when upstream does not take our sequence at all', async () => {
    makeEdge();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 2);
    await edge.start();
    await edge.drained();
    for (let times = 0; times < 3; times++) kafka.faults.push({ kind: 'code', code: 45 });
    edge.write(partition!, 2);
    await edge.drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
    expect(new Set(kafka.partition('edge.t').batches.map((batch) => batch.readBigInt64BE(43))).size).toBe(2);
  });

  it('partitions that upstream lacks are added, and those added here appear there', async () => {
    makeEdge();
    kafka.create('edge.t', 1);
    const partitions = await edge.topic('t', 3);
    for (const partition of partitions) edge.write(partition, 1);
    await edge.start();
    await edge.drained();
    expect(kafka.topics.get('edge.t')!.partitions.map(({ end }) => end)).toEqual([1, 1, 1]);
  });
});

describe('policy', () => {
  it('paused, nothing goes out; resumed, everything', async () => {
    makeEdge({ paused: true });
    const [partition] = await edge.topic('t');
    edge.write(partition!, 3);
    await edge.start();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(kafka.requests).toHaveLength(0);
    expect(edge.status.state).toBe('paused');
    edge.links!.pause('cloud', false);
    await edge.drained();
    edge.links!.pause('cloud', true);
    edge.write(partition!, 3);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(kafka.partition('edge.t').end).toBe(3);
    expect(() => edge.links!.pause('clod', true)).toThrow('configured: cloud');
  });

  it('requests hold one batch of a partition each and stay within their size', async () => {
    makeEdge({ 'max.request.size': 16 * 1024 });
    const partitions = await edge.topic('t', 4);
    for (const partition of partitions) for (let batch = 0; batch < 20; batch++) edge.write(partition, 60);
    await edge.start();
    await edge.drained();
    for (const { topicData } of kafka.requests) {
      const rows = topicData.flatMap(({ partitionData }) => partitionData);
      expect(new Set(rows.map(({ index }) => index)).size).toBe(rows.length);
      const bytes = rows.reduce((sum, { records }) => sum + records!.length, 0);
      expect(rows.length === 1 || bytes <= 16 * 1024).toBe(true);
    }
    expect(kafka.requests.length).toBeLessThan(80);
    for (const partition of partitions) {
      expect(kafka.partition('edge.t', partition.index).values()).toEqual(edge.written(partition));
    }
  });

  it('several edges share a topic by hash', async () => {
    makeEdge({ partitioner: 'hash', rename: 'all.{topic}', 'num.partitions': 5 });
    const partitions = await edge.topic('t', 3);
    for (const partition of partitions) edge.write(partition, 4);
    await edge.start();
    await edge.drained();
    expect(kafka.topics.get('all.t')!.partitions).toHaveLength(5);
    const values = kafka.topics.get('all.t')!.partitions.flatMap((partition) => partition.values());
    expect(values.sort()).toEqual(partitions.flatMap((partition) => edge.written(partition)).sort());
  });
});
