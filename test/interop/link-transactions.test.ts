/** `transactional: true` against Apache Kafka: what readers with read_committed see, through crashes at the worst moments. */
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { Admin } from '../../src/client/admin.ts';
import { Cluster } from '../../src/client/cluster.ts';
import { Consumer } from '../../src/client/consumer.ts';
import { systemEnv } from '../../src/env.ts';
import { TransactionalProducer } from '../../src/links/transaction.ts';
import { Edge, until } from '../links/harness.ts';
import { ApacheKafka, haveKafka, KAFKA_VERSIONS } from '../support/apache-kafka.ts';
import { atEnd } from '../support/scope.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { seededRandom } from '../support/virtual-env.ts';

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9));
const CYCLES = Number(process.env['LINK_CYCLES'] ?? 12);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(KAFKA_VERSIONS.filter((version) => haveKafka(`a transactional link to Kafka ${version}`, version)))(
  'a transactional link to Apache Kafka %s',
  (version) => {
    let kafka: ApacheKafka;
    let proxy: TcpProxy;

    beforeAll(async () => {
      proxy = await TcpProxy.start();
      kafka = await ApacheKafka.start(version, { 'log.retention.ms': '-1' }, proxy.port);
      proxy.target = kafka.port;
    });

    function makeEdge(rename: string): Edge {
      const bootstrap = { 'bootstrap.servers': [`127.0.0.1:${proxy.port}`], 'retry.backoff.max.ms': 200 };
      const edge = new Edge({ ...bootstrap, 'request.timeout.ms': 3_000, rename, transactional: true });
      atEnd(() => edge.stop());
      return edge;
    }

    async function upstream(
      topic: string,
      partition: number,
      isolation: 'read_committed' | 'read_uncommitted' = 'read_committed',
    ): Promise<string[]> {
      const cluster = new Cluster(systemEnv, { bootstrap: `127.0.0.1:${proxy.port}` });
      const consumer = new Consumer(cluster, { from: 'earliest', maxWaitMs: 300, isolation });
      await consumer.assign([{ topic, partition, offset: 'earliest' }]);
      const values: string[] = [];
      for (let rounds = 0; rounds < 200; rounds++) {
        const records = await consumer.poll();
        values.push(...records.map(({ value }) => String(value)));
        const { offset, highWatermark } = consumer.positions()[0]!;
        if (highWatermark >= 0 && offset >= highWatermark) break;
      }
      cluster.close();
      return values;
    }

    it('killed between sending and committing, shows every record once', async () => {
      const edge = makeEdge('killed.{topic}');
      const [partition] = await edge.topic('t');
      edge.write(partition!, 5);
      await edge.start();
      await edge.drained(60_000);
      const end = vi.spyOn(TransactionalProducer.prototype, 'end').mockImplementationOnce(() => new Promise(() => {}));
      edge.write(partition!, 7);
      await until(() => end.mock.calls.length > 0, 'everything sent, nothing committed', 30_000);
      end.mockRestore();
      await edge.kill();
      await edge.start();
      edge.write(partition!, 2);
      await edge.drained(60_000);
      expect(await upstream('killed.t', 0)).toEqual(edge.written(partition!));
      // The seven are there twice for those who read what was aborted: the moment was the right one.
      expect(await upstream('killed.t', 0, 'read_uncommitted')).toHaveLength(21);
    });

    it('with an old data directory goes on behind what is the same upstream', async () => {
      const edge = makeEdge('restored.{topic}');
      const [partition] = await edge.topic('t');
      edge.write(partition!, 4);
      await edge.start();
      await edge.drained(60_000);
      await edge.stop();
      const batches = [...partition!.batches];
      const image = await edge.image();
      edge.write(partition!, 6);
      await edge.start();
      await edge.drained(60_000);
      await edge.stop();
      // Offsets 4 to 9 are given to other records; upstream's group says 10.
      await edge.restore(image);
      partition!.batches.splice(0, partition!.batches.length, ...batches);
      partition!.logEndOffset = 4;
      edge.write(partition!, 9);
      await edge.start();
      await edge.drained(60_000);
      const numbers = (await upstream('restored.t', 0)).map((value) => Number(value.split(':')[1]));
      expect(numbers).toEqual(Array.from({ length: 19 }, (_, index) => index));
      await edge.stop();
      // And without any metadata: the position is upstream.
      await edge.restore([]);
      edge.write(partition!, 1);
      await edge.start();
      await edge.drained(60_000);
      expect(await upstream('restored.t', 0)).toHaveLength(20);
      expect(await edge.losses()).toEqual([]);
    });

    it.each([true, false])('splits what is above max.message.bytes (transactional: %s)', async (transactional) => {
      const prefix = transactional ? 'split' : 'plain-split';
      const cluster = new Cluster(systemEnv, { bootstrap: `127.0.0.1:${proxy.port}` });
      const configs = { 'max.message.bytes': '2000' };
      await new Admin(cluster).createTopic({ name: `${prefix}.t`, partitions: 1, replicationFactor: 1, configs });
      cluster.close();
      const edge = makeEdge(`${prefix}.{topic}`);
      edge.configure({ oversize: 'skip', transactional });
      const [partition] = await edge.topic('t');
      const record = (n: number, bytes: number) => {
        return {
          key: null,
          value: Buffer.from(`${n}:${'x'.repeat(bytes)}`),
          headers: [],
          timestamp: 1_700_000_000_000 + n,
        };
      };
      edge.store(partition!, [record(0, 10)]);
      edge.store(
        partition!,
        Array.from({ length: 40 }, (_, index) => record(index + 1, index === 19 ? 5_000 : 200)),
      );
      await edge.start();
      await edge.drained(60_000);
      const numbers = (await upstream(`${prefix}.t`, 0)).map((value) => Number(value.split(':')[0]));
      expect(numbers).toEqual(Array.from({ length: 41 }, (_, index) => index).filter((n) => n !== 20));
      expect(await edge.losses()).toMatchObject([{ firstOffset: 20, lastOffset: 20 }]);
    });

    it('fences the process that had its name before', async () => {
      const first = makeEdge('fenced.{topic}');
      const [partition] = await first.topic('t');
      first.write(partition!, 3);
      await first.start();
      await first.drained(60_000);
      const second = makeEdge('other.{topic}');
      const [mine] = await second.topic('t');
      second.write(mine!, 3);
      await second.start();
      await second.drained(60_000);
      first.write(partition!, 3);
      await until(() => first.status.lastError !== null, 'the first one is fenced', 30_000);
      expect(first.status.lastError).toContain('another process sends as headwater.edge.cloud');
      await second.stop();
      await first.drained(60_000);
      expect(await upstream('fenced.t', 0)).toEqual(first.written(partition!));
    });

    it(`delivers every record once and in order through ${CYCLES} interruptions`, async () => {
      const random = seededRandom(seed).unit;
      const edge = makeEdge(`cycles-${seed}.{topic}`);
      edge.configure({ 'compression.type': 'gzip' });
      const partitions = await edge.topic('t', 3);
      await edge.start();
      for (let cycle = 0; cycle < CYCLES; cycle++) {
        for (let burst = 0; burst < 4; burst++) {
          for (const partition of partitions) edge.write(partition, 1 + Math.floor(random() * 20));
          await pause(random() * 40);
        }
        const roll = random();
        if (roll < 0.5) {
          await edge.kill();
          await edge.start();
        } else if (roll < 0.8) {
          proxy.cut();
          await pause(random() * 200);
          proxy.restore();
        } else {
          proxy.freeze();
          await pause(random() * 1_500);
          if (random() < 0.5) {
            await edge.kill();
            await edge.start();
          }
          proxy.restore();
        }
        await pause(random() * 300);
      }
      await edge.drained(90_000);
      for (const partition of partitions) {
        const found = await upstream(`cycles-${seed}.t`, partition.index);
        expect(found, `SEED=${seed}`).toEqual(edge.written(partition));
      }
      expect(await edge.losses()).toEqual([]);
    });
  },
);
