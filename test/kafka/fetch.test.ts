import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemEnv, type Timer } from '../../src/env.ts';
import { FETCH_ANSWER_MAX_BYTES } from '../../src/limits.ts';
import { splitBatches } from '../../src/wire/batch/record-batch.ts';
import { produce } from '../../src/wire/kafka/api/00-produce.ts';
import { fetch } from '../../src/wire/kafka/api/01-fetch.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import type { RequestInput } from '../../src/wire/kafka/schema.ts';
import type { MemoryPartition } from './memory-log.ts';
import { batchOf, fetching, producing } from './requests.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

let started: StartedEdge;
let client: RawClient;
let partition: MemoryPartition;
let timers: { ms: number; task: () => void; cancelled: boolean }[];

beforeEach(async () => {
  timers = [];
  const after = (ms: number, task: () => void): Timer => {
    const timer = { ms, task, cancelled: false };
    timers.push(timer);
    return {
      cancel: () => {
        timer.cancelled = true;
      },
    };
  };
  started = await startEdge({}, { env: { ...systemEnv, clock: { ...systemEnv.clock, after } } });
  client = await RawClient.connect(started.port);
  await started.log.createTopic({ name: 't', partitions: 2, config: new Map() });
  partition = started.log.topic('t')!.partitions[0]!;
});

afterEach(async () => {
  client.close();
  for (const timer of timers) if (!timer.cancelled) timer.task();
  await started.edge.stop();
});

const store = async (...values: string[]): Promise<void> => {
  await client.request(produce, 9, producing(batchOf(...values)));
};

const fetchOne = async (body: RequestInput<typeof fetch>, version = 11) => {
  const { responses } = await client.request(fetch, version, body);
  return responses[0]!.partitions[0]!;
};

test('starts with the whole batch that contains the offset', async () => {
  await store('a', 'b', 'c');
  await store('d');
  const answer = await fetchOne(fetching(1));
  const batches = splitBatches(answer.records!);
  expect(batches.map((batch) => Buffer.from(batch).readBigInt64BE(0))).toEqual([0n, 3n]);
  expect(answer).toMatchObject({ errorCode: 0, highWatermark: 4, lastStableOffset: 4, logStartOffset: 0 });
  expect(answer.abortedTransactions).toBeNull();
  expect(answer.preferredReadReplica).toBe(-1);
});

test('at the log end there are no records and no error', async () => {
  await store('a');
  const answer = await fetchOne(fetching(1));
  expect(answer.errorCode).toBe(0);
  expect(answer.records!.length).toBe(0);
});

test('offsets outside the log are OFFSET_OUT_OF_RANGE at once, whatever the wait', async () => {
  await store('a');
  partition.logStartOffset = 1;
  expect((await fetchOne(fetching(2, 60_000))).errorCode).toBe(KAFKA_ERROR.OFFSET_OUT_OF_RANGE);
  expect((await fetchOne(fetching(0, 60_000))).errorCode).toBe(KAFKA_ERROR.OFFSET_OUT_OF_RANGE);
  expect(timers).toEqual([]);
});

test('no timer is set when there is data', async () => {
  await store('a');
  await fetchOne(fetching(0, 60_000));
  expect(timers).toEqual([]);
});

test('waits no longer than maxWaitMs', async () => {
  const id = client.send(fetch, 11, fetching(0, 500));
  await expect.poll(() => timers.length).toBe(1);
  expect(timers[0]!.ms).toBe(500);
  timers[0]!.task();
  const { responses } = await client.answer(fetch, 11, id);
  expect(responses[0]!.partitions[0]).toMatchObject({ errorCode: 0, highWatermark: 0 });
});

test('waits until minBytes have come and returns all of them', async () => {
  const producer = await RawClient.connect(started.port);
  const id = client.send(fetch, 11, fetching(0, 60_000, 150));
  await expect.poll(() => partition.waiters.size).toBe(1);
  await producer.request(produce, 9, producing(batchOf('a')));
  await producer.request(produce, 9, producing(batchOf('b')));
  await producer.request(produce, 9, producing(batchOf('c')));
  const { responses } = await client.answer(fetch, 11, id);
  const batches = splitBatches(responses[0]!.partitions[0]!.records!);
  expect(batches.map((batch) => Buffer.from(batch).readBigInt64BE(0))).toEqual([0n, 1n, 2n]);
  expect(timers[0]!.cancelled).toBe(true);
  producer.close();
});

