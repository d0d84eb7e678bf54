/**
 * Devices that number their messages and never send one twice: what arrives twice was doubled on the way, what is
 * missing although it was acknowledged was lost. MQTT 3.1.1, QoS 1, one key (MQTT topic) after the other in turn.
 */
import { connect, type Socket } from 'node:net';
import mqttPacket from 'mqtt-packet';
import { pause } from './wait.ts';

const RECONNECT_MS = 20;
const PACKET_IDS = 65_535;

export class NumberedPublisher {
  readonly #topics: readonly string[];
  readonly #port: number;
  readonly #window: number;
  readonly #clientId: string;
  /** The next number of each topic. */
  readonly #next: number[];
  /** By topic: the numbers that were acknowledged, ascending but for the order of acknowledgements. */
  readonly acknowledged: number[][];
  #inFlight = new Map<number, { readonly topic: number; readonly number: number }>();
  #packetId = 0;
  #turn = 0;
  #socket: Socket | null = null;
  #connected = false;
  #stopped = false;
  #credit = 0;

  constructor(options: { topics: readonly string[]; port: number; window: number; clientId?: string }) {
    this.#topics = options.topics;
    this.#port = options.port;
    this.#window = options.window;
    this.#clientId = options.clientId ?? 'numbered';
    this.#next = options.topics.map(() => 0);
    this.acknowledged = options.topics.map(() => []);
  }

  /** Sends `count` more messages as fast as the window allows; what is not acknowledged when the connection ends is given up. */
  publish(count: number): void {
    this.#credit += count;
    this.#fill();
  }

  get acknowledgedCount(): number {
    return this.acknowledged.reduce((sum, numbers) => sum + numbers.length, 0);
  }

  get idle(): boolean {
    return this.#credit === 0 && this.#inFlight.size === 0;
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.destroy();
  }

  /** Connects again and again until `stop`. */
  async run(): Promise<void> {
    while (!this.#stopped) {
      await this.#oneConnection();
      this.#connected = false;
      this.#inFlight = new Map();
      if (!this.#stopped) await pause(RECONNECT_MS);
    }
  }

  async #oneConnection(): Promise<void> {
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
    this.#socket = socket;
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    parser.on('packet', (packet) => {
      if (packet.cmd === 'connack') {
        this.#connected = true;
        this.#fill();
      } else if (packet.cmd === 'puback') {
        const sent = this.#inFlight.get(packet.messageId!);
        if (sent === undefined) return;
        this.#inFlight.delete(packet.messageId!);
        this.acknowledged[sent.topic]!.push(sent.number);
        this.#fill();
      }
    });
    parser.on('error', () => socket.destroy());
    await new Promise<void>((resolve) => {
      socket.on('connect', () => {
        const connectPacket = { cmd: 'connect', protocolVersion: 4, clientId: this.#clientId, clean: true } as const;
        socket.write(mqttPacket.generate({ ...connectPacket, keepalive: 60 }));
      });
      socket.on('data', (chunk) => parser.parse(chunk));
      socket.on('error', () => {});
      socket.on('close', () => resolve());
    });
  }

  #fill(): void {
    if (!this.#connected) return;
    while (this.#credit > 0 && this.#inFlight.size < this.#window) {
      this.#credit--;
      const topic = this.#turn;
      this.#turn = (this.#turn + 1) % this.#topics.length;
      const number = this.#next[topic]!++;
      do this.#packetId = (this.#packetId % PACKET_IDS) + 1;
      while (this.#inFlight.has(this.#packetId));
      this.#inFlight.set(this.#packetId, { topic, number });
      const publish = { cmd: 'publish', qos: 1, dup: false, retain: false, messageId: this.#packetId } as const;
      this.#socket!.write(
        mqttPacket.generate({ ...publish, topic: this.#topics[topic]!, payload: `${number}` }, { protocolVersion: 4 }),
      );
    }
  }
}
