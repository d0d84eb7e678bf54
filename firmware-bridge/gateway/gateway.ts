/** The wiring: ports, sessions, devices, the broker, the checkpoint. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from './clock.ts';
import type { Config, PortConfig } from './config.ts';
import type { Description } from './description.ts';
import type { Device, Pending } from './device.ts';
import { Devices } from './device.ts';
import type { Evidence, Offsets } from './evidence.ts';
import { KafkaEvidence, noEvidence } from './evidence.ts';
import type { Port } from './ports.ts';
import { Ports } from './ports.ts';
import type { Sink } from './session.ts';
import { Session } from './session.ts';
import { readState, writeState } from './state-file.ts';
import type { OpenTransport } from './transport.ts';
import type { Message } from './uplink.ts';
import { Uplink } from './uplink.ts';

export type Log = (message: string, details?: object) => void;

/** Enough to fill the broker's group commits; each costs the client about 4 KB until it is answered. */
const MAX_IN_FLIGHT = 256;

export class Gateway {
  readonly #config: Config;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #drivers: Record<PortConfig['driver'], OpenTransport>;
  readonly #devices: Devices;
  readonly #descriptions = new Map<string, Description>();
  /** Loaded, with its CBOR decoder, when there are descriptions. */
  #description: typeof import('./description.ts') | undefined;
  readonly #sessions = new Map<Device, Session>();
  readonly #uplink: Uplink;
  readonly #evidence: Evidence;
  readonly #ports: Ports;
  readonly #sink: Sink;
  #offsets: Offsets = new Map();
  #cancelCheckpoint: (() => void) | undefined;
  #isStopped = false;