test('one batch comes whatever the limits, a second only within them (KIP-74)', async () => {
  await store('x'.repeat(1_000));
  await store('y');
  const answer = await fetchOne(
    fetching(0, 0, 1, {
      maxBytes: 10,
      topics: [{ topic: 't', partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 5 }] }],
    }),
  );
  expect(splitBatches(answer.records!)).toHaveLength(1);
});

test('a second partition gets nothing when the first filled the answer, and its own batch otherwise', async () => {
  await store('x'.repeat(1_000));
  await client.request(produce, 9, producing(batchOf('y'.repeat(500)), 1, 't', 1));
  const both = (maxBytes: number) =>
    fetching(0, 0, 1, {
      maxBytes,
      topics: [
        {
          topic: 't',
          partitions: [0, 1].map((one) => ({ partition: one, fetchOffset: 0, partitionMaxBytes: 1_000_000 })),
        },
      ],
    });
  const small = (await client.request(fetch, 11, both(1_200))).responses[0]!.partitions;
  expect(small.map(({ records }) => splitBatches(records!).length)).toEqual([1, 0]);
  const large = (await client.request(fetch, 11, both(10_000))).responses[0]!.partitions;
  expect(large.map(({ records }) => splitBatches(records!).length)).toEqual([1, 1]);
});

describe('read_committed', () => {
  test('stops at the last stable offset and names aborted transactions', async () => {
    await store('a');
    await store('b');
    partition.stable = 1;
    partition.aborted = [{ producerId: 9, firstOffset: 0, lastOffset: 0 }];
    const answer = await fetchOne(fetching(0, 0, 1, { isolationLevel: 1 }));
    expect(splitBatches(answer.records!)).toHaveLength(1);
    expect(answer).toMatchObject({ highWatermark: 2, lastStableOffset: 1 });
    expect(answer.abortedTransactions).toEqual([{ producerId: 9, firstOffset: 0 }]);
  });

  test('waits for the last stable offset to move', async () => {
    await store('a');
    partition.stable = 0;
    const id = client.send(fetch, 11, fetching(0, 60_000, 1, { isolationLevel: 1 }));
    await expect.poll(() => partition.waiters.size).toBe(1);
    partition.stable = 1;
    partition.wake();
    const { responses } = await client.answer(fetch, 11, id);
    expect(splitBatches(responses[0]!.partitions[0]!.records!)).toHaveLength(1);
  });
});

describe('epochs', () => {
  const withEpoch = (currentLeaderEpoch: number, lastFetchedEpoch = -1) =>
    fetching(0, 60_000, 1, {
      topics: [
        {
          topic: 't',
          partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 100, currentLeaderEpoch, lastFetchedEpoch }],
        },
      ],
    });

  test('an older leader epoch is fenced, a newer one unknown', async () => {
    await store('a');
    expect((await fetchOne(withEpoch(2))).errorCode).toBe(KAFKA_ERROR.FENCED_LEADER_EPOCH);
    expect((await fetchOne(withEpoch(4))).errorCode).toBe(KAFKA_ERROR.UNKNOWN_LEADER_EPOCH);
    expect((await fetchOne(withEpoch(3))).errorCode).toBe(0);
  });

  test('a reader with another history learns where it left ours', async () => {
    await store('a');
    const answer = await fetchOne(withEpoch(3, 2), 12);
    expect(answer.errorCode).toBe(0);
    expect(answer.divergingEpoch).toEqual({ epoch: -1, endOffset: -1 });
    expect(answer.records!.length).toBe(0);
  });
});

test('a batch larger than the part of its partition comes when there is room for it', async () => {
  await started.log.createTopic({ name: 'many', partitions: 40, config: new Map() });
  for (let index = 0; index < 40; index++) {
    const batch = batchOf('x'.repeat(index === 20 ? 200_000 : 1_000));
    await client.request(produce, 9, producing(batch, -1, 'many', index));
  }
  const partitions = Array.from({ length: 40 }, (_, partition) => ({
    partition,
    fetchOffset: 0,
    partitionMaxBytes: 1_000_000,
  }));
  const body = { ...fetching(0), maxBytes: 300_000, topics: [{ topic: 'many', partitions }] };
  const { responses } = await client.request(fetch, 11, body);
  expect(responses[0]!.partitions.map(({ records }) => splitBatches(records!).length)).toEqual(Array(40).fill(1));
});

