/**
 * A device as it should be: QoS 1, a window of publishes in flight, everything unacknowledged sent again (DUP, same
 * packet id, same order) on the next connection, until every reading is acknowledged. Keeps book of what was
 * acknowledged and what was sent more than once, so that a test can tell a permitted duplicate from a wrong one.
 */
import { connect, type Socket } from 'node:net';
import mqttPacket from 'mqtt-packet';
import type { Reading } from './series.ts';

const RECONNECT_MS = 20;
/** Packet ids are 1 to 65535; with a window below that no two in flight share one. */
const PACKET_IDS = 65_535;

export interface PublisherOptions {
  readonly port: number;
  readonly clientId: string;
  readonly readings: readonly Reading[];
  /** Publishes in flight, 1 to 65,535. */
  readonly window: number;
  /** Called after each acknowledgement with the number acknowledged so far. */
  readonly onAcknowledged?: (count: number) => void;
}

export class ResendingPublisher {
  readonly #options: PublisherOptions;
  readonly #acknowledged: Uint8Array;
  readonly #timesSent: Uint8Array;
  /** Everything before it is acknowledged. */
  #oldest = 0;
  /** The next reading to send for the first time. */
  #next = 0;
  #count = 0;
  #socket: Socket | null = null;
  connections = 0;
  #stopped = false;
  #held = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#acknowledged = new Uint8Array(options.readings.length);
    this.#timesSent = new Uint8Array(options.readings.length);
  }

  get acknowledged(): number {
    return this.#count;
  }

  wasAcknowledged(index: number): boolean {
    return this.#acknowledged[index] === 1;
  }

  wasResent(index: number): boolean {
    return this.#timesSent[index]! > 1;
  }

  /** Sends nothing new until `go`; what is in flight may still be acknowledged. */
  hold(): void {
    this.#held = true;
  }

  go(): void {
    this.#held = false;
    if (this.#socket?.readyState === 'open') this.#fillWindow();
  }

  /** Gives up what is not acknowledged yet. */
  stop(): void {
    this.#stopped = true;
    this.#socket?.destroy();
  }

  /** Publishes everything; resolves when all of it is acknowledged. */
  async run(): Promise<void> {
    while (!this.#stopped && this.#count < this.#options.readings.length) {
      await this.#oneConnection();
      if (this.#count < this.#options.readings.length) {
        await new Promise((resolve) => {
          setTimeout(resolve, RECONNECT_MS);
        });
      }
    }
  }

  /** Resolves when the connection is gone or everything is acknowledged. */
  async #oneConnection(): Promise<void> {
    const socket = connect(this.#options.port, '127.0.0.1');
    socket.setNoDelay(true);
    this.#socket = socket;
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    await new Promise<void>((resolve) => {
      parser.on('packet', (packet) => {
        if (packet.cmd === 'connack') this.#connected();
        else if (packet.cmd === 'puback') this.#puback(packet.messageId!);
      });
      parser.on('error', () => socket.destroy());
      socket.on('connect', () => {
        const { clientId } = this.#options;
        socket.write(
          mqttPacket.generate({ cmd: 'connect', protocolVersion: 4, clientId, clean: false, keepalive: 60 }),
        );
      });
      socket.on('data', (chunk) => parser.parse(chunk));
      socket.on('error', () => {});
      socket.on('close', () => resolve());
    });
  }

  #connected(): void {
    this.connections++;
    for (let i = this.#oldest; i < this.#next; i++) if (!this.wasAcknowledged(i)) this.#send(i);
    this.#fillWindow();
  }

  #fillWindow(): void {
    const { readings, window } = this.#options;
    this.#socket!.cork();
    while (!this.#held && this.#next < readings.length && this.#next - this.#oldest < window) this.#send(this.#next++);
    this.#socket!.uncork();
  }

  #send(index: number): void {
    const { topic, payload } = this.#options.readings[index]!;
    const dup = this.#timesSent[index]! > 0;
    if (this.#timesSent[index]! < 255) this.#timesSent[index]!++;
    const messageId = (index % PACKET_IDS) + 1;
    this.#socket!.write(mqttPacket.generate({ cmd: 'publish', topic, payload, qos: 1, dup, retain: false, messageId }));
  }

  #puback(messageId: number): void {
    // The one index in the window that has this packet id.
    const base = this.#oldest - (this.#oldest % PACKET_IDS);
    let index = base + messageId - 1;
    if (index < this.#oldest) index += PACKET_IDS;
    if (index >= this.#next) throw new Error(`PUBACK for packet id ${messageId}, which is not in flight`);
    if (this.#acknowledged[index] === 1) return;
    this.#acknowledged[index] = 1;
    this.#count++;
    while (this.#acknowledged[this.#oldest] === 1) this.#oldest++;
    this.#options.onAcknowledged?.(this.#count);
    if (this.#count === this.#options.readings.length) this.#socket!.end();
    else this.#fillWindow();
  }
}
