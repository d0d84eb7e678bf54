import mqtt, { type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import {
  type Conversation,
  converse,
  kafkaRequest,
  metadataRequest,
  mqttConnect,
  mqttPacket,
  mqttPublish,
  produceError,
  produceRequest,
  recordBatch,
  wholeFrame,
} from '../support/raw.ts';
import { endOffsets, kafkaOf, readTopic } from '../support/readback.ts';
import { eventually } from '../support/wait.ts';

/** Bytes from a seed. */
function garbage(seed: number, length: number): Buffer {
  let state = seed >>> 0;
  return Buffer.from(
    Array.from({ length }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state >>> 24;
    }),
  );
}

const NUL = Buffer.from('a\0b');
const BROKEN_UTF8 = Buffer.from([0x61, 0xc3, 0x28]);

describe('bad input', () => {
  let broker: TestBroker;
  let healthy: MqttClient;
  let closes = 0;
  let published = 0;
  let publishing: Promise<void>;
  let stopPublishing = false;

  beforeAll(async () => {
    broker = await TestBroker.start({
      brokerId: 'edge',
      config:
        'topics: { target: { partitions: 1 }, small: { max.message.bytes: 1000 } }\n' +
        'routes:\n  - { mqtt: "small/+", topic: small }\n',
    });
    // Somebody who behaves, all the while.
    healthy = await mqtt.connectAsync(broker.mqttUrl, { clientId: 'healthy', reconnectPeriod: 0 });
    healthy.on('close', () => closes++);
    publishing = (async () => {
      while (!stopPublishing) {
        await healthy.publishAsync('healthy', `${published}`, { qos: 1 });
        published++;
      }
    })();
    publishing.catch(() => {});
  });

  /** Everything that counts refusals, on either port. */
  async function refusals(port: 'mqtt' | 'kafka'): Promise<number> {
    let sum = 0;
    // MQTT: connections and publishes refused, connections ended with a reason code that is an error.
    const counts =
      port === 'kafka'
        ? /^headwater_kafka_\w*(errors|malformed|closed)\w*_total/
        : /^headwater_mqtt_(\w*refused\w*_total|disconnects_total\{reason="0x[89])/;
    for (const [name, value] of await broker.metrics()) if (counts.test(name)) sum += value;
    return sum;
  }

  async function counted<T>(port: 'mqtt' | 'kafka', act: () => Promise<T>): Promise<T> {
    const before = await refusals(port);
    const result = await act();
    await eventually(
      `a ${port} metric that counts it`,
      5_000,
      async () => (await refusals(port)) > before || undefined,
    );
    return result;
  }

  describe('on the Kafka port', () => {
    const send = (bytes: Buffer): Promise<Conversation> => counted('kafka', () => converse(broker.ports.kafka, bytes));
    const ask = (bytes: Buffer): Promise<Conversation> =>
      counted('kafka', () => converse(broker.ports.kafka, bytes, { enough: wholeFrame }));

    it.each([1, 2, 3, 4, 5])('garbage (seed %s) ends the connection', async (seed) => {
      // The first four bytes would be a length: one that is plausible, so that the garbage behind it is looked at.
      const bytes = garbage(seed, 2_000);
      bytes.writeInt32BE(1_996, 0);
      expect((await send(bytes)).closed).toBe(true);
    });

    it.each([
      ['of 2 GiB', Buffer.from([0x7f, 0xff, 0xff, 0xff])],
      ['of 100 MiB', Buffer.from([0x06, 0x40, 0x00, 0x00])],
      ['of a negative size', Buffer.from([0xff, 0xff, 0xff, 0xff])],
      ['of no bytes', Buffer.from([0, 0, 0, 0])],
      ['that is a web page request', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
      ['with an unknown API key', kafkaRequest(999, 0, Buffer.alloc(0))],
      ['with a version nobody knows', kafkaRequest(3, 99, Buffer.alloc(8))],
      ['whose array claims 2^31-1 elements', kafkaRequest(3, 4, Buffer.from([0x7f, 0xff, 0xff, 0xff, 0]))],
      [
        'whose string claims more bytes than there are',
        kafkaRequest(3, 4, Buffer.from([0, 0, 0, 1, 0x7f, 0xff, 0x61])),
      ],
    ])('a frame %s ends the connection', async (_, bytes) => {
      expect((await send(bytes)).closed).toBe(true);
    });

    const good = recordBatch('good');
    const wrongCrc = Buffer.from(good);
    wrongCrc[wrongCrc.length - 2]! ^= 1;
    const wrongCount = Buffer.from(good);
    wrongCount.writeInt32BE(2, 57);
    const wrongLength = Buffer.from(good);
    wrongLength.writeInt32BE(10_000, 8);
    const oldMagic = Buffer.from(good);
    oldMagic[16] = 1;
    // CORRUPT_MESSAGE 2, INVALID_RECORD 87, UNSUPPORTED_FOR_MESSAGE_FORMAT 43, INVALID_REQUEST 42
    it.each([
      ['that is cut off', good.subarray(0, good.length - 3), [2, 87]],
      ['that is cut off in its header', good.subarray(0, 30), [2, 87]],
      ['with a wrong CRC', wrongCrc, [2]],
      ['whose record count is wrong', wrongCount, [2, 87]],
      ['whose length is wrong', wrongLength, [2, 87]],
      ['of an old format', oldMagic, [2, 87, 43, 42]],
    ])('a batch %s is refused in the terms of the protocol and nothing is stored', async (_, batch, codes) => {
      const { received } = await ask(produceRequest('target', batch));
      expect(codes).toContain(produceError(received));
      expect(await endOffsets(broker.bootstrap, 'target')).toEqual([0]);
    });

    it.each(['has space', 'a/b', '..', 'ü', 'x'.repeat(250)])('the topic name "%s" is refused', async (name) => {
      const metadata = await ask(metadataRequest(name));
      // INVALID_TOPIC_EXCEPTION
      expect(metadata.received.includes(Buffer.from([0, 17]))).toBe(true);
      const { received } = await ask(produceRequest(name, good));
      expect([3, 17]).toContain(produceError(received));
      const admin = kafkaOf(broker.bootstrap).admin();
      await admin.connect();
      expect(await admin.listTopics()).not.toContain(name);
      await admin.disconnect();
    });

    it('the same batch, whole, is stored', async () => {
      const { received } = await converse(broker.ports.kafka, produceRequest('accepted', good), { enough: wholeFrame });
      // The first attempt may create the topic.
      if (produceError(received) !== 0) {
        await converse(broker.ports.kafka, metadataRequest('accepted'), { enough: wholeFrame });
        const again = await converse(broker.ports.kafka, produceRequest('accepted', good), { enough: wholeFrame });
        expect(produceError(again.received)).toBe(0);
      }
      expect((await readTopic(broker.bootstrap, 'accepted')).map(({ value }) => value)).toEqual(['good']);
    });
  });

  describe('on the MQTT port', () => {
    const send = (...packets: Uint8Array[]): Promise<Conversation> =>
      counted('mqtt', () => converse(broker.ports.mqtt, Buffer.concat(packets)));

    it.each([1, 2, 3, 4, 5])('garbage (seed %s) ends the connection', async (seed) => {
      expect((await send(garbage(seed, 2_000))).closed).toBe(true);
    });

    it('a publish before CONNECT ends the connection', async () => {
      expect((await send(mqttPublish(4, 'early', 'x'))).closed).toBe(true);
    });

    it('a second CONNECT ends the connection', async () => {
      expect((await send(mqttConnect(4, 'twice'), mqttConnect(4, 'twice'))).closed).toBe(true);
    });

    describe.each([4, 5] as const)('version %s', (level) => {
      it('a remaining length of five bytes ends the connection', async () => {
        expect((await send(mqttConnect(level, 'raw'), Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]))).closed).toBe(
          true,
        );
      });

      it('a packet of 200 MiB ends the connection at its header', async () => {
        expect((await send(mqttConnect(level, 'raw'), mqttPacket(3, 2, Buffer.alloc(10), 200 * 2 ** 20))).closed).toBe(
          true,
        );
      });

      it.each([
        ['a wildcard', Buffer.from('plant/+/temp')],
        ['a null character', NUL],
        ['broken UTF-8', BROKEN_UTF8],
        ['no characters', Buffer.alloc(0)],
      ])('a topic name with %s ends the connection', async (_, topic) => {
        expect((await send(mqttConnect(level, 'raw'), mqttPublish(level, topic, 'x'))).closed).toBe(true);
      });

      it('QoS 3 ends the connection', async () => {
        const bytes = mqttPublish(level, 'q3', 'x');
        bytes[0]! |= 6;
        expect((await send(mqttConnect(level, 'raw'), bytes)).closed).toBe(true);
      });
    });

    it('a message larger than its topic allows is refused by reason code, and the connection goes on', async () => {
      const large = mqttPublish(5, 'small/a', 'x'.repeat(5_000));
      const { received, closed } = await counted('mqtt', () =>
        converse(broker.ports.mqtt, Buffer.concat([mqttConnect(5, 'raw'), large]), { timeoutMs: 1_000 }),
      );
      // PUBACK of packet 1 with a reason code of 0x80 or more
      const puback = received.indexOf(Buffer.from([0x40]));
      expect(puback).toBeGreaterThan(0);
      expect(received.subarray(puback + 2, puback + 4)).toEqual(Buffer.from([0, 1]));
      expect(received[puback + 4]).toBeGreaterThanOrEqual(0x80);
      expect(closed).toBe(false);
      expect(await endOffsets(broker.bootstrap, 'small')).toEqual([0]);
    });
  });

  afterAll(async () => {
    stopPublishing = true;
    await publishing;
    await healthy.endAsync();
  });

  it('disturbed nobody else and left nothing behind', async () => {
    expect(closes).toBe(0);
    stopPublishing = true;
    await publishing;
    expect(published).toBeGreaterThan(100);
    const stored = await readTopic(broker.bootstrap, 'mqtt');
    expect(stored.map(({ value }) => value)).toEqual(Array.from({ length: published }, (_, i) => `${i}`));
    const admin = kafkaOf(broker.bootstrap).admin();
    await admin.connect();
    const topics = (await admin.listTopics()).filter((name) => !name.startsWith('__')).sort();
    await admin.disconnect();
    expect(topics).toEqual(['accepted', 'mqtt', 'small', 'target']);
    expect((await broker.http('/healthz')).status).toBe(200);
    const { code } = await broker.stop();
    expect(code).toBe(0);
  });
});
