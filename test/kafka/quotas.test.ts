/** KIP-55, KIP-219 and KIP-546 as clients see them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { Quotas } from '../../src/quotas/quotas.ts';
import { META_DATABASE } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { GroupCommitMetaStore } from '../../src/store/meta-store.ts';
import { produce } from '../../src/wire/kafka/api/00-produce.ts';
import { fetch } from '../../src/wire/kafka/api/01-fetch.ts';
import { apiVersions } from '../../src/wire/kafka/api/18-api-versions.ts';
import { describeClientQuotas } from '../../src/wire/kafka/api/48-describe-client-quotas.ts';
import { alterClientQuotas } from '../../src/wire/kafka/api/49-alter-client-quotas.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import { VirtualClock } from '../support/virtual-env.ts';
import { eventually } from '../support/wait.ts';
import { batchOf, fetching, producing } from './requests.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

let clock: VirtualClock;
let quotas: Quotas;
let started: StartedEdge;
let client: RawClient;

beforeEach(async () => {
  clock = new VirtualClock();
  const store = new MemoryDisk().mount();
  const open = () => store.open(META_DATABASE, {});
  quotas = await Quotas.open(new GroupCommitMetaStore(await open(), open), clock);
  started = await startEdge({}, { env: { ...systemEnv, clock }, quotas });
  await started.log.createTopic({ name: 't', partitions: 1, config: new Map() });
  client = await RawClient.connect(started.port);
});

afterEach(async () => {
  client.close();
  const stopped = started.edge.stop();
  await clock.advance(2_000);
  await stopped;
});

type Entity = readonly { readonly entityType: string; readonly entityName: string | null }[];
const user = (entityName: string | null) => ({ entityType: 'user', entityName });
const clientId = (entityName: string | null) => ({ entityType: 'client-id', entityName });
const alter = async (entity: Entity, ops: Readonly<Record<string, number | null>>, validateOnly = false) => {
  const entries = [
    { entity, ops: Object.entries(ops).map(([key, value]) => ({ key, value: value ?? 0, remove: value === null })) },
  ];
  return (await client.request(alterClientQuotas, 1, { entries, validateOnly })).entries[0]!;
};
const describeAll = async (
  components: { entityType: string; matchType: number; match: string | null }[],
  strict = false,
) => (await client.request(describeClientQuotas, 1, { components, strict })).entries;

describe('a producer above its rate', () => {
  test('is answered at once, told how long, and not read from until then', async () => {
    await alter([clientId('raw')], { producer_byte_rate: 1_000 });
    const records = batchOf('x'.repeat(2_940));
    const answer = await client.request(produce, 9, producing(records));
    expect(answer.responses[0]!.partitionResponses[0]!.errorCode).toBe(0);
    expect(answer.throttleTimeMs).toBe(records.length - 1_000);
    expect(started.metric('headwater_kafka_throttled_requests_total', 'producer_byte_rate')).toBe(1);

    const id = client.send(apiVersions, 0, {});
    const other = await RawClient.connect(started.port);
    // By then the broker has read what the first sent, had it wanted to.
    for (let i = 0; i < 5; i++) await other.request(apiVersions, 0, {});
    await clock.advance(answer.throttleTimeMs - 1);
    await other.request(apiVersions, 0, {});
    expect(client.received).toBe(0);
    await clock.advance(1);
    expect((await client.answer(apiVersions, 0, id)).errorCode).toBe(0);
    other.close();
  });

  test('finds what it had sent before stored, also with acks=0', async () => {
    await alter([user('anonymous')], { producer_byte_rate: 100 });
    client.send(produce, 9, producing(batchOf('first'), 0));
    client.send(produce, 9, producing(batchOf('second'), 0));
    await eventually('two records', 10_000, async () => {
      await clock.advance(1_000);
      return started.log.topic('t')!.partitions[0]!.logEndOffset === 2 || undefined;
    });
  });

  test('is not closed as idle while it waits', async () => {
    await alter([clientId('raw')], { producer_byte_rate: 1 });
    await client.request(produce, 9, producing(batchOf('x'.repeat(2_000))));
    await clock.advance(700_000);
    const other = await RawClient.connect(started.port);
    await other.request(apiVersions, 0, {});
    expect(client.closed).toBe(false);
    other.close();
  });
});

describe('a consumer above its rate', () => {
  test('gets about a second of records, always a batch, and waits for what it owes', async () => {
    for (let i = 0; i < 10; i++) await client.request(produce, 9, producing(batchOf('x'.repeat(900))));
    await alter([clientId('raw')], { consumer_byte_rate: 2_500 });
    const one = await client.request(fetch, 12, fetching(0));
    const bytes = one.responses[0]!.partitions[0]!.records!.length;
    expect(bytes).toBeGreaterThan(900);
    expect(bytes).toBeLessThanOrEqual(2_500);
    expect(one.throttleTimeMs).toBe(0);
    const two = await client.request(fetch, 12, fetching(2));
    expect(two.throttleTimeMs).toBeGreaterThan(0);
    expect(two.responses[0]!.partitions[0]!.errorCode).toBe(0);
  });

  test('of a rate below one batch still gets it', async () => {
    await client.request(produce, 9, producing(batchOf('x'.repeat(900))));
    await alter([clientId('raw')], { consumer_byte_rate: 10 });
    const answer = await client.request(fetch, 12, fetching(0));
    const bytes = answer.responses[0]!.partitions[0]!.records!.length;
    expect(bytes).toBeGreaterThan(900);
    expect(answer.throttleTimeMs).toBe((bytes - 10) * 100);
  });
});

describe('quotas over the wire', () => {
  test('are set, shown by what they are for, changed and removed', async () => {
    expect(await alter([user('u'), clientId(null)], { producer_byte_rate: 10, consumer_byte_rate: 20 })).toMatchObject({
      errorCode: 0,
      entity: [user('u'), clientId(null)],
    });
    await alter([user(null)], { producer_byte_rate: 30 });
    await alter([clientId('c')], { producer_byte_rate: 40 });
    const any = (entityType: string) => ({ entityType, matchType: 2, match: null });
    const exact = (entityType: string, match: string) => ({ entityType, matchType: 0, match });
    const byDefault = (entityType: string) => ({ entityType, matchType: 1, match: null });
    const entities = async (...query: Parameters<typeof describeAll>) =>
      (await describeAll(...query))!.map(({ entity }) => entity);
    expect(await entities([])).toHaveLength(3);
    expect(await entities([any('user')])).toEqual([[user('u'), clientId(null)], [user(null)]]);
    expect(await entities([any('user')], true)).toEqual([[user(null)]]);
    expect(await entities([byDefault('user')])).toEqual([[user(null)]]);
    expect(await entities([exact('client-id', 'c')])).toEqual([[clientId('c')]]);
    expect(await entities([exact('user', 'u'), byDefault('client-id')], true)).toEqual([[user('u'), clientId(null)]]);
    expect(await entities([any('ip')])).toEqual([]);
    await alter([user('u'), clientId(null)], { producer_byte_rate: null });
    expect(await describeAll([exact('user', 'u')])).toEqual([
      { entity: [user('u'), clientId(null)], values: [{ key: 'consumer_byte_rate', value: 20 }] },
    ]);
    await alter([user('u'), clientId(null)], { consumer_byte_rate: null });
    expect(await describeAll([exact('user', 'u')])).toEqual([]);
  });

  test('that cannot be kept are refused by name', async () => {
    expect(await alter([user('u')], { request_percentage: 5 })).toMatchObject({
      errorCode: KAFKA_ERROR.INVALID_REQUEST,
      errorMessage: expect.stringContaining('request_percentage'),
    });
    expect(await alter([{ entityType: 'ip', entityName: '10.0.0.1' }], { connection_creation_rate: 5 })).toMatchObject({
      errorCode: KAFKA_ERROR.INVALID_REQUEST,
      errorMessage: expect.stringContaining('"ip"'),
    });
    expect(await alter([user('u'), user('v')], { producer_byte_rate: 5 })).toMatchObject({
      errorCode: KAFKA_ERROR.INVALID_REQUEST,
    });
    expect((await alter([user('u')], { producer_byte_rate: 5 }, true)).errorCode).toBe(0);
    expect(await describeAll([])).toEqual([]);
    const answer = await client.request(describeClientQuotas, 1, {
      components: [{ entityType: 'planet', matchType: 2, match: null }],
      strict: false,
    });
    expect(answer).toMatchObject({ errorCode: KAFKA_ERROR.INVALID_REQUEST, entries: null });
  });
});
