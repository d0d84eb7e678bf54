/**
 * The MQTT connection: QoS 1, MQTT 5, in order. The `mqtt` package would send again by itself what was not acknowledged when a
 * connection broke; the log may hold that already, and then it would stand there twice. So every connection is a new client
 * without a memory, and nothing is published on it before `prove` has looked into the log (README.md, "Exactly once").
 */
import type { IClientOptions, IPublishPacket, MqttClient, Packet } from 'mqtt';
import type { Clock } from './clock.ts';

export type Message = {
  readonly topic: string;
  readonly payload: Buffer | string;
  readonly retain?: boolean;
  readonly contentType?: string;
  readonly userProperties?: Record<string, string>;
};

export interface UplinkOptions {
  readonly url: string;
  /** Stays the same for ever: the broker ends the old connection of this id before it accepts a new one. */
  readonly clientId: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly clock: Clock;
  /** At most this many publishes are on their way; the rest waits here, bounded by the devices' windows. */
  readonly maxInFlight: number;
  readonly statusTopic: string;
  readonly subscriptions: readonly string[];
  /** For so long the broker keeps what arrives for the subscriptions while nobody is connected, s. */
  readonly sessionExpirySeconds: number;
  /** `done` acknowledges it; with an error it comes again on the next connection. */
  readonly onMessage: (message: Incoming, done: (error: Error | null) => void) => void;
  /** Learns what the log holds. Runs after everything of earlier connections was committed or dropped by the broker. */
  readonly prove: () => Promise<void>;
  readonly onReady: () => void;
  readonly log: (message: string, details?: object) => void;
}

export type Incoming = {
  readonly topic: string;
  readonly payload: Buffer;
  /** MQTT's DUP: it may have come before. */
  readonly isRepeat: boolean;
  /** s, counted down by the broker. */
  readonly expirySeconds: number | undefined;
  readonly userProperties: Readonly<Record<string, string | string[]>>;
};

type Queued = { readonly message: Message; readonly done: ((stored: boolean) => void) | undefined };

const MIN_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 15_000;
const ATTEMPT_MS = 10_000;

