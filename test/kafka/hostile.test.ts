/**
 * Requests that decode but make no sense, and bytes that do not decode, against every handler that is registered: each is
 * answered or its connection is closed, no handler throws anything but an error with a code, and others are served on.
 */
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { produce } from '../../src/wire/kafka/api/00-produce.ts';
import { apiVersions } from '../../src/wire/kafka/api/18-api-versions.ts';
import { encodeRequest } from '../../src/wire/kafka/message.ts';
import { apis } from '../wire/kafka/apis.ts';
import { structOf } from '../wire/kafka/arbitrary.ts';
import { batchOf, producing } from './requests.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

let started: StartedEdge;
let bugs: string[];

beforeEach(async () => {
  bugs = [];
  const silent = () => {};
  const logger = {
    debug: silent,
    info: silent,
    warn: silent,
    error: (fields: object, message: string) => bugs.push(`${message} ${JSON.stringify(fields)}`),
  };
  started = await startEdge({}, { logger });
  await started.log.createTopic({ name: 't', partitions: 2, config: new Map() });
});

afterEach(() => started.edge.stop());

/** Sends everything on one connection each and waits until all of them are gone. */
async function sendAll(frames: readonly Buffer[]): Promise<void> {
  for (let at = 0; at < frames.length; at += 50) {
    const clients = await Promise.all(
      frames.slice(at, at + 50).map(async (frame) => {
        const client = await RawClient.connect(started.port);
        client.socket.end(frame);
        return client;
      }),
    );
    await Promise.all(clients.map((client) => client.whenClosed()));
  }
  await expect.poll(() => started.metric('headwater_kafka_connections')).toBe(0);
}

async function serves(): Promise<void> {
  const client = await RawClient.connect(started.port);
  expect((await client.request(apiVersions, 0, {})).errorCode).toBe(0);
  const { responses } = await client.request(produce, 9, producing(batchOf('still here')));
  expect(responses[0]!.partitionResponses[0]!.errorCode).toBe(0);
  client.close();
}

test('random requests of every API and version that is served', async () => {
  const client = await RawClient.connect(started.port);
  const { apiKeys } = await client.request(apiVersions, 0, {});
  client.close();
  const frames: Buffer[] = [];
  for (const { apiKey } of apiKeys) {
    const api = apis.find(({ key }) => key === apiKey)!;
    for (let version = api.range[0]; version <= api.range[1]; version++) {
      for (const body of fc.sample(structOf(api.request, version), { numRuns: 4, seed: 1000 * apiKey + version })) {
        frames.push(Buffer.concat(encodeRequest(api, version, 1, 'hostile', body)));
      }
    }
  }
  expect(frames.length).toBeGreaterThan(500);
  await sendAll(frames);
  expect(bugs).toEqual([]);
  await serves();
});

test('random bytes, and real requests with bytes changed, cut and added', async () => {
  const frames: Buffer[] = fc
    .sample(fc.uint8Array({ maxLength: 400 }), { numRuns: 150, seed: 7 })
    .map((one) => Buffer.from(one));
  for (const api of apis) {
    const version = api.range[1];
    const changes = fc.record({
      body: structOf(api.request, version),
      at: fc.nat(),
      to: fc.nat({ max: 255 }),
      cut: fc.nat(),
    });
    for (const { body, at, to, cut } of fc.sample(changes, { numRuns: 4, seed: api.key })) {
      const frame = Buffer.concat(encodeRequest(api, version, 1, 'hostile', body));
      frame[at % frame.length] = to;
      frames.push(at % 3 === 0 ? frame.subarray(0, cut % frame.length) : frame);
    }
  }
  await sendAll(frames);
  expect(bugs).toEqual([]);
  await serves();
});
