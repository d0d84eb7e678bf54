import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KAFKA_REQUEST_MAX_BYTES } from '../../src/limits.ts';
import { produce } from '../../src/wire/kafka/api/00-produce.ts';
import { fetch } from '../../src/wire/kafka/api/01-fetch.ts';
import { metadata } from '../../src/wire/kafka/api/03-metadata.ts';
import { apiVersions } from '../../src/wire/kafka/api/18-api-versions.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import { encodeRequest } from '../../src/wire/kafka/message.ts';
import { batchOf, fetching, producing } from './requests.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

let started: StartedEdge;
let client: RawClient;

beforeEach(async () => {
  started = await startEdge();
  client = await RawClient.connect(started.port);
  await started.log.createTopic({ name: 't', partitions: 1, config: new Map() });
});

afterEach(async () => {
  client.close();
  await started.edge.stop();
});

const frame = (...bytes: number[]): Buffer => {
  const payload = Buffer.from(bytes);
  const size = Buffer.alloc(4);
  size.writeInt32BE(payload.length);
  return Buffer.concat([size, payload]);
};

describe('what cannot be answered closes the connection and is counted', () => {
  const cases: [string, () => Buffer, string][] = [
    ['a frame above the limit', () => Buffer.from([0x7f, 0xff, 0xff, 0xff]), 'malformed frame'],
    [
      'a frame of one byte more than allowed',
      () => {
        const size = Buffer.alloc(4);
        size.writeInt32BE(KAFKA_REQUEST_MAX_BYTES + 1);
        return size;
      },
      'malformed frame',
    ],
    ['a negative frame size', () => Buffer.from([0xff, 0xff, 0xff, 0xff]), 'malformed frame'],
    ['a frame too short for a header', () => frame(0, 3, 0), 'malformed frame'],
    ['an HTTP request', () => Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), 'malformed frame'],
    ['an unknown API', () => frame(0x03, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff), 'unknown API'],
    [
      'Produce version 2, which is advertised only',
      () => frame(0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff),
      'unsupported version',
    ],
    ['a Metadata version from the future', () => frame(0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff), 'unsupported version'],
    ['a body that ends early', () => frame(0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0), 'malformed frame'],
    ['2^31-1 elements', () => frame(0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff), 'malformed frame'],
  ];
  test.each(cases)('%s', async (_what, bytes, reason) => {
    client.socket.write(bytes());
    expect(await client.frame()).toBeNull();
    expect(started.metric('headwater_kafka_closed_connections_total', reason)).toBe(1);
    if (reason === 'malformed frame') expect(started.metric('headwater_kafka_malformed_requests_total')).toBe(1);
    // Nobody else is disturbed.
    const other = await RawClient.connect(started.port);
    expect((await other.request(apiVersions, 0, {})).errorCode).toBe(0);
    other.close();
  });

  test('a frame of exactly the limit is read whole before it is judged', async () => {
    const size = Buffer.alloc(4);
    size.writeInt32BE(KAFKA_REQUEST_MAX_BYTES);
    client.socket.write(Buffer.concat([size, Buffer.alloc(KAFKA_REQUEST_MAX_BYTES - 1)]));
    const other = await RawClient.connect(started.port);
    await other.request(apiVersions, 0, {});
    expect(client.closed).toBe(false);
    client.socket.write(Buffer.alloc(1));
    // Key 0, version 0: Produce 0 is not served.
    expect(await client.frame()).toBeNull();
    expect(started.metric('headwater_kafka_closed_connections_total', 'unsupported version')).toBe(1);
    other.close();
  });
});

test('answers sent before a malformed frame still arrive', async () => {
  const id = client.send(apiVersions, 0, {});
  client.socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
  expect((await client.answer(apiVersions, 0, id)).errorCode).toBe(0);
  expect(await client.frame()).toBeNull();
});

test('ApiVersions above our maximum is answered in version 0 with that maximum', async () => {
  client.socket.write(frame(0, 18, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 1, 2, 3));
  const answer = await client.frame();
  expect(answer).toEqual(Buffer.from([0, 0, 0, 1, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]));
});

