/** A real edge over the real log and the memory store, on a free port of loopback; raw clients that speak mqtt-packet. */
import { connect, type Socket } from 'node:net';
import mqttPacket from 'mqtt-packet';
import { type Clock, systemEnv, type Timer } from '../../src/env.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { openLog } from '../../src/log/log.ts';
import type { LogOptions } from '../../src/log/log-options.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { MqttEdge, type MqttEdgeDependencies, type MqttEdgeOptions } from '../../src/mqtt/edge.ts';
import { MemoryDisk } from '../../src/store/memory.ts';

/** The real clock, which a test can move on: both times, and then the periodic tasks. */
export class SteppedClock implements Clock {
  offset = 0;
  readonly #tasks: (() => void)[] = [];
  now = () => systemEnv.clock.now() + this.offset;
  monotonic = () => systemEnv.clock.monotonic() + this.offset;
  after = (ms: number, task: () => void): Timer => systemEnv.clock.after(ms, task);
  soon = (task: () => void): void => systemEnv.clock.soon(task);
  every = (_: number, task: () => void): Timer => {
    this.#tasks.push(task);
    return { cancel: () => this.#tasks.splice(this.#tasks.indexOf(task), 1) };
  };
  step(ms: number): void {
    this.offset += ms;
    for (const task of this.#tasks) task();
  }
}

export interface TestEdge {
  readonly edge: MqttEdge;
  readonly log: HeadwaterLog;
  readonly metrics: Metrics;
  readonly disk: MemoryDisk;
  readonly port: number;
  /** The sum over the series of a counter or gauge. */
  counterNow(name: string): number;
  stop(): Promise<void>;
  /** The process is gone between two instructions; the disk keeps what was synced. */
  crash(): void;
}

export async function startEdge(
  options: Partial<MqttEdgeOptions> = {},
  deps: Partial<MqttEdgeDependencies> = {},
  disk = new MemoryDisk(),
  logOptions: LogOptions = {},
): Promise<TestEdge> {
  const metrics = new Metrics();
  const store = disk.mount();
  const log = await openLog({
    store,
    env: systemEnv,
    metrics,
    logger: silentLogger,
    options: { retentionSchedule: null, numPartitions: 3, ...logOptions },
  });
  const listeners = [{ host: '127.0.0.1', port: 0 }];
  const base = { log, meta: log.meta, env: systemEnv, metrics, logger: silentLogger };
  const edge = new MqttEdge({ listeners, ...options }, { ...base, ...deps });
  await edge.start();
  const stop = async () => {
    await edge.stop();
    await log.close();
    await store.close();
  };
  return {
    edge,
    log,
    metrics,
    disk,
    port: edge.addresses[0]?.port ?? 0,
    counterNow(name) {
      for (const family of metrics.families()) {
        if (family.name !== name) continue;
        return [...family.samples()].reduce((sum, sample) => sum + sample.value, 0);
      }
      throw new Error(`no metric ${name}`);
    },
    stop,
    crash() {
      disk.crash();
      // A dead disk answers nothing: the edge closes its sockets after a bounded wait, on its own.
      edge.stop().catch(() => undefined);
    },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: packets of the independent peer are compared field by field
export type Packet = any;

export class RawClient {
  readonly socket: Socket;
  readonly version: 4 | 5;
  readonly received: Packet[] = [];
  closed = false;
  bytesReceived = 0;
  #waiting: (() => void)[] = [];

  constructor(port: number, version: 4 | 5 = 4) {
    this.version = version;
    this.socket = connect(port, '127.0.0.1');
    this.socket.setNoDelay(true);
    const parser = mqttPacket.parser({ protocolVersion: version });
    parser.on('packet', (packet: Packet) => {
      this.received.push(packet);
      this.#wake();
    });
    this.socket.on('data', (chunk) => {
      this.bytesReceived += chunk.length;
      parser.parse(chunk);
    });
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  #wake(): void {
    for (const task of this.#waiting.splice(0)) task();
  }

  send(packet: Packet): void {
    this.socket.write(mqttPacket.generate(packet, { protocolVersion: this.version }));
  }

  raw(hex: string): void {
    this.socket.write(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  }

  /** The next packet; rejects when the connection closes first. */
  async next(cmd?: string): Promise<Packet> {
    for (;;) {
      const packet = this.received.shift();
      if (packet !== undefined) {
        if (cmd !== undefined && packet.cmd !== cmd) {
          throw new Error(`expected ${cmd}, got ${JSON.stringify(packet)}`);
        }
        return packet;
      }
      if (this.closed) throw new Error(`the connection closed while waiting for ${cmd ?? 'a packet'}`);
      await this.#turn();
    }
  }

  #turn(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nothing came within 5 s')), 5_000);
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async untilClosed(): Promise<Packet[]> {
    while (!this.closed) await this.#turn();
    return this.received;
  }

  /** Everything sent before was handled: a PINGREQ is answered, and nothing else came. */
  async quiet(): Promise<void> {
    this.send({ cmd: 'pingreq' });
    await this.next('pingresp');
  }

  /** Exactly `count` packets are there, and no more come before the answer to a PINGREQ. */
  async quietAfter(count: number): Promise<void> {
    this.send({ cmd: 'pingreq' });
    while (!this.received.some((packet) => packet.cmd === 'pingresp')) await this.#turn();
    const others = this.received.filter((packet) => packet.cmd !== 'pingresp');
    if (others.length !== count) throw new Error(`${others.length} packets instead of ${count}`);
    this.received.splice(0, this.received.length, ...others);
  }

  async connect(options: Packet = {}): Promise<Packet> {
    this.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: this.version,
      clean: true,
      clientId: `c-${Math.random().toString(36).slice(2)}`,
      keepalive: 0,
      ...options,
    });
    return await this.next('connack');
  }

  async subscribe(topic: string, qos = 0, more: Packet = {}, properties: Packet = undefined): Promise<Packet> {
    this.send({
      cmd: 'subscribe',
      messageId: 900,
      subscriptions: [{ topic, qos, ...more }],
      ...(properties === undefined ? {} : { properties }),
    });
    return await this.next('suback');
  }

  publish(topic: string, payload: string | Buffer, more: Packet = {}): void {
    this.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false, ...more });
  }

  end(): void {
    this.socket.destroy();
  }
}

export async function opened(port: number, version: 4 | 5 = 4, options: Packet = {}): Promise<RawClient> {
  const client = new RawClient(port, version);
  await client.connect(options);
  return client;
}
