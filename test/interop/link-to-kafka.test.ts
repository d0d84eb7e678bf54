import { beforeAll, describe, expect, it } from 'vitest';
import { ApacheKafka, haveKafka, KAFKA_VERSIONS, mustTool } from '../support/apache-kafka.ts';
import type { TestBroker } from '../support/broker.ts';
import { byKey, readTopic, replicated } from '../support/readback.ts';
import { expectedByTopic, publishAll, startEdge, TOPIC, UPSTREAM_TOPIC } from '../support/replay.ts';
import { interleave, sensorSeries } from '../support/series.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const series = sensorSeries();
const readings = interleave(series);

describe.each(KAFKA_VERSIONS.filter((version) => haveKafka(`a link to Apache Kafka ${version}`, version)))(
  'a link to Apache Kafka %s',
  (version) => {
    let kafka: ApacheKafka;
    /** Every client of this Kafka goes through it. */
    let proxy: TcpProxy;

    beforeAll(async () => {
      proxy = await TcpProxy.start();
      kafka = await ApacheKafka.start(version, {}, proxy.port);
      proxy.target = kafka.port;
    });

    async function verify(edge: TestBroker, upstreamTopic: string): Promise<void> {
      await replicated(edge.bootstrap, TOPIC, kafka.bootstrap, upstreamTopic, 90_000);
      const upstream = await readTopic(kafka.bootstrap, upstreamTopic);
      expect(upstream).toHaveLength(readings.length);
      const found = byKey(upstream);
      for (const [topic, rows] of expectedByTopic(series)) expect(found.get(topic)).toEqual(rows);
    }

    it.each(['1', 'all'] as const)('carries every row once and in order with acks=%s', async (acks) => {
      const topic = `acks-${acks}.${TOPIC}`;
      const edge = await startEdge(`127.0.0.1:${proxy.port}`, { acks, more: [`rename: "acks-${acks}.{topic}"`] });
      await publishAll(edge.mqttUrl, readings);
      await verify(edge, topic);
      const described = await mustTool(
        'kafka-topics',
        ['--bootstrap-server', kafka.bootstrap, '--describe', '--topic', topic],
        {
          version,
        },
      );
      expect(described).toContain('PartitionCount: 4');
      await edge.stop();
    });

    it('goes on after the edge, the uplink and Kafka were interrupted, without a duplicate', async () => {
      const edge = await startEdge(`127.0.0.1:${proxy.port}`);
      const sixth = Math.floor(readings.length / 6);
      const part = (n: number) =>
        publishAll(edge.mqttUrl, readings.slice(n * sixth, n === 5 ? readings.length : (n + 1) * sixth));
      await part(0);
      await edge.kill();
      await edge.start();

      let publishing = part(1);
      proxy.cut();
      await publishing;
      await part(2);
      proxy.restore();

      publishing = part(3);
      proxy.freeze();
      await publishing;
      proxy.restore();

      publishing = part(4);
      await kafka.kill();
      await publishing;
      await kafka.start();
      await part(5);
      await verify(edge, UPSTREAM_TOPIC);
      await edge.stop();
    });
  },
);
