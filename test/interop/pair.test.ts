/** Clients of the leader of a pair: it advertises an API that is not Kafka's, which they have to pass over. */
import { beforeAll, describe, expect, it } from 'vitest';
import { haveKafka, mustTool } from '../support/apache-kafka.ts';
import { TestBroker } from '../support/broker.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

const CONFIG =
  'links: { pair: { type: standby, bootstrap.servers: "127.0.0.1:9", replicas: sync, initial.role: leader } }\n';
const numbered = Array.from({ length: 200 }, (_, i) => `line ${i}`);
const input = `${numbered.join('\n')}\n`;

describe('clients of the leader of a pair', () => {
  let broker: TestBroker;

  beforeAll(async () => {
    broker = await TestBroker.start({ config: CONFIG });
  });

  it.runIf(haveKafka('Java clients of a pair'))('Java clients', async () => {
    const at = ['--bootstrap-server', broker.bootstrap];
    expect(await mustTool('kafka-broker-api-versions', at)).toMatch(/UNKNOWN\(20000\)/);
    await mustTool('kafka-console-producer', [...at, '--topic', 'java'], { input });
    const read = await mustTool('kafka-console-consumer', [
      ...at,
      ...['--topic', 'java', '--from-beginning', '--max-messages', '200', '--group', 'g'],
    ]);
    expect(read).toBe(input);
    if (haveKafka('Java clients of a pair', '3.9.2')) {
      expect(await mustTool('kafka-topics', [...at, '--list'], { version: '3.9.2' })).toMatch(/^java$/m);
    }
  });

  it.runIf(havePeers('kcat and a pair', 'kcat'))('librdkafka', async () => {
    await mustRun('kcat', ['-b', broker.bootstrap, '-P', '-t', 'c', '-X', 'enable.idempotence=true'], { input });
    expect(await mustRun('kcat', ['-b', broker.bootstrap, '-C', '-t', 'c', '-e', '-q', '-o', 'beginning'])).toBe(input);
  });
});
