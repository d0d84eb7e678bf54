/**
 * A broker that is given nothing writes nothing: SD cards wear by the synced write, and an idle broker has weeks of seconds.
 * A real process with all that could have a reason to write; what it wrote is what the kernel counted.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { Kafka, logLevel } from 'kafkajs';
import { connectAsync } from 'mqtt';
import { expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { atEnd } from '../support/scope.ts';
import { eventually, pause } from '../support/wait.ts';

/** States are stored at most five seconds after they changed. */
const SETTLE_MS = 8_000;
const IDLE_MS = 25_000;
/** One synced write of metadata (a page, two at a boundary). Whatever is written every few seconds is several of them. */
const IDLE_MAX_BYTES = 8 * 1024;
const RECORDS = 60;

const writtenBy = ({ pid }: TestBroker) =>
  Number(/^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);

/** A port of loopback where nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function config(hub: TestBroker, closed: number): string {
  return `
topics:
  temperature: { partitions: 4 }
  alarms: { partitions: 1 }
routes:
  - { mqtt: "plant/+/temp", topic: temperature, key: "{1}" }
  - { mqtt: "plant/+/alarm", topic: alarms }
links:
  gone: { type: kafka, bootstrap.servers: "127.0.0.1:${closed}", topics: [temperature, alarms] }
  hub: { type: kafka, bootstrap.servers: "${hub.bootstrap}", topics: [temperature, alarms] }
`;
}

async function sleeper(broker: TestBroker, clientId: string, filter: string) {
  const client = await connectAsync(broker.mqttUrl, {
    clientId,
    clean: false,
    protocolVersion: 5,
    keepalive: 5,
    properties: { sessionExpiryInterval: 3_600 },
  });
  atEnd(() => client.endAsync(true));
  let received = 0;
  client.on('message', () => received++);
  await client.subscribeAsync(filter, { qos: 1 });
  return { client, received: () => received };
}

it('sessions, shared subscriptions, consumers and links that have nothing to do write nothing', async () => {
  const hub = await TestBroker.start({ brokerId: 'hub' });
  const edge = await TestBroker.start({ brokerId: 'edge', config: config(hub, await closedPort()) });

  const session = await sleeper(edge, 'session', 'plant/#');
  const shared = await sleeper(edge, 'shared', '$share/readers/plant/#');
  const figures = await sleeper(edge, 'figures', '$SYS/#');
  const asleep = await sleeper(edge, 'asleep', '$share/others/plant/#');
  await asleep.client.endAsync();

  const empty = writtenBy(edge);
  const publisher = await connectAsync(edge.mqttUrl);
  for (let i = 0; i < RECORDS; i++) {
    await publisher.publishAsync(`plant/${i % 7}/${i % 3 === 0 ? 'alarm' : 'temp'}`, `value ${i}`, { qos: 1 });
  }
  await publisher.endAsync();
  expect(writtenBy(edge) - empty, 'bytes counted: the temporary directory must be on a disk').toBeGreaterThan(
    IDLE_MAX_BYTES,
  );

  const kafka = new Kafka({ brokers: [edge.bootstrap], logLevel: logLevel.NOTHING });
  const consumer = kafka.consumer({ groupId: 'readers' });
  await consumer.connect();
  atEnd(() => consumer.disconnect());
  await consumer.subscribe({ topics: ['temperature', 'alarms'], fromBeginning: true });
  const next = new Map<string, { topic: string; partition: number; offset: string }>();
  let consumed = 0;
  await consumer.run({
    autoCommitInterval: 1_000,
    eachMessage: async ({ topic, partition, message }) => {
      next.set(`${topic}/${partition}`, { topic, partition, offset: String(Number(message.offset) + 1) });
      consumed++;
    },
  });
  await eventually('everything is read and sent', 30_000, async () => {
    const read = [consumed, session.received(), shared.received()];
    return (
      read.every((count) => count === RECORDS) &&
      (await edge.metric('headwater_link_backlog_records', 'link="hub"')) === 0
    );
  });
  await consumer.commitOffsets([...next.values()]);
  await pause(SETTLE_MS);

  const before = [writtenBy(edge), writtenBy(hub)] as const;
  const figuresBefore = figures.received();
  const until = performance.now() + IDLE_MS;
  let commits = 0;
  while (performance.now() < until) {
    // As Java's consumers do, whether they have read anything or not.
    await consumer.commitOffsets([...next.values()]);
    commits++;
    await pause(1_000);
  }
  const idle = { edge: writtenBy(edge) - before[0], hub: writtenBy(hub) - before[1] };

  expect(commits).toBeGreaterThan(10);
  expect(figures.received(), 'the figures of $SYS go on').toBeGreaterThan(figuresBefore);
  expect(idle.edge, 'bytes written by the edge').toBeLessThanOrEqual(IDLE_MAX_BYTES);
  expect(idle.hub, 'bytes written by the hub').toBeLessThanOrEqual(IDLE_MAX_BYTES);
}, 120_000);
