import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RecordCursor } from '../../src/wire/batch/record-cursor.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import type { MemoryPartition } from '../kafka/memory-log.ts';
import { FakeKafka } from './fake-kafka.ts';
import { Edge, until } from './harness.ts';

let kafka: FakeKafka;
let edge: Edge;

/** Every append is stored at once. */
function makeEdge(settings: ConstructorParameters<typeof Edge>[0]): void {
  edge = new Edge({ 'bootstrap.servers': [kafka.bootstrap], topics: [], ...settings });
  edge.log.enqueue = ({ partition, batch, done }) => {
    done(null, partition.commit(batch));
    partition.wake();
  };
}

beforeEach(async () => {
  kafka = await FakeKafka.start();
  makeEdge({ pull: ['commands.*'] });
});
afterEach(async () => {
  await edge.stop();
  await kafka.stop();
});

function send(
  topic: string,
  from: number,
  end: number,
  headers: { key: string; value: Buffer }[] = [],
  index = 0,
): void {
  for (let n = from; n < end; n++) {
    const record = { key: Buffer.from('k'), value: Buffer.from(String(n)), headers, timestamp: 1_700_000_000_000 + n };
    kafka.partition(topic, index).append(encodeBatch([record], { now: 0 }));
  }
}

function stored(topic: string, index = 0): { value: string; headers: Record<string, string> }[] {
  const partition = edge.log.topic(topic)?.partitions[index] as MemoryPartition | undefined;
  return (partition?.batches ?? []).flatMap((batch) => {
    const cursor = new RecordCursor(batch);
    const records = [];
    while (cursor.next()) {
      const headers = Object.fromEntries(cursor.headers().map(({ key, value }) => [key, String(value)]));
      records.push({ value: String(cursor.value), headers });
    }
    return records;
  });
}

function fails(code: number): void {
  kafka.partition('commands.a', 1).fetchError = code;
}

function leads(node: number): void {
  kafka.partition('commands.a', 1).leader = node;
}

const numbers = (topic: string, index = 0) => stored(topic, index).map(({ value }) => Number(value));
const upTo = (end: number) => Array.from({ length: end }, (_, index) => index);