test('of many partitions that have something each gets its part; one that has all gets all', async () => {
  const count = 10;
  const batchBytes = 32 * 1024;
  await started.log.createTopic({ name: 'many', partitions: count, config: new Map() });
  const value = 'x'.repeat(batchBytes);
  for (let i = 0; i < 40; i++) {
    const topicData = [
      {
        name: 'many',
        partitionData: Array.from({ length: count }, (_, index) => ({ index, records: [batchOf(value)] })),
      },
    ];
    await client.request(produce, 9, { ...producing(batchOf('x')), topicData });
  }
  const ask = async (offsets: number) => {
    const body = {
      ...fetching(0),
      // More than an answer ever holds.
      maxBytes: 50 * 1024 * 1024,
      topics: [
        {
          topic: 'many',
          partitions: Array.from({ length: count }, (_, index) => ({
            partition: index,
            fetchOffset: index === 3 ? 0 : offsets,
            partitionMaxBytes: 1024 * 1024,
          })),
        },
      ],
    };
    const { responses } = await client.request(fetch, 11, body);
    const { partitions } = responses[0]!;
    expect(partitions.reduce((sum, { records }) => sum + records!.length, 0)).toBeLessThanOrEqual(
      FETCH_ANSWER_MAX_BYTES,
    );
    return partitions.map(({ records }) => splitBatches(records!).length);
  };
  const shares = await ask(0);
  // A tenth of 2 MiB is six batches; it grows a little with what those before could not use.
  expect(Math.min(...shares)).toBeGreaterThanOrEqual(6);
  expect(Math.max(...shares)).toBeLessThanOrEqual(8);
  const alone = await ask(40);
  expect(alone[3]).toBe(31);
  expect(alone.filter((batches) => batches > 0)).toHaveLength(1);
});

test('a session is never made; asking for one by id is FETCH_SESSION_ID_NOT_FOUND', async () => {
  const fresh = await client.request(fetch, 11, fetching(0, 0, 1, { sessionEpoch: 0 }));
  expect(fresh.sessionId).toBe(0);
  const known = await client.request(fetch, 11, fetching(0, 0, 1, { sessionId: 7, sessionEpoch: 1 }));
  expect(known.errorCode).toBe(KAFKA_ERROR.FETCH_SESSION_ID_NOT_FOUND);
});

test('topics by id: known ones are read, unknown ones are UNKNOWN_TOPIC_ID', async () => {
  await store('a');
  const byId = (topicId: string) =>
    fetching(0, 60_000, 1, {
      topics: [{ topicId, partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 100 }] }],
    });
  const found = await client.request(fetch, 13, byId(started.log.topic('t')!.id));
  expect(found.responses[0]!.topicId).toBe(started.log.topic('t')!.id);
  expect(found.responses[0]!.partitions[0]!.records!.length).toBeGreaterThan(61);
  expect((await fetchOne(byId('ab'.repeat(16)), 13)).errorCode).toBe(KAFKA_ERROR.UNKNOWN_TOPIC_ID);
});

test('deleting a topic ends the wait for it', async () => {
  const id = client.send(fetch, 11, fetching(0, 60_000));
  await expect.poll(() => partition.waiters.size).toBe(1);
  await started.log.deleteTopic('t');
  const { responses } = await client.answer(fetch, 11, id);
  expect(responses[0]!.partitions[0]!.errorCode).toBe(KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION);
});

test('zstd is not served before Fetch version 10', async () => {
  await store('a');
  partition.batches[0]!.writeInt16BE(4, 21);
  expect((await fetchOne(fetching(0, 60_000), 9)).errorCode).toBe(KAFKA_ERROR.UNSUPPORTED_COMPRESSION_TYPE);
  expect((await fetchOne(fetching(0), 10)).errorCode).toBe(0);
});

test.each([4, 5, 6, 7, 8, 9, 10, 11, 12])('version %i reads', async (version) => {
  await store('a');
  expect((await fetchOne(fetching(0), version)).records!.length).toBeGreaterThan(61);
});
