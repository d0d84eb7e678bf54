import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HeadwaterError } from '../../src/errors.ts';
import { loadCodec } from '../../src/wire/batch/compression.ts';
import { compressBatch, encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { produce } from '../../src/wire/kafka/api/00-produce.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import { batchOf, producing } from './requests.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

let started: StartedEdge;
let client: RawClient;

beforeEach(async () => {
  started = await startEdge();
  client = await RawClient.connect(started.port);
  await started.log.createTopic({ name: 't', partitions: 2, config: new Map([['max.message.bytes', '2000']]) });
});

afterEach(async () => {
  client.close();
  await started.edge.stop();
});

async function refused(body: ReturnType<typeof producing>, version = 9): Promise<number> {
  const { responses } = await client.request(produce, version, body);
  const [partition] = responses[0]!.partitionResponses;
  expect(partition!.baseOffset).toBe(-1);
  expect(started.log.topic('t')!.partitions[0]!.logEndOffset).toBe(0);
  return partition!.errorCode;
}

function changed(change: (batch: Buffer) => void): Buffer {
  const batch = batchOf('a', 'b');
  change(batch);
  return batch;
}

const bad: [string, () => Buffer | null, number][] = [
  ['no batch', () => null, KAFKA_ERROR.INVALID_RECORD],
  ['an empty record set', () => Buffer.alloc(0), KAFKA_ERROR.INVALID_RECORD],
  ['less than a header', () => batchOf('a').subarray(0, 60), KAFKA_ERROR.CORRUPT_MESSAGE],
  ['a truncated batch', () => batchOf('a').subarray(0, 65), KAFKA_ERROR.CORRUPT_MESSAGE],
  ['a wrong CRC', () => changed((batch) => batch.writeUInt8(batch[20]! ^ 1, 20)), KAFKA_ERROR.CORRUPT_MESSAGE],
  ['message format 1', () => changed((batch) => batch.writeInt8(1, 16)), KAFKA_ERROR.INVALID_RECORD],
  ['two batches', () => Buffer.concat([batchOf('a'), batchOf('b')]), KAFKA_ERROR.INVALID_RECORD],
  ['a length below the header', () => changed((batch) => batch.writeInt32BE(-5, 8)), KAFKA_ERROR.CORRUPT_MESSAGE],
  ['a batch above max.message.bytes', () => batchOf('x'.repeat(3_000)), KAFKA_ERROR.MESSAGE_TOO_LARGE],
];
test.each(bad)('%s is refused and nothing is stored', async (_what, records, code) => {
  expect(await refused(producing(records()))).toBe(code);
});

test.each([2, -2, 7])('acks %i is refused', async (acks) => {
  expect(await refused(producing(batchOf('a'), acks))).toBe(KAFKA_ERROR.INVALID_REQUIRED_ACKS);
});

test('unknown topics and partitions are refused', async () => {
  expect(await refused(producing(batchOf('a'), 1, 'nowhere'))).toBe(KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION);
  expect(await refused(producing(batchOf('a'), 1, 't', 2))).toBe(KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION);
  expect(await refused(producing(batchOf('a'), 1, 't', -1))).toBe(KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION);
});

test('internal topics are not for clients', async () => {
  await started.log.createTopic({ name: '__offsets', partitions: 1, config: new Map(), internal: true });
  expect(await refused(producing(batchOf('a'), 1, '__offsets'))).toBe(KAFKA_ERROR.INVALID_TOPIC_EXCEPTION);
});

test('zstd needs Produce version 7', async () => {
  const zstd = changed((batch) => batch.writeInt16BE(4, 21));
  expect(await refused(producing(zstd), 6)).toBe(KAFKA_ERROR.UNSUPPORTED_COMPRESSION_TYPE);
});

test('a transactional batch needs a transactional id and an open transaction', async () => {
  const batch = encodeBatch([{ key: null, value: null, headers: [], timestamp: 1 }], {
    now: 1,
    producerId: 5,
    producerEpoch: 0,
    baseSequence: 0,
    transactional: true,
  });
  expect(await refused(producing(batch))).toBe(KAFKA_ERROR.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
  const { responses } = await client.request(produce, 9, { ...producing(batch), transactionalId: 'tx' });
  // What the gate of this test answers.
  expect(responses[0]!.partitionResponses[0]!.errorCode).toBe(KAFKA_ERROR.INVALID_TXN_STATE);
});

test('one refused partition does not touch the others, and says why', async () => {
  const { responses } = await client.request(produce, 8, {
    acks: 1,
    timeoutMs: 100,
    topicData: [
      {
        name: 't',
        partitionData: [
          { index: 0, records: batchOf('x'.repeat(3_000)) },
          { index: 1, records: batchOf('fine') },
        ],
      },
    ],
  });
  const [first, second] = responses[0]!.partitionResponses;
  expect(first).toMatchObject({ index: 0, errorCode: KAFKA_ERROR.MESSAGE_TOO_LARGE, errorMessage: expect.any(String) });
  expect(second).toMatchObject({ index: 1, errorCode: 0, baseOffset: 0, logStartOffset: 0, errorMessage: null });
});

test('an error of the log reaches the client under its own code', async () => {
  started.log.topic('t')!.partitions[0]!.appendBatch = (_batch, _options, done) =>
    done(new HeadwaterError('DISK_FULL', 'no space'), -1);
  expect(await refused(producing(batchOf('a')))).toBe(KAFKA_ERROR.KAFKA_STORAGE_ERROR);
});

test('acks=all answers REQUEST_TIMED_OUT when replicas do not confirm in time', async () => {
  const partition = started.log.topic('t')!.partitions[0]!;
  partition.replicas = [1, 2];
  partition.appendBatch = () => {};
  const { responses } = await client.request(produce, 9, { ...producing(batchOf('a')), timeoutMs: 5 });
  expect(responses[0]!.partitionResponses[0]!.errorCode).toBe(KAFKA_ERROR.REQUEST_TIMED_OUT);
});

test.each([3, 4, 5, 6, 7, 8, 9, 10, 11])('version %i stores and answers', async (version) => {
  const { responses } = await client.request(produce, version, producing(batchOf('a', 'b')));
  expect(responses[0]!.partitionResponses[0]).toMatchObject({ errorCode: 0, baseOffset: 0, logAppendTimeMs: -1 });
  expect(started.log.topic('t')!.partitions[0]!.logEndOffset).toBe(2);
});

describe('a compacted topic', () => {
  const record = (key: string | null) => ({
    key: key === null ? null : Buffer.from(key),
    value: Buffer.from('v'.repeat(50)),
    headers: [],
    timestamp: 1,
  });
  const gzipped = async (...keys: (string | null)[]) =>
    compressBatch(encodeBatch(keys.map(record), { now: 1 }), await loadCodec('gzip', { compress: true }));
  const logEnd = () => started.log.topic('table')!.partitions[0]!.logEndOffset;

  beforeEach(async () => {
    await started.log.createTopic({ name: 'table', partitions: 1, config: new Map([['cleanup.policy', 'compact']]) });
  });

  test.each(['plain', 'gzip'])('refuses records without a key and names them (%s)', async (how) => {
    const keys = ['a', null, 'b', null];
    const batch = how === 'gzip' ? await gzipped(...keys) : encodeBatch(keys.map(record), { now: 1 });
    const { responses } = await client.request(produce, 8, producing(batch, -1, 'table'));
    const [partition] = responses[0]!.partitionResponses;
    expect(partition!.errorCode).toBe(KAFKA_ERROR.INVALID_RECORD);
    expect(partition!.recordErrors.map(({ batchIndex }) => batchIndex)).toEqual([1, 3]);
    expect(logEnd()).toBe(0);
  });

  test('keeps the order of pipelined requests, compressed or not', async () => {
    const bodies = [await gzipped('a'), encodeBatch([record('b')], { now: 1 }), await gzipped('c'), batchOf('keyless')];
    const ids = bodies.map((batch) => client.send(produce, 9, producing(batch, -1, 'table')));
    const offsets = [];
    for (const id of ids) {
      offsets.push((await client.answer(produce, 9, id)).responses[0]!.partitionResponses[0]!.baseOffset);
    }
    expect(offsets).toEqual([0, 1, 2, -1]);
  });

  test('a compressed batch that does not decompress is refused, and nothing else', async () => {
    const broken = Buffer.from(await gzipped('a', 'b', 'c'));
    broken.fill(0x55, 61);
    const { responses } = await client.request(produce, 9, producing(broken, -1, 'table'));
    expect(responses[0]!.partitionResponses[0]!.errorCode).toBe(KAFKA_ERROR.CORRUPT_MESSAGE);
    const fine = await client.request(produce, 9, producing(await gzipped('a'), -1, 'table'));
    expect(fine.responses[0]!.partitionResponses[0]).toMatchObject({ errorCode: 0, baseOffset: 0 });
  });
});
