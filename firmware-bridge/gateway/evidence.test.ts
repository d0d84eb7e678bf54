/** The reading back against the real log behind the real Kafka listener. */
import { afterEach, expect, it } from 'vitest';
import type { LogRecord } from '../../src/log/types.ts';
import { type StartedBroker, startBroker } from '../../test/kafka/start-broker.ts';
import { KafkaEvidence, type WaitedFor } from './evidence.ts';

let broker: StartedBroker;
let evidence: KafkaEvidence;
afterEach(async () => {
  evidence.close();
  await broker.stop();
});

function reading(sequence: number): LogRecord {
  const headers = Object.entries({ device: 'dev-1', epoch: '7', sequence: String(sequence) });
  return {
    key: Buffer.from('devices/dev-1/readings'),
    value: Buffer.alloc(100, 'x'),
    headers: headers.map(([key, value]) => ({ key, value: Buffer.from(value) })),
    timestamp: -1,
  };
}

async function setUp(config: Record<string, string> = {}) {
  broker = await startBroker();
  const topic = await broker.log.createTopic({ name: 'mqtt', partitions: 2, config: new Map(Object.entries(config)) });
  const waits: WaitedFor[] = [];
  evidence = new KafkaEvidence(`127.0.0.1:${broker.port}`, 'mqtt', 'gateway-test', (range) => waits.push(range));
  const append = (partition: number, sequences: readonly number[]) =>
    Promise.all(
      sequences.map(
        (sequence) =>
          new Promise<void>((resolve, reject) =>
            topic.partitions[partition]!.appendRecord(reading(sequence), 1, (error) =>
              error ? reject(error) : resolve(),
            ),
          ),
      ),
    );
  const read = async (from = new Map<number, number>()) => {
    const found: number[] = [];
    await evidence.read(from, (device, epoch, sequence) => {
      expect([device, epoch]).toEqual(['dev-1', 7]);
      found.push(sequence);
    });
    return found.sort((a, b) => a - b);
  };
  return { topic, append, read, waits };
}

it.each(['uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'])(
  'finds every reading of a topic that stores with %s',
  async (codec) => {
    const { append, read } = await setUp({ 'compression.type': codec });
    await append(0, [1, 2, 3]);
    await append(1, [4, 5]);
    expect(await read()).toEqual([1, 2, 3, 4, 5]);
    expect(await read(new Map([...(await evidence.ends()), [0, 0]]))).toEqual([1, 2, 3]);
  },
);

it('waits for records that the broker holds and has not acknowledged yet (acks=all)', async () => {
  const { topic, append, read, waits } = await setUp();
  const [partition] = topic.partitions;
  await append(0, [1, 2]);
  const replica = partition!.addReplica(9, 600_000);
  replica.advance(2);
  const unanswered = append(0, [3, 4]);
  await unanswered;
  expect([partition!.highWatermark, partition!.logEndOffset]).toEqual([2, 4]);
  let isOver = false;
  const reading = read().then((found) => {
    isOver = true;
    return found;
  });
  await expect.poll(() => waits, { timeout: 20_000 }).toEqual([{ partition: 0, from: 2, to: 4 }]);
  expect(isOver).toBe(false);
  replica.advance(4);
  expect(await reading).toEqual([1, 2, 3, 4]);
  // The checkpoint counts from what everybody has.
  expect((await evidence.ends()).get(0)).toBe(4);
});

it('a topic that does not exist yet holds nothing of ours', async () => {
  broker = await startBroker();
  evidence = new KafkaEvidence(`127.0.0.1:${broker.port}`, 'mqtt', 'gateway-test');
  await evidence.read(new Map(), () => expect.unreachable());
});