export class Uplink {
  isReady = false;
  /** Connections made, for the metrics. */
  connections = 0;
  readonly #options: UplinkOptions;
  #client: MqttClient | undefined;
  #queue: Queued[] = [];
  #inFlight = 0;
  #maxInFlight: number;
  #backoff = MIN_BACKOFF_MS;
  #isStopped = false;
  /** Resolved when everything published so far has its answer; rejected when the connection breaks first. */
  #flushes: { left: number; resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(options: UplinkOptions) {
    this.#options = options;
    this.#maxInFlight = options.maxInFlight;
  }

  start(): void {
    void this.#connect();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    const client = this.#client;
    this.#drop();
    if (client?.connected !== true) {
      client?.end(true);
      return;
    }
    await client.publishAsync(this.#options.statusTopic, 'offline', { qos: 1, retain: true }).catch(() => {});
    await client.endAsync();
  }

  /** `done` is called when the broker answered, and never if the connection is lost first. */
  publish(message: Message, done?: (stored: boolean) => void): void {
    if (!this.isReady) return;
    this.#queue.push({ message, done });
    this.#pump();
  }

  flushed(): Promise<void> {
    if (!this.isReady) return Promise.reject(new Error('not connected'));
    const left = this.#queue.length + this.#inFlight;
    if (left === 0) return Promise.resolve();
    return new Promise((resolve, reject) => this.#flushes.push({ left, resolve, reject }));
  }

  async #connect(): Promise<void> {
    const { url, clientId, username, password, statusTopic, log } = this.#options;
    const { default: mqtt } = await import('mqtt');
    if (this.#isStopped) return;
    const options: IClientOptions = {
      protocolVersion: 5,
      clientId,
      // The broker keeps commands while we are away; readings are not part of that session.
      clean: false,
      reconnectPeriod: 0,
      writeCache: false, // a table of all packet ids would cost 14 MB
      connectTimeout: ATTEMPT_MS,
      keepalive: 15,
      resubscribe: false,
      queueQoSZero: false,
      properties: { sessionExpiryInterval: this.#options.sessionExpirySeconds },
      will: { topic: statusTopic, payload: Buffer.from('offline'), qos: 1, retain: true },
    };
    if (username !== undefined) options.username = username;
    if (password !== undefined) options.password = password;
    const client = mqtt.connect(url, options);
    this.#client = client;
    client.on('error', (error) => log('broker', { error: error.message }));
    client.on('close', () => this.#onClose(client));
    // Called for one packet at a time; PUBACK goes out when it calls back.
    client.handleMessage = (packet, done) => this.#onMessage(client, packet, done);
    client.on('connect', (packet) => {
      this.connections++;
      this.#maxInFlight = Math.min(this.#options.maxInFlight, packet.properties?.receiveMaximum ?? 0xffff);
      this.#prove(client).catch((error: Error) => {
        log('the log could not be read, nothing is published before that', { error: error.message });
        client.end(true);
      });
    });
  }

  #onMessage(client: MqttClient, packet: IPublishPacket, done: (error?: Error, packet?: Packet) => void): void {
    const { topic, payload, dup, properties } = packet;
    const message: Incoming = {
      topic,
      payload: Buffer.from(payload),
      isRepeat: dup,
      expirySeconds: properties?.messageExpiryInterval,
      userProperties: properties?.userProperties ?? {},
    };
    this.#options.onMessage(message, (error) => {
      if (error === null) done();
      else client.end(true);
    });
  }

  async #prove(client: MqttClient): Promise<void> {
    const { statusTopic, subscriptions, prove, onReady, log } = this.#options;
    // Answered in the order of the broker's commits: behind it, nothing of an earlier connection can still turn up.
    await client.publishAsync(statusTopic, 'online', { qos: 1, retain: true });
    await prove();
    if (subscriptions.length > 0) {
      await client.subscribeAsync([...subscriptions], {
        qos: 1,
        rh: 1, // a retained command is carried out once, not at every connection
        properties: { userProperties: { 'headwater-position': 'true' } },
      });
    }
    if (this.#client !== client || this.#isStopped) return;
    this.#backoff = MIN_BACKOFF_MS;
    this.isReady = true;
    log('ready', { broker: this.#options.url });
    onReady();
  }

  #pump(): void {
    const client = this.#client;
    while (client !== undefined && this.isReady && this.#inFlight < this.#maxInFlight) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#inFlight++;
      const { topic, payload, retain = false, contentType, userProperties } = next.message;
      const properties = {
        ...(contentType !== undefined && { contentType }),
        ...(userProperties !== undefined && { userProperties }),
      };
      client.publish(topic, payload, { qos: 1, retain, properties }, (error) => {
        if (this.#client !== client || !client.connected) return; // lost with its connection; `prove` will tell
        this.#onAnswer(next, error);
      });
    }
  }

  #onAnswer(queued: Queued, error: Error | null | undefined): void {
    this.#inFlight--;
    if (error) this.#options.log('refused by the broker', { topic: queued.message.topic, error: error.message });
    queued.done?.(!error);
    for (const flush of this.#flushes) if (--flush.left === 0) flush.resolve();
    this.#flushes = this.#flushes.filter((flush) => flush.left > 0);
    this.#pump();
  }

  #drop(): void {
    this.isReady = false;
    this.#client = undefined;
    this.#queue = [];
    this.#inFlight = 0;
    for (const flush of this.#flushes) flush.reject(new Error('the connection was lost'));
    this.#flushes = [];
  }

  #onClose(client: MqttClient): void {
    client.removeAllListeners();
    client.on('error', () => {});
    client.end(true);
    if (this.#client !== client) return;
    if (this.isReady) this.#options.log('connection to the broker lost');
    this.#drop();
    if (this.#isStopped) return;
    const wait = this.#backoff * (0.5 + Math.random() / 2);
    this.#backoff = Math.min(this.#backoff * 2, MAX_BACKOFF_MS);
    this.#options.clock.after(wait, () => void this.#connect());
  }
}
