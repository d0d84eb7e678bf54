/** Requests as tests write them. */
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import type { fetch } from '../../src/wire/kafka/api/01-fetch.ts';
import type { RequestInput } from '../../src/wire/kafka/schema.ts';

type Fetch = RequestInput<typeof fetch>;

export const batchOf = (...values: string[]): Buffer =>
  encodeBatch(
    values.map((value) => ({ key: null, value: Buffer.from(value), headers: [], timestamp: 1_000 })),
    { now: 1_000 },
  );

export const producing = (records: Uint8Array | null, acks = -1, name = 't', index = 0) => ({
  acks,
  timeoutMs: 1_000,
  topicData: [{ name, partitionData: [{ index, records }] }],
});

export const fetching = (fetchOffset: number, maxWaitMs = 0, minBytes = 1, more: Partial<Fetch> = {}): Fetch => ({
  replicaId: -1,
  maxWaitMs,
  minBytes,
  maxBytes: 1_000_000,
  topics: [{ topic: 't', partitions: [{ partition: 0, fetchOffset, partitionMaxBytes: 1_000_000 }] }],
  ...more,
});
