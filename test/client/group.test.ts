import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Admin } from '../../src/client/admin.ts';
import { Cluster } from '../../src/client/cluster.ts';
import { Consumer } from '../../src/client/consumer.ts';
import { Producer } from '../../src/client/producer.ts';
import { systemEnv } from '../../src/env.ts';
import { type StartedBroker, startBroker } from '../kafka/start-broker.ts';

let broker: StartedBroker;
const clusters: Cluster[] = [];

function cluster(): Cluster {
  const one = new Cluster(systemEnv, { bootstrap: `127.0.0.1:${broker.port}` });
  clusters.push(one);
  return one;
}

beforeEach(async () => {
  broker = await startBroker();
});
afterEach(async () => {
  for (const one of clusters.splice(0)) one.close();
  await broker.stop();
});

const options = { group: 'g', from: 'earliest', maxWaitMs: 50, sessionTimeoutMs: 6_000 } as const;

async function produce(count: number, from = 0): Promise<void> {
  const producer = new Producer(cluster());
  for (let n = from; n < from + count; n++) {
    await producer.send('t', [{ key: null, value: Buffer.from(String(n)), partition: n % 4 }]);
  }
}

describe('a consumer group', () => {
  it('goes on from its commits, shares the partitions between two and gives them back', async () => {
    await new Admin(cluster()).createTopic({ name: 't', partitions: 4, replicationFactor: 1 });
    await produce(20);
    const first = new Consumer(cluster(), options);
    await first.subscribe(['t']);
    const seen: number[] = [];
    while (seen.length < 20) seen.push(...(await first.poll()).map(({ value }) => Number(value)));
    await first.commit();

    const second = new Consumer(cluster(), options);
    const joining = second.subscribe(['t']);
    let joined = false;
    void joining.then(() => {
      joined = true;
    });
    while (!joined) await first.poll();
    expect([first.positions().length, second.positions().length]).toEqual([2, 2]);
    const described = await new Admin(cluster()).describeGroups(['g']);
    expect(described[0]).toMatchObject({ state: 'Stable', protocol: 'range' });
    expect(described[0]!.members.map(({ assignment }) => assignment[0]!.partitions).sort()).toEqual([
      [0, 1],
      [2, 3],
    ]);

    await produce(20, 20);
    const more: number[] = [];
    while (more.length < 20) {
      for (const consumer of [first, second]) more.push(...(await consumer.poll()).map(({ value }) => Number(value)));
    }
    expect(more.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n + 20));
    await second.close();
    await first.close();
    const committed = await new Admin(cluster()).groupOffsets('g');
    expect(committed.map(({ offset }) => offset)).toEqual([10, 10, 10, 10]);

    const third = new Consumer(cluster(), options);
    await third.subscribe(['t']);
    expect(await third.poll()).toEqual([]);
    await third.close();
  });
});
