import { beforeAll, describe, expect, it } from 'vitest';
import { haveKafka, mustTool } from '../support/apache-kafka.ts';
import { TestBroker } from '../support/broker.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { replicated } from '../support/readback.ts';
import { expectedByTopic, publishAll, startEdge, TOPIC, UPSTREAM_TOPIC } from '../support/replay.ts';
import { interleave, sensorSeries } from '../support/series.ts';

const kcat = havePeers('the replay read with kcat', 'kcat');
const kafka = haveKafka("the replay read with Kafka's console consumer");

describe.runIf(kcat || kafka)('the sensor series on the hub', () => {
  const series = sensorSeries();
  const readings = interleave(series);
  let hub: TestBroker;

  beforeAll(async () => {
    hub = await TestBroker.start({ brokerId: 'hub' });
    const edge = await startEdge(hub.bootstrap);
    await publishAll(edge.mqttUrl, readings);
    await replicated(edge.bootstrap, TOPIC, hub.bootstrap, UPSTREAM_TOPIC, 60_000);
    await edge.stop();
  });

  /** `key\tvalue` lines, one a record. */
  function verify(output: string): void {
    const lines = output.split('\n').slice(0, -1);
    expect(lines).toHaveLength(readings.length);
    const found = new Map<string, string[]>();
    for (const line of lines) {
      const tab = line.indexOf('\t');
      const key = line.slice(0, tab);
      found.set(key, found.get(key) ?? []);
      found.get(key)!.push(line.slice(tab + 1));
    }
    for (const [topic, rows] of expectedByTopic(series)) expect(found.get(topic)).toEqual(rows);
  }

  it.runIf(kcat)('kcat reads every row once, in order per sensor, byte for byte', async () => {
    const options = ['-C', '-t', UPSTREAM_TOPIC, '-o', 'beginning', '-e', '-q', '-f', '%k\t%s\n'];
    verify(await mustRun('kcat', ['-b', hub.bootstrap, ...options]));
  });

  it.runIf(kafka)("Kafka's console consumer reads every row once, in order per sensor, byte for byte", async () => {
    verify(
      await mustTool('kafka-console-consumer', [
        ...['--bootstrap-server', hub.bootstrap, '--topic', UPSTREAM_TOPIC, '--from-beginning'],
        ...['--max-messages', String(readings.length), '--timeout-ms', '30000'],
        ...['--formatter-property', 'print.key=true', '--formatter-property', 'key.separator=\t'],
      ]),
    );
  });
});