test('ApiVersions lists what is registered and serves Produce from 0', async () => {
  const answer = await client.request(apiVersions, 4, { clientSoftwareName: 'raw', clientSoftwareVersion: '1.0' });
  expect(answer.errorCode).toBe(0);
  expect(answer.apiKeys[0]).toEqual({ apiKey: 0, minVersion: 0, maxVersion: 11 });
  const keys = answer.apiKeys.map(({ apiKey }) => apiKey);
  expect(keys).toEqual([...keys].sort((a, b) => a - b));
  expect(answer.finalizedFeatures).toEqual([]);
});

test('ApiVersions refuses a client software name that is not one', async () => {
  const answer = await client.request(apiVersions, 3, { clientSoftwareName: '-x', clientSoftwareVersion: '1' });
  expect(answer.errorCode).toBe(KAFKA_ERROR.INVALID_REQUEST);
});

test('surplus bytes after a request are tolerated', async () => {
  const sent = Buffer.concat(encodeRequest(metadata, 9, 5, 'rdkafka', { topics: null }));
  const grown = Buffer.concat([sent, Buffer.alloc(3)]);
  grown.writeInt32BE(grown.length - 4, 0);
  client.socket.write(grown);
  expect((await client.answer(metadata, 9, 5)).topics.map((topic) => topic.name)).toEqual(['t']);
});

