/** Reads whole topics back, with kafkajs: what is compared with what was published. */
import { Kafka, logLevel } from 'kafkajs';
import { eventually } from './wait.ts';

export interface StoredRecord {
  readonly partition: number;
  readonly offset: number;
  readonly key: string | null;
  readonly value: string;
}

export function kafkaOf(bootstrap: string, clientId = 'test', retries = 8): Kafka {
  return new Kafka({
    clientId,
    brokers: [bootstrap],
    logLevel: logLevel.NOTHING,
    connectionTimeout: 5_000,
    requestTimeout: 30_000,
    retry: { initialRetryTime: 100, retries },
  });
}

/** End offset by partition; fails at once where the topic is not there. */
export async function endOffsets(bootstrap: string, topic: string): Promise<number[]> {
  const admin = kafkaOf(bootstrap, 'test', 0).admin();
  await admin.connect();
  try {
    const ends: number[] = [];
    for (const { partition, high } of await admin.fetchTopicOffsets(topic)) ends[partition] = Number(high);
    return ends;
  } finally {
    await admin.disconnect();
  }
}

/** Waits until `upstreamTopic` on the hub ends where `topic` on the edge ends, in every partition. Returns the ends. */
export async function replicated(
  edge: string,
  topic: string,
  hub: string,
  upstreamTopic: string,
  timeoutMs: number,
): Promise<number[]> {
  return eventually(`${upstreamTopic} on the hub as long as ${topic} on the edge`, timeoutMs, async () => {
    const [here, there] = [await endOffsets(edge, topic), await endOffsets(hub, upstreamTopic)];
    if (here.length === there.length && here.every((end, p) => end === there[p])) return here;
    throw new Error(`edge ends at ${here.join()}, hub at ${there.join()}`);
  });
}

/** Every record of a topic from the start to its present end, by partition and offset. */
export async function readTopic(bootstrap: string, topic: string, timeoutMs = 60_000): Promise<StoredRecord[]> {
  const ends = await endOffsets(bootstrap, topic);
  const records: StoredRecord[] = [];
  const open = new Set(ends.flatMap((end, partition) => (end > 0 ? [partition] : [])));
  if (open.size === 0) return records;
  const consumer = kafkaOf(bootstrap).consumer({
    groupId: `readback-${process.pid}-${Math.random().toString(36).slice(2)}`,
    maxWaitTimeInMs: 100,
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${topic}: ${records.length} records read in ${timeoutMs} ms, ends ${ends.join()}`)),
        timeoutMs,
      );
      // A crash that kafkajs recovers from by itself (a coordinator that is still loading) is none.
      consumer.on(consumer.events.CRASH, ({ payload }) => {
        if (!payload.restart) reject(payload.error);
      });
      consumer
        .run({
          autoCommit: false,
          eachBatch: async ({ batch }) => {
            for (const { offset, key, value } of batch.messages) {
              records.push({
                partition: batch.partition,
                offset: Number(offset),
                key: key?.toString() ?? null,
                value: value?.toString() ?? '',
              });
            }
            if (Number(batch.lastOffset()) + 1 >= ends[batch.partition]!) open.delete(batch.partition);
            if (open.size === 0) {
              clearTimeout(timer);
              resolve();
            }
          },
        })
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
  return records.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
}

/** The values of each key, in the order of the log. */
export function byKey(records: readonly StoredRecord[]): Map<string | null, string[]> {
  const values = new Map<string | null, string[]>();
  for (const { key, value } of records) {
    const list = values.get(key);
    if (list === undefined) values.set(key, [value]);
    else list.push(value);
  }
  return values;
}
