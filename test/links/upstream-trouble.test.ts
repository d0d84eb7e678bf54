/** Throttling, leaders that move, and connections that go silent, by a virtual clock where it takes long. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { baseSequenceOf } from '../../src/wire/batch/record-batch.ts';
import type { MemoryPartition } from '../kafka/memory-log.ts';
import { seededRandom, VirtualClock } from '../support/virtual-env.ts';
import { FakeKafka } from './fake-kafka.ts';
import { Edge, until, untilOf } from './harness.ts';

let kafka: FakeKafka;
let edge: Edge;
let clock: VirtualClock;

function makeEdge(settings: ConstructorParameters<typeof Edge>[0] = {}): Edge {
  edge = new Edge({ 'bootstrap.servers': [kafka.bootstrap], ...settings });
  return edge;
}

/** Both sides by one clock that moves only when told. */
function makeVirtualEdge(settings: ConstructorParameters<typeof Edge>[0] = {}): Edge {
  clock = new VirtualClock();
  kafka.clock = clock;
  const env = { clock, random: seededRandom(1), net: systemEnv.net };
  edge = new Edge({ 'bootstrap.servers': [kafka.bootstrap], 'request.timeout.ms': 25_000, ...settings }, env);
  return edge;
}
const drained = () => untilOf(clock, kafka, edge, () => edge.status.backlogRecords === 0, 'drained');

/** First sequences in Produce requests for partition 0, in the order they came. */
function sequences(topic: string): number[] {
  const rows = kafka.requests.flatMap(({ topicData }) => topicData.filter(({ name }) => name === topic));
  return rows.flatMap(({ partitionData }) => {
    return partitionData.filter(({ index }) => index === 0).map(({ records }) => baseSequenceOf(Buffer.from(records!)));
  });
}

beforeEach(async () => {
  kafka = await FakeKafka.start();
});
afterEach(async () => {
  await edge.stop();
  await kafka.stop();
});

describe('an upstream that throttles', () => {
  it('gets no request before the time it asks for is over', async () => {
    makeVirtualEdge({ 'max.in.flight.requests.per.connection': 1 });
    const [partition] = await edge.topic('t');
    for (let batch = 0; batch < 6; batch++) edge.write(partition!, 50);
    kafka.throttleMs = 3_000;
    await edge.start();
    await drained();
    for (let batch = 0; batch < 6; batch++) edge.write(partition!, 50);
    await drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
    const pauses = kafka.arrivals.slice(1).map((at, index) => at - kafka.arrivals[index]!);
    expect(pauses.length).toBeGreaterThan(1);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(3_000);
    expect(edge.status).toMatchObject({ state: 'live', resends: 0, lastError: null });
    expect(edge.counter('throttle_seconds')).toBe(3 * kafka.requests.length);
  });

  it('for longer than a request may take, keeps its connection and what is on its way', async () => {
    makeVirtualEdge();
    const partitions = await edge.topic('t', 2);
    for (const partition of partitions) edge.write(partition, 3);
    await edge.start();
    await drained();
    const connections = kafka.connections;
    // Five requests are on their way when the first answer says so.
    kafka.throttleMs = 120_000;
    for (const partition of partitions) for (let batch = 0; batch < 3; batch++) edge.write(partition, 900);
    await untilOf(clock, kafka, edge, () => edge.status.backlogRecords === 0, 'drained', 900_000);
    for (const partition of partitions) {
      expect(kafka.partition('edge.t', partition.index).values()).toEqual(edge.written(partition));
    }
    expect(kafka.connections).toBe(connections);
    expect(edge.status.resends).toBe(0);
    expect(edge.counter('rebuilds')).toBe(0);
  });

  it('is left alone for so long also by a new connection', async () => {
    makeVirtualEdge({ 'max.in.flight.requests.per.connection': 1 });
    const [partition] = await edge.topic('t');
    edge.write(partition!, 3);
    kafka.throttleMs = 60_000;
    await edge.start();
    await drained();
    edge.write(partition!, 3);
    const { port } = kafka;
    await kafka.stop();
    await kafka.listen();
    expect(kafka.port).toBe(port);
    await drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
    expect(kafka.arrivals).toHaveLength(2);
    expect(kafka.arrivals[1]! - kafka.arrivals[0]!).toBeGreaterThanOrEqual(60_000);
  });
});