test('a request in single bytes is put together', async () => {
  const sent = Buffer.concat(encodeRequest(apiVersions, 0, 77, 'slow', {}));
  for (const byte of sent) {
    client.socket.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect((await client.answer(apiVersions, 0, 77)).errorCode).toBe(0);
});

test('five pipelined Produce requests share one commit and are answered in order', async () => {
  started.log.automatic = false;
  const ids = ['a', 'b', 'c', 'd', 'e'].map((value) => client.send(produce, 9, producing(batchOf(value))));
  await expect.poll(() => started.log.queue.length).toBe(5);
  expect(client.received).toBe(0);
  started.log.commit();
  for (const [index, id] of ids.entries()) {
    const { responses } = await client.answer(produce, 9, id);
    expect(responses[0]!.partitionResponses[0]).toMatchObject({ errorCode: 0, baseOffset: index, logAppendTimeMs: -1 });
  }
  expect(started.log.commits).toEqual([5]);
});

test('a request after a pipelined Produce waits for its answer', async () => {
  started.log.automatic = false;
  const first = client.send(produce, 9, producing(batchOf('a')));
  const second = client.send(metadata, 1, { topics: [] });
  const third = client.send(produce, 9, producing(batchOf('b')));
  await expect.poll(() => started.log.queue.length).toBe(1);
  started.log.commit();
  await client.answer(produce, 9, first);
  await client.answer(metadata, 1, second);
  await expect.poll(() => started.log.queue.length).toBe(1);
  started.log.commit();
  expect((await client.answer(produce, 9, third)).responses[0]!.partitionResponses[0]!.baseOffset).toBe(1);
});

test('a long poll holds the answers to later requests', async () => {
  const waiting = client.send(fetch, 11, fetching(0, 30_000));
  const after = client.send(metadata, 1, { topics: [] });
  const other = await RawClient.connect(started.port);
  await expect.poll(() => started.log.topic('t')!.partitions[0]!.waiters.size).toBe(1);
  expect(client.received).toBe(0);
  await other.request(produce, 9, producing(batchOf('x')));
  const { responses } = await client.answer(fetch, 11, waiting);
  expect(responses[0]!.partitions[0]!.records!.length).toBeGreaterThan(61);
  await client.answer(metadata, 1, after);
  expect(started.log.topic('t')!.partitions[0]!.waiters.size).toBe(0);
  other.close();
});

test('a long poll is forgotten when its client goes away', async () => {
  client.send(fetch, 11, fetching(0, 30_000));
  await expect.poll(() => started.log.topic('t')!.partitions[0]!.waiters.size).toBe(1);
  client.close();
  await expect.poll(() => started.log.topic('t')!.partitions[0]!.waiters.size).toBe(0);
  expect(started.metric('headwater_kafka_connections')).toBe(0);
});

test('stopping ends long polls with an answer and waits for appends in flight', async () => {
  started.log.automatic = false;
  const producer = await RawClient.connect(started.port);
  const fetchId = client.send(fetch, 11, fetching(0, 30_000));
  const produceId = producer.send(produce, 9, producing(batchOf('last')));
  await expect.poll(() => started.log.topic('t')!.partitions[0]!.waiters.size).toBe(1);
  await expect.poll(() => started.log.queue.length).toBe(1);
  const stopped = started.edge.stop();
  expect((await client.answer(fetch, 11, fetchId)).responses[0]!.partitions[0]!.errorCode).toBe(0);
  started.log.commit();
  expect((await producer.answer(produce, 9, produceId)).responses[0]!.partitionResponses[0]!.baseOffset).toBe(0);
  await stopped;
  await client.whenClosed();
});

test('one connection above the limit is refused and counted', async () => {
  await started.edge.stop();
  started = await startEdge({ maxConnections: 1 });
  client = await RawClient.connect(started.port);
  await client.request(apiVersions, 0, {});
  const second = await RawClient.connect(started.port);
  await second.whenClosed();
  expect(started.metric('headwater_kafka_refused_connections_total')).toBe(1);
  expect((await client.request(apiVersions, 0, {})).errorCode).toBe(0);
});

test('without memory new connections are closed, and the newest of those that are there', async () => {
  await started.edge.stop();
  let overloaded = false;
  started = await startEdge({}, { overloaded: () => overloaded });
  client = await RawClient.connect(started.port);
  await client.request(apiVersions, 0, {});
  const second = await RawClient.connect(started.port);
  await second.request(apiVersions, 0, {});
  overloaded = true;
  const third = await RawClient.connect(started.port);
  await third.whenClosed();
  expect(started.metric('headwater_kafka_refused_connections_total')).toBe(1);
  expect(started.edge.connectionCount).toBe(2);
  started.edge.shedNewest(1);
  await second.whenClosed();
  expect(started.metric('headwater_kafka_closed_connections_total', 'memory')).toBe(1);
  expect((await client.request(apiVersions, 0, {})).errorCode).toBe(0);
});

test('the socket is not read on while the log has no room, and goes on when it has', async () => {
  started.log.automatic = false;
  const id = client.send(produce, 9, producing(batchOf('a')));
  await expect.poll(() => started.log.queue.length).toBe(1);
  started.log.queuedBytes = 4 * 1024 * 1024;
  const next = client.send(produce, 9, producing(batchOf('b')));
  await expect.poll(() => started.log.drained.length).toBe(1);
  expect(started.log.queue.length).toBe(1);
  started.log.commit();
  await client.answer(produce, 9, id);
  await expect.poll(() => started.log.queue.length).toBe(1);
  started.log.commit();
  expect((await client.answer(produce, 9, next)).responses[0]!.partitionResponses[0]!.baseOffset).toBe(1);
});

test('a client that does not read its answers is not read from, and holds no more than the socket bound and one answer', async () => {
  const big = batchOf('x'.repeat(900_000));
  await client.request(produce, 9, producing(big));
  client.socket.pause();
  for (let i = 0; i < 60; i++) client.send(fetch, 11, fetching(0));
  await expect.poll(() => started.metric('headwater_kafka_output_bytes')).toBeGreaterThan(256 * 1024);
  await new Promise((resolve) => setImmediate(resolve));
  expect(started.metric('headwater_kafka_output_bytes')).toBeLessThan(256 * 1024 + 2 * 1_000_000);
  client.socket.resume();
  for (let i = 0; i < 60; i++) expect((await client.frame())!.length).toBeGreaterThan(900_000);
  await expect.poll(() => started.metric('headwater_kafka_output_bytes')).toBe(0);
});

test('acks=0 is stored without an answer; its failure closes the connection', async () => {
  client.send(produce, 9, producing(batchOf('a'), 0));
  await client.request(metadata, 1, { topics: [] });
  expect(started.log.topic('t')!.partitions[0]!.logEndOffset).toBe(1);
  client.send(produce, 9, producing(batchOf('a'), 0, 'nowhere'));
  expect(await client.frame()).toBeNull();
  expect(started.metric('headwater_kafka_errors_total', 'UNKNOWN_TOPIC_OR_PARTITION')).toBe(1);
});

test('what a client sent before it left is still stored', async () => {
  client.send(produce, 9, producing(batchOf('a'), 0));
  client.send(produce, 9, producing(batchOf('b'), 0));
  client.socket.end();
  await expect.poll(() => started.log.topic('t')!.partitions[0]!.logEndOffset).toBe(2);
});
