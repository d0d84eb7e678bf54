import mqtt, { type MqttClient } from 'mqtt';
import { beforeAll, describe, expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { kafkaOf, readTopic } from '../support/readback.ts';
import { atEnd } from '../support/scope.ts';
import { eventually } from '../support/wait.ts';

describe.each([4, 5] as const)('MQTT.js, protocol version %s', (protocolVersion) => {
  let broker: TestBroker;

  beforeAll(async () => {
    broker = await TestBroker.start({
      brokerId: 'edge',
      config: 'routes:\n  - { mqtt: "plant/+/temp", topic: temperature, key: "{1}" }\n',
    });
  });

  async function client(options: mqtt.IClientOptions = {}): Promise<MqttClient> {
    const connected = await mqtt.connectAsync(broker.mqttUrl, { protocolVersion, reconnectPeriod: 50, ...options });
    atEnd(async () => {
      await connected.endAsync(true);
    });
    return connected;
  }

  it.each([0, 1, 2] as const)('publish and subscribe with QoS %s, in order', async (qos) => {
    const topic = `js/${protocolVersion}/q${qos}`;
    const subscriber = await client();
    const seen: string[] = [];
    subscriber.on('message', (_, payload) => seen.push(payload.toString()));
    await subscriber.subscribeAsync(topic, { qos });
    const publisher = await client();
    const sent = Array.from({ length: 300 }, (_, i) => `${i}`);
    await Promise.all(sent.map((value) => publisher.publishAsync(topic, value, { qos })));
    await eventually('300 messages', 20_000, () => seen.length >= 300 || undefined);
    expect(seen).toEqual(sent);
  });

  it('a route names the topic and the key of the record', async () => {
    const publisher = await client();
    await publisher.publishAsync(`plant/${protocolVersion}/temp`, '21.5', { qos: 1 });
    const stored = (await readTopic(broker.bootstrap, 'temperature')).filter(({ key }) => key === `${protocolVersion}`);
    expect(stored.map(({ value }) => value)).toEqual(['21.5']);
  });

  it('a record that a Kafka client produces reaches the subscribers of its key', async () => {
    const topic = `js/${protocolVersion}/command`;
    const subscriber = await client();
    const seen: string[] = [];
    subscriber.on('message', (name, payload) => seen.push(`${name} ${payload}`));
    await subscriber.subscribeAsync(topic, { qos: 1 });
    const producer = kafkaOf(broker.bootstrap).producer();
    await producer.connect();
    await producer.send({ topic: 'mqtt', messages: [{ key: topic, value: 'open valve' }] });
    await producer.disconnect();
    await eventually('the command', 20_000, () => seen.length > 0 || undefined);
    expect(seen).toEqual([`${topic} open valve`]);
  });

  it('unsubscribing ends delivery', async () => {
    const topic = `js/${protocolVersion}/leave`;
    const subscriber = await client();
    const seen: string[] = [];
    subscriber.on('message', (name, payload) => seen.push(`${name} ${payload}`));
    await subscriber.subscribeAsync([topic, `${topic}/fence`], { qos: 1 });
    await subscriber.unsubscribeAsync(topic);
    const publisher = await client();
    await publisher.publishAsync(topic, 'unseen', { qos: 1 });
    await publisher.publishAsync(`${topic}/fence`, 'seen', { qos: 1 });
    await eventually('the fence', 20_000, () => seen.length > 0 || undefined);
    expect(seen).toEqual([`${topic}/fence seen`]);
  });

  it('what is published while the broker is killed arrives after its restart', async () => {
    const topic = `js/${protocolVersion}/outage`;
    const publisher = await client({ clientId: `outage-${protocolVersion}`, clean: false });
    await publisher.publishAsync(topic, 'before', { qos: 1 });
    await broker.kill();
    const during = publisher.publishAsync(topic, 'during', { qos: 1 });
    await broker.start();
    await during;
    const stored = (await readTopic(broker.bootstrap, 'mqtt')).filter(({ key }) => key === topic);
    expect(stored.map(({ value }) => value)).toEqual(['before', 'during']);
  });

  it('a second client with the same id takes the session over', async () => {
    const first = await client({ clientId: `twin-${protocolVersion}`, reconnectPeriod: 0 });
    const closed = new Promise<void>((resolve) => {
      first.on('close', resolve);
    });
    await client({ clientId: `twin-${protocolVersion}`, reconnectPeriod: 0 });
    await closed;
    expect(first.connected).toBe(false);
  });
});