describe('a Kafka link that pulls', () => {
  it('stores what matches, partition by partition, with where it came from, and nothing else', async () => {
    kafka.create('commands.a', 2);
    kafka.create('other', 1);
    send('commands.a', 0, 10);
    send('commands.a', 0, 3, [], 1);
    send('other', 0, 3);
    await edge.start();
    await until(() => stored('commands.a').length === 10 && stored('commands.a', 1).length === 3, 'all of it');
    expect(numbers('commands.a')).toEqual(upTo(10));
    expect(stored('commands.a')[4]!.headers).toEqual({
      'headwater-offset': 'commands.a/0/4',
      'headwater-path': 'edge',
    });
    expect(edge.log.topic('other')).toBeUndefined();
    send('commands.a', 10, 20);
    await until(() => stored('commands.a').length === 20, 'what comes');
    expect(numbers('commands.a')).toEqual(upTo(20));
  });

  it('goes on exactly behind what is stored after a crash, whatever the cursor knew', async () => {
    kafka.create('commands.a', 1);
    for (let round = 1; round <= 4; round++) {
      send('commands.a', (round - 1) * 50, round * 50);
      await edge.start();
      await until(() => stored('commands.a').length >= round * 50, 'the round');
      await edge.kill();
    }
    await edge.restore([]);
    send('commands.a', 200, 210);
    await edge.start();
    await until(() => stored('commands.a').length >= 210, 'without any metadata');
    expect(numbers('commands.a')).toEqual(upTo(210));
  });

  it('loses nothing of one partition when another one cannot be read in the same answer', async () => {
    kafka.create('commands.a', 3);
    for (const index of [0, 1, 2]) send('commands.a', 0, 30, [], index);
    // NOT_LEADER_OR_FOLLOWER, as while a leader moves.
    kafka.partition('commands.a', 1).fetchError = 6;
    await edge.start();
    await until(() => stored('commands.a').length > 0, 'what can be read');
    send('commands.a', 30, 40);
    await until(() => stored('commands.a').length >= 40, 'what comes meanwhile');
    kafka.partition('commands.a', 1).fetchError = 0;
    await until(() => [1, 2].every((index) => stored('commands.a', index).length >= 30), 'the rest');
    expect(numbers('commands.a')).toEqual(upTo(40));
    expect(numbers('commands.a', 1)).toEqual(upTo(30));
    expect(numbers('commands.a', 2)).toEqual(upTo(30));
  });

  it.each([
    ['KAFKA_STORAGE_ERROR', 'fetch of commands.a-1: KAFKA_STORAGE_ERROR (56)', () => fails(56), () => fails(0)],
    ['no leader', 'commands.a-1: LEADER_NOT_AVAILABLE (5)', () => leads(-1), () => leads(1)],
    ['a leader that is gone', 'broker 7 is not in the metadata', () => leads(7), () => leads(1)],
  ])(
    'shows a partition with %s until it is read again, and goes on with the others',
    async (_what, error, begin, end) => {
      kafka.create('commands.a', 2);
      for (const index of [0, 1]) send('commands.a', 0, 5, [], index);
      await edge.start();
      await until(() => stored('commands.a', 1).length === 5, 'all of it');
      expect(edge.status).toMatchObject({ lastError: null, pullFailing: 0 });
      begin();
      for (const index of [0, 1]) send('commands.a', 5, 10, [], index);
      await until(() => stored('commands.a').length === 10 && edge.status.lastError !== null, 'the other one goes on');
      for (let end = 11; end < 16; end++) {
        send('commands.a', end - 1, end);
        await until(() => stored('commands.a').length === end, 'and on');
        expect(edge.status).toMatchObject({ lastError: expect.stringContaining(error), pullFailing: 1 });
      }
      expect(edge.gauge('pull_failing_partitions')).toBe(1);
      expect(stored('commands.a', 1)).toHaveLength(5);
      end();
      await until(() => edge.status.lastError === null, 'read again');
      await until(() => stored('commands.a', 1).length === 10, 'the rest');
      expect(numbers('commands.a', 1)).toEqual(upTo(10));
      expect(edge.gauge('pull_failing_partitions')).toBe(0);
    },
  );

  it('begins with what can be read, also when a partition has no leader at the start', async () => {
    kafka.create('commands.a', 2);
    for (const index of [0, 1]) send('commands.a', 0, 5, [], index);
    leads(-1);
    await edge.start();
    await until(() => stored('commands.a').length === 5, 'the partition that can be read');
    await until(() => edge.status.pullFailing === 1, 'the other one shows');
    leads(1);
    await until(() => stored('commands.a', 1).length === 5, 'the rest');
    expect(edge.status).toMatchObject({ lastError: null, pullFailing: 0 });
  });

  it('goes on with the first record that retention upstream has left, or where upstream ends when that lost records', async () => {
    kafka.create('commands.a', 1);
    send('commands.a', 0, 5);
    await edge.start();
    await until(() => stored('commands.a').length === 5, 'all of it');
    const upstream = kafka.partition('commands.a');
    send('commands.a', 5, 30);
    upstream.batches.splice(0, 20);
    upstream.start = 20;
    const left = [...upTo(5), ...upTo(30).slice(20)];
    await until(() => stored('commands.a').length >= left.length, 'what is left');
    expect(numbers('commands.a')).toEqual(left);
    upstream.loseLast(3);
    // A fetch that is refused, two looks at where it begins and ends (with metadata), and a fetch at the end.
    const { activity } = kafka;
    await until(() => kafka.activity > activity + 10, 'it has found the end');
    send('commands.a', 100, 102);
    await until(() => stored('commands.a').length >= left.length + 2, 'what is new there');
    expect(numbers('commands.a')).toEqual([...left, 100, 101]);
  });

  it('shows that upstream has gone while it was reading', async () => {
    kafka.create('commands.a', 2);
    send('commands.a', 0, 5);
    await edge.start();
    await until(() => stored('commands.a').length === 5, 'all of it');
    await kafka.stop();
    await until(() => edge.status.lastError !== null, 'the error shows');
    expect(edge.status.pullFailing).toBe(2);
    await kafka.listen();
    send('commands.a', 5, 6, [], 1);
    await until(() => stored('commands.a', 1).length === 1, 'it is back');
    expect(edge.status).toMatchObject({ lastError: null, pullFailing: 0 });
  });

  it('waits for an upstream that is gone, and for a link that is paused', async () => {
    kafka.create('commands.a', 1);
    send('commands.a', 0, 5);
    await kafka.stop();
    await edge.start();
    await until(() => edge.status.lastError !== null, 'the error shows');
    edge.links!.pause('cloud', true);
    await kafka.listen();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(stored('commands.a')).toHaveLength(0);
    edge.links!.pause('cloud', false);
    await until(() => stored('commands.a').length === 5, 'all of it');
  });

  it('does not send up what it takes down, nor takes what this broker had before', async () => {
    await edge.stop();
    makeEdge({ topics: ['*'], pull: ['commands.*'], rename: '{topic}' });
    kafka.create('commands.a', 1);
    send('commands.a', 0, 3);
    send('commands.a', 3, 5, [{ key: 'headwater-path', value: Buffer.from('other edge') }]);
    send('commands.a', 5, 8, [{ key: 'headwater-path', value: Buffer.from('other') }]);
    const [readings] = await edge.topic('readings');
    edge.write(readings!, 2);
    await edge.start();
    await until(() => stored('commands.a').length === 6, 'all but the two');
    expect(numbers('commands.a')).toEqual([0, 1, 2, 5, 6, 7]);
    expect(stored('commands.a')[5]!.headers['headwater-path']).toBe('other edge');
    await edge.drained();
    expect(kafka.partition('readings').end).toBe(2);
    expect(kafka.partition('commands.a').end).toBe(8);
  });
});
