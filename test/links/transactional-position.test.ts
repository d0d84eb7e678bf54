import { afterEach, beforeEach, expect, it } from 'vitest';
import { Cluster } from '../../src/client/cluster.ts';
import { systemEnv } from '../../src/env.ts';
import { committedRecords } from '../../src/links/transactional-position.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { FakeKafka } from './fake-kafka.ts';

let kafka: FakeKafka;
let cluster: Cluster;

beforeEach(async () => {
  kafka = await FakeKafka.start();
  kafka.create('t', 1);
  for (let n = 0; n < 3; n++) {
    const record = { key: null, value: Buffer.from(String(n)), headers: [], timestamp: 1 };
    kafka.partition('t').append(encodeBatch([record], { now: 0 }));
  }
  cluster = new Cluster(systemEnv, { bootstrap: kafka.bootstrap });
});
afterEach(async () => {
  cluster.close();
  await kafka.stop();
});

async function read(): Promise<string[]> {
  const { start, end } = kafka.partition('t');
  const upstream = { range: async () => ({ start, end }), read: () => Promise.reject(new TypeError('not here')) };
  const values: string[] = [];
  for await (const { value } of committedRecords(cluster, 't', 0, upstream, 0)) values.push(String(value));
  return values;
}

it('what upstream has committed is read to its end', async () => {
  expect(await read()).toEqual(['0', '1', '2']);
});

it('an error that may pass is an error, not the end of what upstream has', async () => {
  kafka.partition('t').fetchError = 56;
  await expect(read()).rejects.toThrow('fetch of t-0: KAFKA_STORAGE_ERROR (56)');
  kafka.partition('t').fetchError = 0;
  expect(await read()).toEqual(['0', '1', '2']);
});
