import { createServer, type Server, type Socket } from 'node:net';
import mqttPacket, { type IPublishPacket, type Packet } from 'mqtt-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RecordCursor } from '../../src/wire/batch/record-cursor.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import type { MemoryPartition } from '../kafka/memory-log.ts';
import { Edge, until } from './harness.ts';

/** An MQTT 5 broker that acknowledges when it is told to. */
class FakeMqtt {
  readonly published: IPublishPacket[] = [];
  readonly acknowledged: number[] = [];
  /** Answers PUBLISH at once; otherwise they gather in `held`. */
  automatic = true;
  held: (() => void)[] = [];
  port = 0;
  readonly sockets = new Set<Socket>();
  #server: Server | null = null;

  async listen(): Promise<void> {
    this.#server = createServer((socket) => this.#serve(socket));
    await new Promise<void>((resolve) => this.#server!.listen(this.port, '127.0.0.1', resolve));
    this.port = (this.#server.address() as { port: number }).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server!.close(resolve));
  }

  drop(): void {
    this.held = [];
    for (const socket of this.sockets) socket.destroy();
  }

  send(packet: Packet): void {
    for (const socket of this.sockets) socket.write(mqttPacket.generate(packet, { protocolVersion: 5 }));
  }

  #serve(socket: Socket): void {
    this.sockets.add(socket);
    const parser = mqttPacket.parser({ protocolVersion: 5 });
    const answer = (packet: Packet) => socket.write(mqttPacket.generate(packet, { protocolVersion: 5 }));
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connect') answer({ cmd: 'connack', sessionPresent: false, reasonCode: 0 });
      if (packet.cmd === 'pingreq') answer({ cmd: 'pingresp' });
      if (packet.cmd === 'subscribe')
        answer({ cmd: 'suback', messageId: packet.messageId!, granted: [1], reasonCode: 0 } as Packet);
      if (packet.cmd === 'puback') this.acknowledged.push(packet.messageId!);
      if (packet.cmd !== 'publish') return;
      this.published.push(packet);
      const acknowledge = () => answer({ cmd: 'puback', messageId: packet.messageId!, reasonCode: 0 });
      if (this.automatic) acknowledge();
      else this.held.push(acknowledge);
    });
    socket.on('data', (chunk) => parser.parse(chunk));
    socket.on('error', () => {});
    socket.on('close', () => this.sockets.delete(socket));
  }
}

let upstream: FakeMqtt;
let edge: Edge;

beforeEach(async () => {
  upstream = new FakeMqtt();
  await upstream.listen();
  edge = new Edge({ type: 'mqtt', url: `mqtt://127.0.0.1:${upstream.port}`, rename: 'up/{broker}/{key}' });
});
afterEach(async () => {
  await edge.stop();
  await upstream.stop();
});

function write(partition: MemoryPartition, key: string, value: string): void {
  const record = { key: Buffer.from(key), value: Buffer.from(value), headers: [], timestamp: 1 };
  partition.commit(encodeBatch([record], { now: 0 }));
  partition.wake();
}

describe('an MQTT link', () => {
  it('publishes every record with QoS 1, in order, with its offset, and goes on from its cursor', async () => {
    const [partition] = await edge.topic('t');
    for (let n = 0; n < 5; n++) write(partition!, `plant/${n}`, `v${n}`);
    await edge.start();
    await edge.drained();
    await edge.stop();
    write(partition!, 'plant/5', 'v5');
    await edge.start();
    await edge.drained();
    expect(upstream.published.map(({ topic, payload }) => `${topic}=${payload}`)).toEqual(
      [0, 1, 2, 3, 4, 5].map((n) => `up/edge/plant/${n}=v${n}`),
    );
    expect(upstream.published.every(({ qos }) => qos === 1)).toBe(true);
    expect(upstream.published[3]!.properties?.userProperties).toMatchObject({ 'headwater-offset': 't/0/3' });
  });

  it('moves the cursor with PUBACKs only; what was not acknowledged is published again after a loss', async () => {
    upstream.automatic = false;
    const [partition] = await edge.topic('t');
    for (let n = 0; n < 4; n++) write(partition!, 'k', `v${n}`);
    await edge.start();
    await until(() => upstream.held.length === 4, 'all are published');
    expect(edge.status.backlogRecords).toBe(4);
    upstream.held[0]!();
    upstream.held[1]!();
    await until(() => edge.status.backlogRecords === 2, 'two are acknowledged');
    upstream.automatic = true;
    upstream.drop();
    await edge.drained();
    expect(upstream.published.map(({ payload }) => String(payload))).toEqual(['v0', 'v1', 'v2', 'v3', 'v2', 'v3']);
  });

  it('keeps no more publishes on their way than it may', async () => {
    upstream.automatic = false;
    await edge.stop();
    edge = new Edge({
      type: 'mqtt',
      url: `mqtt://127.0.0.1:${upstream.port}`,
      rename: 'x',
      'max.in.flight.requests.per.connection': 1,
    });
    const [partition] = await edge.topic('t');
    for (let n = 0; n < 50; n++) write(partition!, 'k', `v${n}`);
    await edge.start();
    await until(() => upstream.held.length === 10, 'ten are published');
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(upstream.published).toHaveLength(10);
    upstream.automatic = true;
    for (const acknowledge of upstream.held.splice(0)) acknowledge();
    await edge.drained();
    expect(upstream.published.map(({ payload }) => String(payload))).toEqual(
      Array.from({ length: 50 }, (_, n) => `v${n}`),
    );
  });

  it('stores what comes down before it acknowledges, and does not send it up again', async () => {
    await edge.stop();
    edge = new Edge({ type: 'mqtt', url: `mqtt://127.0.0.1:${upstream.port}`, rename: '{key}', pull: ['cmd/#'] });
    const [partition] = await edge.topic('mqtt');
    partition!.appendRecord = ((
      record: Parameters<typeof encodeBatch>[0][number],
      _acks: number,
      done: (e: null, o: number) => void,
    ) => {
      const offset = partition!.commit(encodeBatch([record], { now: 7 }));
      expect(upstream.acknowledged).toEqual([]);
      done(null, offset);
      partition!.wake();
    }) as never;
    await edge.start();
    await until(() => edge.status.state === 'live', 'connected');
    upstream.send({
      cmd: 'publish',
      topic: 'cmd/valve',
      payload: 'open',
      qos: 1,
      messageId: 9,
      dup: false,
      retain: false,
    });
    await until(() => upstream.acknowledged.includes(9), 'acknowledged');
    const cursor = new RecordCursor(partition!.batches[0]!);
    cursor.next();
    expect([String(cursor.key), String(cursor.value)]).toEqual(['cmd/valve', 'open']);
    write(partition!, 'telemetry', '1');
    await edge.drained();
    expect(upstream.published.map(({ topic }) => topic)).toEqual(['telemetry']);
  });
});