describe('a leader that moves', () => {
  /** A topic whose first records are upstream, at the first of two brokers. */
  async function drainedToTwoBrokers(partitions: number): Promise<MemoryPartition[]> {
    await kafka.addBroker();
    makeEdge();
    const topic = await edge.topic('t', partitions);
    for (const partition of topic) edge.write(partition, 4);
    await edge.start();
    await edge.drained();
    return topic;
  }

  it('is followed, without holding up the partitions that stay', async () => {
    const partitions = await drainedToTwoBrokers(3);
    for (let round = 0; round < 6; round++) {
      kafka.partition('edge.t', round % 2).leader = round % 4 < 2 ? 2 : 1;
      for (const partition of partitions) for (let batch = 0; batch < 20; batch++) edge.write(partition, 3);
      await edge.drained();
    }
    for (const partition of partitions) {
      expect(kafka.partition('edge.t', partition.index).values()).toEqual(edge.written(partition));
    }
    expect(edge.status).toMatchObject({ state: 'live', lastError: null, lostRecords: 0 });
  });

  it('is found when the metadata knew the old one a while longer', async () => {
    const [partition] = await drainedToTwoBrokers(1);
    const upstream = kafka.partition('edge.t');
    upstream.leader = 2;
    upstream.leaderInMetadata = 1;
    const asked = kafka.metadataRequests;
    edge.write(partition!, 4);
    await until(() => kafka.metadataRequests > asked + 3, 'it asks again');
    expect(edge.status.backlogRecords).toBe(4);
    upstream.leaderInMetadata = null;
    await edge.drained();
    expect(upstream.values()).toEqual(edge.written(partition!));
  });

  it('between the first metadata and the look at what is upstream, is found too', async () => {
    const [partition] = await drainedToTwoBrokers(1);
    const upstream = kafka.partition('edge.t');
    // Stored, answered with REQUEST_TIMED_OUT, and led by the other one when the link looks whether it is there.
    kafka.faults.push({ kind: 'code', code: 7, append: true });
    const answered = kafka.requests.length;
    edge.write(partition!, 4);
    await until(() => kafka.requests.length > answered, 'the batch is answered');
    upstream.leader = 2;
    edge.write(partition!, 4);
    await edge.drained();
    expect(upstream.values()).toEqual(edge.written(partition!));
    expect(edge.status.duplicatesAvoided).toBe(4);
  });
});

describe('a connection that goes silent', () => {
  it.each([
    ['swallowed what was on its way', false],
    ['stored what was on its way', true],
  ])('is built anew by the watchdog when it %s: every record is there once', async (_what, append) => {
    makeVirtualEdge();
    const [partition] = await edge.topic('t');
    edge.write(partition!, 3);
    await edge.start();
    await drained();
    // Twice a request runs out of time and the next connection is as dead: the third is not waited for.
    kafka.faults.push({ kind: 'dead-connection', append: false }, { kind: 'dead-connection', append: false });
    kafka.faults.push({ kind: 'dead-connection', append });
    const since = clock.monotonic();
    edge.write(partition!, 5);
    await untilOf(clock, kafka, edge, () => kafka.requests.length === 4, 'the third attempt is on its way');
    expect(edge.counter('rebuilds')).toBe(0);
    await drained();
    expect(edge.counter('rebuilds')).toBe(1);
    expect(clock.monotonic() - since).toBeLessThan(60_000);
    expect(sequences('edge.t')).toEqual(append ? [0, 3, 3, 3] : [0, 3, 3, 3, 3]);
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
    expect(kafka.partition('edge.t').producers.size).toBe(1);
    edge.write(partition!, 2);
    await drained();
    expect(kafka.partition('edge.t').values()).toEqual(edge.written(partition!));
    expect(edge.counter('rebuilds')).toBe(1);
  });
});