  constructor(config: Config, clock: Clock, log: Log, drivers: Record<PortConfig['driver'], OpenTransport>) {
    this.#config = config;
    this.#clock = clock;
    this.#log = log;
    this.#drivers = drivers;
    this.#devices = new Devices(clock, config.maxDevices);
    const clientId = `gateway-${config.id}`;
    const { evidence } = config;
    this.#evidence = evidence ? new KafkaEvidence(evidence.bootstrap, evidence.topic, clientId) : noEvidence;
    this.#uplink = new Uplink({
      url: config.broker,
      clientId,
      username: config.username,
      password: config.passwordFile === undefined ? undefined : readFileSync(config.passwordFile, 'utf8').trimEnd(),
      clock,
      maxInFlight: MAX_IN_FLIGHT,
      statusTopic: `gateways/${config.id}/status`,
      subscriptions: [`${config.prefix}/+/commands`],
      onMessage: (topic, payload) => this.#onCommand(topic, payload),
      prove: () => this.#evidence.read(this.#offsets, (...found) => this.#devices.found(...found)),
      onReady: () => this.#onReady(),
      log,
    });
    this.#sink = this.#makeSink();
    this.#ports = new Ports({
      clock,
      configs: config.ports,
      max: config.maxPorts,
      open: (port, onClose) => this.#open(port, onClose),
      log,
    });
  }

  async start(): Promise<void> {
    const { stateFile, descriptions, evidence } = this.#config;
    if (descriptions !== undefined) await this.#loadDescriptions(descriptions);
    const state = await readState(stateFile, (reason) => this.#log('state file ignored', { stateFile, reason }));
    this.#offsets = new Map(Object.entries(state.offsets).map(([partition, offset]) => [Number(partition), offset]));
    for (const [id, device] of Object.entries(state.devices)) this.#devices.restore(id, device);
    if (evidence === undefined) {
      this.#log('evidence.bootstrap is not set: after a crash readings on their way may be published twice');
    }
    this.#uplink.start();
    this.#ports.start();
    this.#scheduleCheckpoint();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelCheckpoint?.();
    this.#ports.stop();
    await this.#checkpoint().catch(() => {});
    this.#evidence.close();
    await this.#uplink.stop();
  }

  async #loadDescriptions(directory: string): Promise<void> {
    this.#description = await import('./description.ts');
    const { parseDescription } = this.#description;
    for (const name of readdirSync(directory).filter((file) => file.endsWith('.json'))) {
      const path = join(directory, name);
      const description = parseDescription(readFileSync(path, 'utf8'), path);
      this.#descriptions.set(description.kind, description);
    }
  }

  #makeSink(): Sink {
    const uplink = this.#uplink;
    const { prefix } = this.#config;
    return {
      get isReady() {
        return uplink.isReady;
      },
      publish: (reading, done) => uplink.publish(this.#messageOf(reading), done),
      publishResult: (device, command, status) =>
        uplink.publish({ topic: `${prefix}/${device.id}/results`, payload: JSON.stringify({ command, status }) }),
    };
  }

  /** The reading as it is published: its fields named if its kind is described and it is as described, else as it came. */
  #messageOf({ device, epoch, sequence, record, time }: Pending): Message {
    const userProperties: Record<string, string> = {
      device: device.id,
      epoch: String(epoch),
      sequence: String(sequence),
    };
    if (time !== undefined) userProperties['time'] = String(time);
    const topic = `${this.#config.prefix}/${device.id}/readings`;
    const contentType = 'application/cbor';
    const description = this.#descriptions.get(device.kind);
    if (description === undefined || this.#description === undefined) {
      return { topic, payload: record, contentType, userProperties };
    }
    const { describe, encodeNamed } = this.#description;
    userProperties['kind'] = `${description.kind}/${description.version}`;
    try {
      const named = describe(description, record);
      return {
        topic,
        payload: encodeNamed(time === undefined ? named : { time, ...named }),
        contentType,
        userProperties,
      };
    } catch (error) {
      userProperties['invalid'] = (error as Error).message;
      return { topic, payload: record, contentType, userProperties };
    }
  }

  async #open(config: PortConfig, onClose: () => void): Promise<Port> {
    let session: Session | undefined;
    const transport = await this.#drivers[config.driver](config.path, config.baud, {
      onData: (bytes) => session?.push(bytes),
      onClose: () => {
        if (session?.device !== undefined) this.#sessions.delete(session.device);
        session?.close();
        onClose();
      },
    });
    session = new Session({
      clock: this.#clock,
      devices: this.#devices,
      sink: this.#sink,
      window: this.#config.window,
      send: (bytes) => transport.write(bytes),
      log: (message, details) => this.#log(message, { port: config.path, ...details }),
      onDevice: (on, device) => this.#onDevice(on, device),
    });
    return transport;
  }

  #onDevice(session: Session, device: Device): void {
    const before = this.#sessions.get(device);
    if (before !== undefined && before !== session) before.detach();
    this.#sessions.set(device, session);
    const description = this.#descriptions.get(device.kind);
    if (description === undefined) return;
    const topic = `${this.#config.prefix}/${device.id}/description`;
    this.#uplink.publish({
      topic,
      payload: JSON.stringify(description),
      retain: true,
      contentType: 'application/json',
    });
  }

  #onCommand(topic: string, payload: Buffer): void {
    const id = topic.slice(this.#config.prefix.length + 1, -'/commands'.length);
    const name = payload.length <= 64 ? payload.toString('latin1') : `${payload.length} bytes`;
    for (const [device, session] of this.#sessions) if (device.id === id) session.command(name, payload);
  }

  #onReady(): void {
    for (const device of this.#devices) device.resume();
  }

  #scheduleCheckpoint(): void {
    this.#cancelCheckpoint = this.#clock.after(this.#config.checkpointSeconds * 1000, () => {
      this.#checkpoint()
        .catch((error: Error) => this.#log('no checkpoint this time', { reason: error.message }))
        .finally(() => {
          if (!this.#isStopped) this.#scheduleCheckpoint();
        });
    });
  }

  /** First where the log ends, then wait until everything that may stand before it was answered, then what is known. */
  async #checkpoint(): Promise<void> {
    if (!this.#uplink.isReady) return;
    const offsets = await this.#evidence.ends();
    await this.#uplink.flushed();
    const devices = this.#devices.state();
    await writeState(this.#config.stateFile, { version: 1, offsets: Object.fromEntries(offsets), devices });
    this.#offsets = offsets;
  }
}
