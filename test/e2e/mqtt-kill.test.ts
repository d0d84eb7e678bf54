/** The real process under kill -9, with the package `mqtt` on both sides: QoS 2 is exactly once, whoever is in the middle of what. */
import { connect, type MqttClient } from 'mqtt';
import { describe, expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { readTopic } from '../support/readback.ts';
import { eventually } from '../support/wait.ts';

const TOTAL = 3_000;
const WINDOW = 20;
/** The broker dies each time this many more messages have been acknowledged. */
const KILL_EVERY = 430;

/** A session that goes on over every connection: clean start off, in-flight messages kept by the client. */
function session(broker: TestBroker, version: 4 | 5, clientId: string): MqttClient {
  const client = connect(broker.mqttUrl, {
    protocolVersion: version,
    clientId,
    clean: false,
    reconnectPeriod: 20,
    ...(version === 5 && { properties: { sessionExpiryInterval: 3_600 } }),
  });
  client.on('error', () => {});
  return client;
}

it('the will of a client that was connected when the broker died is published at the next start, once', async () => {
  const broker = await TestBroker.start({ brokerId: 'edge' });
  const watcher = session(broker, 5, 'watcher');
  const received: string[] = [];
  watcher.on('message', (_, payload) => received.push(String(payload)));
  await watcher.subscribeAsync('wills', { qos: 2 });
  const device = connect(broker.mqttUrl, {
    clientId: 'device',
    reconnectPeriod: 0,
    will: { topic: 'wills', payload: Buffer.from('gone'), qos: 2, retain: false },
  });
  device.on('error', () => {});
  await eventually('the device', 20_000, () => device.connected);
  await broker.kill();
  await broker.start();
  await eventually('the will', 20_000, () => received.length > 0);
  await broker.kill();
  await broker.start();
  await eventually('the watcher', 20_000, () => watcher.connected);
  await watcher.publishAsync('wills', 'end', { qos: 2 });
  await eventually('the end', 20_000, () => received.includes('end'));
  expect(received).toEqual(['gone', 'end']);
  await watcher.endAsync(true);
  await device.endAsync(true);
});

describe.each([4, 5] as const)('kill -9 of the broker, protocol level %i', (version) => {
  it('a QoS 2 publisher and a persistent QoS 2 subscriber: every message exactly once, in order', async () => {
    const broker = await TestBroker.start({ brokerId: 'edge' });
    const subscriber = session(broker, version, 'reader');
    const received: number[] = [];
    subscriber.on('message', (_, payload) => received.push(Number(payload)));
    await subscriber.subscribeAsync('kill/#', { qos: 2 });
    const publisher = session(broker, version, 'writer');

    let [sent, acknowledged, kills] = [0, 0, 0];
    let restarting: Promise<void> | null = null;
    const restart = async () => {
      await broker.kill();
      await broker.start();
      kills++;
      restarting = null;
    };
    const publish = () => {
      if (sent >= TOTAL) return;
      publisher.publish('kill/a', `${++sent}`, { qos: 2 }, (error) => {
        if (error != null) throw error;
        acknowledged++;
        if (acknowledged % KILL_EVERY === 0) restarting ??= restart();
        publish();
      });
    };
    for (let i = 0; i < WINDOW; i++) publish();
    await eventually('all are acknowledged and received', 90_000, () => {
      if (acknowledged === TOTAL && received.length >= TOTAL) return true;
      throw new Error(`${sent} sent, ${acknowledged} acknowledged, ${received.length} received, ${kills} kills`);
    });
    await restarting;
    // One more life: what would come twice comes now.
    await restart();
    await eventually('both are back', 20_000, () => (subscriber.connected && publisher.connected ? true : undefined));
    await publisher.publishAsync('kill/end', '0', { qos: 2 });
    await eventually('the last', 20_000, () => (received.includes(0) ? true : undefined));

    const all = Array.from({ length: TOTAL }, (_, i) => i + 1);
    expect(kills).toBeGreaterThanOrEqual(4);
    expect(received).toEqual([...all, 0]);
    const stored = (await readTopic(broker.bootstrap, 'mqtt')).filter(({ key }) => key === 'kill/a');
    expect(stored.map(({ value }) => Number(value))).toEqual(all);
    await publisher.endAsync(true);
    await subscriber.endAsync(true);
  });
});
