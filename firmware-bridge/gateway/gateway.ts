/** The wiring: ports, sessions, devices, the broker, the checkpoint. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from './clock.ts';
import type { Position } from './commands.ts';
import { Commands } from './commands.ts';
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
import type { Incoming, Message } from './uplink.ts';
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
  /** As they go into each record's header, so that whoever reads it later needs nothing else. */
  readonly #units = new Map<Description, string>();
  /** Loaded, with its CBOR decoder, when there are descriptions. */
  #description: typeof import('./description.ts') | undefined;
  readonly #sessions = new Map<Device, Session>();
  readonly #uplink: Uplink;
  readonly #evidence: Evidence;
  readonly #ports: Ports;
  readonly #sink: Sink;
  readonly #commands: Commands;
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
    this.#evidence = evidence
      ? new KafkaEvidence(evidence.bootstrap, evidence.topic, clientId, (range) =>
          log('records wait for their replicas (acks=all); nothing is published before they are known', range),
        )
      : noEvidence;
    this.#uplink = new Uplink({
      url: config.broker,
      clientId,
      username: config.username,
      password: config.passwordFile === undefined ? undefined : readFileSync(config.passwordFile, 'utf8').trimEnd(),
      clock,
      maxInFlight: MAX_IN_FLIGHT,
      statusTopic: `gateways/${config.id}/status`,
      subscriptions: [`${config.prefix}/+/commands`],
      sessionExpirySeconds: config.commandsHours * 3600,
      onMessage: (message, done) => this.#onCommand(message, done),
      prove: () => this.#evidence.read(this.#offsets, (...found) => this.#devices.found(...found)),
      onReady: () => this.#onReady(),
      log,
    });
    this.#sink = this.#makeSink();
    this.#commands = new Commands({
      path: config.commandsFile,
      clock,
      log,
      publishResult: (device, command, status, done) =>
        this.#uplink.publish(
          { topic: `${config.prefix}/${device}/results`, payload: JSON.stringify({ command, status }) },
          (stored) => stored && done(),
        ),
    });
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
    this.#commands.load();
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
    await this.#commands.written();
    this.#evidence.close();
    await this.#uplink.stop();
  }

  async #loadDescriptions(directory: string): Promise<void> {
    this.#description = await import('./description.ts');
    const { parseDescription, unitsOf } = this.#description;
    for (const name of readdirSync(directory).filter((file) => file.endsWith('.json'))) {
      const path = join(directory, name);
      const description = parseDescription(readFileSync(path, 'utf8'), path);
      this.#descriptions.set(description.kind, description);
      const units = unitsOf(description);
      if (units !== '') this.#units.set(description, units);
    }
  }

  #makeSink(): Sink {
    const uplink = this.#uplink;
    return {
      get isReady() {
        return uplink.isReady;
      },
      publish: (reading, done) => uplink.publish(this.#messageOf(reading), done),
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
      const units = this.#units.get(description);
      if (units !== undefined) userProperties['units'] = units;
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
      commands: this.#commands,
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

  /** Only for devices that were here: another gateway hears of it as well. */
  #onCommand(
    { topic, payload, isRepeat, expirySeconds, userProperties }: Incoming,
    done: (error: Error | null) => void,
  ) {
    const id = topic.slice(this.#config.prefix.length + 1, -'/commands'.length);
    if (!this.#commands.isHome(id)) {
      done(null);
      return;
    }
    const name = payload.length <= 64 ? payload.toString('latin1') : `${payload.length} bytes`;
    const expiresAt = expirySeconds === undefined ? undefined : this.#clock.wall() + expirySeconds * 1000;
    const position = positionOf(userProperties);
    this.#commands.add(id, { name, payload, expiresAt, isRepeat, position }, (error) => {
      done(error);
      const device = this.#devices.find(id);
      if (error === null && device !== undefined) this.#sessions.get(device)?.command();
    });
  }

  #onReady(): void {
    for (const device of this.#devices) device.resume();
    this.#commands.resume();
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

/** Where in the broker's log the message stands; undefined when the broker does not say so. */
function positionOf(properties: Incoming['userProperties']): Position | undefined {
  const offset = Number(properties['headwater-offset'] ?? Number.NaN);
  if (!Number.isSafeInteger(offset)) return undefined;
  return { partition: `${String(properties['headwater-topic'])}/${String(properties['headwater-partition'])}`, offset };
}
