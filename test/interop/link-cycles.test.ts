/**
 * The Kafka link against Apache Kafka, interrupted again and again: killed, cut off, frozen out, Kafka killed. The log and
 * the metadata are in memory so that a cycle takes a fraction of a second; LINK_CYCLES and SEED choose how many and which.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../../src/client/cluster.ts';
import { Consumer } from '../../src/client/consumer.ts';
import { systemEnv } from '../../src/env.ts';
import { Edge } from '../links/harness.ts';
import { ApacheKafka, haveKafka, KAFKA_VERSIONS } from '../support/apache-kafka.ts';
import { atEnd } from '../support/scope.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { seededRandom } from '../support/virtual-env.ts';

const CYCLES = Number(process.env['LINK_CYCLES'] ?? 60);
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9));
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(KAFKA_VERSIONS.filter((version) => haveKafka(`a link to Apache Kafka ${version}`, version)))(
  'a link to Apache Kafka %s',
  (version) => {
    let kafka: ApacheKafka;
    let proxy: TcpProxy;

    beforeAll(async () => {
      proxy = await TcpProxy.start();
      // Producers are forgotten in a second: an outage is always longer than that.
      const settings = {
        'producer.id.expiration.ms': '1000',
        'producer.id.expiration.check.interval.ms': '200',
        // The records bear times of long ago.
        'log.retention.ms': '-1',
      };
      kafka = await ApacheKafka.start(version, settings, proxy.port);
      proxy.target = kafka.port;
    });

    async function upstream(topic: string, partition: number): Promise<string[]> {
      const cluster = new Cluster(systemEnv, { bootstrap: `127.0.0.1:${proxy.port}` });
      const consumer = new Consumer(cluster, { from: 'earliest', maxWaitMs: 300 });
      await consumer.assign([{ topic, partition, offset: 'earliest' }]);
      const values: string[] = [];
      for (let rounds = 0; rounds < 100; rounds++) {
        const records = await consumer.poll();
        values.push(...records.map(({ value }) => String(value)));
        const { offset, highWatermark } = consumer.positions()[0]!;
        if (highWatermark >= 0 && offset >= highWatermark) break;
      }
      cluster.close();
      return values;
    }

    it(`delivers every record once and in order through ${CYCLES} interruptions`, async () => {
      const random = seededRandom(seed).unit;
      const edge = new Edge({ 'bootstrap.servers': [`127.0.0.1:${proxy.port}`], rename: `cycles-${seed}.{topic}` });
      atEnd(() => edge.stop());
      const partitions = await edge.topic('t', 3);
      await edge.start();
      for (let cycle = 0; cycle < CYCLES; cycle++) {
        for (let burst = 0; burst < 4; burst++) {
          for (const partition of partitions) {
            for (let batches = 0; batches < 3; batches++) edge.write(partition, 1 + Math.floor(random() * 20));
          }
          await pause(random() * 12);
        }
        // Sometimes a backlog of single records, which goes up in runs: interrupted in the middle of them.
        if (random() < 0.4) {
          for (const partition of partitions) for (let singles = 0; singles < 500; singles++) edge.write(partition, 1);
          await pause(random() * 12);
        }
        const roll = random();
        if (roll < 0.4) {
          await edge.kill();
          if (random() < 0.3) await pause(1_500);
          await edge.start();
        } else if (roll < 0.65) {
          proxy.cut();
          await pause(random() * 200);
          proxy.restore();
        } else if (roll < 0.9) {
          proxy.freeze();
          await pause(random() * 1_500);
          if (random() < 0.5) {
            await edge.kill();
            await edge.start();
          }
          proxy.restore();
        } else if (roll < 0.93) {
          await kafka.kill();
          await kafka.start();
        }
        await pause(random() * 100);
      }
      await edge.drained(60_000);
      for (const partition of partitions) {
        const expected = edge.written(partition);
        const found = await upstream(`cycles-${seed}.t`, partition.index);
        expect(found, `SEED=${seed}`).toEqual(expected);
      }
      expect(await edge.losses()).toEqual([]);
    });
  },
);
