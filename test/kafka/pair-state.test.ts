/** What the brokers of a pair ask each other for is for them alone. */
import { afterEach, expect, test } from 'vitest';
import type { Pair } from '../../src/kafka/context.ts';
import { apiVersions } from '../../src/wire/kafka/api/18-api-versions.ts';
import { alterClientQuotas } from '../../src/wire/kafka/api/49-alter-client-quotas.ts';
import { fetchPairState } from '../../src/wire/kafka/api/20000-fetch-pair-state.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

const ASK = { instance: '', since: -1, after: new Uint8Array(0) };
const ROW = { key: Buffer.from('sk'), value: Buffer.from('v') };

let started: StartedEdge | null = null;
afterEach(async () => {
  await started?.edge.stop();
});

async function connect(dependencies: Parameters<typeof startEdge>[1] = {}): Promise<RawClient> {
  started = await startEdge({}, dependencies);
  return RawClient.connect(started.port);
}

const pairOf = (more: Partial<Pair> = {}): Pair => ({
  follows: () => false,
  other: () => null,
  fetched: () => false,
  rows: async ({ since }) => (since > 5 ? null : { instance: 'i', through: 5, complete: true, rows: [ROW] }),
  ...more,
});

async function advertises(client: RawClient): Promise<boolean> {
  const body = { clientSoftwareName: 'test', clientSoftwareVersion: '1' };
  const { apiKeys } = await client.request(apiVersions, 3, body);
  return apiKeys.some(({ apiKey }) => apiKey === fetchPairState.key);
}

test('a broker that stands alone neither advertises nor answers it', async () => {
  const client = await connect();
  expect(await advertises(client)).toBe(false);
  expect(await client.request(fetchPairState, 0, ASK)).toMatchObject({
    errorCode: KAFKA_ERROR.INVALID_REQUEST,
    rows: [],
  });
});

test('the leader of a pair gives rows, and says when changes are not known any more', async () => {
  const client = await connect({ pair: pairOf() });
  expect(await advertises(client)).toBe(true);
  expect(await client.request(fetchPairState, 0, ASK)).toMatchObject({
    errorCode: 0,
    through: 5,
    complete: true,
    rows: [ROW],
  });
  const late = await client.request(fetchPairState, 0, { ...ASK, since: 6 });
  expect(late).toMatchObject({ errorCode: KAFKA_ERROR.OFFSET_OUT_OF_RANGE, rows: [] });
});

test('one that follows gives nothing', async () => {
  const client = await connect({ pair: pairOf({ follows: () => true }) });
  const answer = await client.request(fetchPairState, 0, ASK);
  expect(answer).toMatchObject({ errorCode: KAFKA_ERROR.NOT_LEADER_OR_FOLLOWER, rows: [] });
});

test('one that follows takes no quota: the next pass would take it away', async () => {
  const client = await connect({ pair: pairOf({ follows: () => true }) });
  const entry = {
    entity: [{ entityType: 'user', entityName: 'ann' }],
    ops: [{ key: 'producer_byte_rate', value: 1_000, remove: false }],
  };
  const { entries } = await client.request(alterClientQuotas, 1, { entries: [entry], validateOnly: false });
  expect(entries[0]).toMatchObject({ errorCode: KAFKA_ERROR.NOT_CONTROLLER });
});

test('who may not alter the cluster gets nothing', async () => {
  const access = { allowsKafka: (_user: string | null, operation: string) => operation !== 'alter' };
  const client = await connect({ pair: pairOf(), access });
  const answer = await client.request(fetchPairState, 0, ASK);
  expect(answer).toMatchObject({ errorCode: KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, rows: [] });
});
