/**
 * The whole way, with nothing replaced but the copper: the C library with its flash in a file, a noisy line between two ptys,
 * the gateway's process, the broker's process. Everything may lose its power at any instant; at the end the log is compared
 * with what the devices wrote down when a write to flash had completed.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { decode } from 'cbor-x';
import { Kafka, logLevel } from 'kafkajs';
import type { Description } from '../description.ts';

export interface SimulationOptions {
  readonly directory: string;
  /** dist/: main.js is the broker, gateway.js the gateway. */
  readonly dist: string;
  /** Where sim_device and sim_line are. */
  readonly tools: string;
  readonly baud: number;
  /** Probability a byte that it is flipped, dropped or doubled by a random one. */
  readonly noise: number;
  readonly recordSize: number;
  readonly seed: number;
  /** Lines, each with a device; 1 by default. */
  readonly ports?: number;
  /** How the gateway opens its ports; tty by default. */
  readonly driver?: 'serialport' | 'tty';
  /** What kind of device they are, as the gateway is told. */
  readonly description?: Description;
  readonly log?: (line: string) => void;
}

export type Verdict = {
  readonly journalled: number;
  readonly stored: number;
  readonly missing: number[];
  readonly doubled: number[];
  readonly outOfOrder: number[];
};

const deviceName = (port: number): string => `sim-${port + 1}`;
const TOPIC = 'mqtt';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

export class Simulation {
  readonly #options: SimulationOptions;
  readonly #processes = new Map<string, ChildProcess>();
  #mqtt = 0;
  #kafka = 0;
  #run = 0;
  #random: number;
  /** Power cuts so far, by what lost its power. */
  readonly cuts: Record<string, number> = { device: 0, gateway: 0, broker: 0, cable: 0 };

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#random = options.seed | 1;
    mkdirSync(options.directory, { recursive: true });
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }

  #log(line: string): void {
    this.#options.log?.(line);
  }

  /** xorshift32, 0 <= result < below. */
  random(below: number): number {
    let value = this.#random;
    value ^= value << 13;
    value ^= value >>> 17;
    value ^= value << 5;
    this.#random = value;
    return (value >>> 0) % below;
  }

  #spawn(name: string, command: string, args: readonly string[]): ChildProcess {
    const env = { ...process.env, HEADWATER_NODE: process.execPath, MALLOC_ARENA_MAX: '1', UV_THREADPOOL_SIZE: '2' };
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    child.stdout!.on('data', (data: Buffer) => this.#log(`${name}: ${data.toString().trimEnd()}`));
    child.stderr!.on('data', (data: Buffer) => this.#log(`${name}: ${data.toString().trimEnd()}`));
    this.#processes.set(name, child);
    return child;
  }

  async start(): Promise<void> {
    const { tools, baud, noise, seed, description } = this.#options;
    if (description !== undefined) {
      mkdirSync(this.#path('descriptions'), { recursive: true });
      writeFileSync(this.#path('descriptions/sim.json'), JSON.stringify(description));
    }
    this.#mqtt = await freePort();
    this.#kafka = await freePort();
    writeFileSync(
      this.#path('gateway.json'),
      JSON.stringify({
        id: 'sim',
        broker: `mqtt://127.0.0.1:${this.#mqtt}`,
        'evidence.bootstrap': `127.0.0.1:${this.#kafka}`,
        'evidence.topic': TOPIC,
        ...(description !== undefined && { descriptions: 'descriptions' }),
        'state.file': 'gateway-state.json',
        'checkpoint.seconds': 1,
        'ports.max': 64,
        ports: [{ path: this.#path('tty-gateway-*'), baud, driver: this.#options.driver ?? 'tty' }],
      }),
    );
    for (let port = 0; port < (this.#options.ports ?? 1); port++) {
      const line = this.#spawn(`line-${port}`, join(tools, 'sim_line'), [
        this.#path(`tty-device-${port}`),
        this.#path(`tty-gateway-${port}`),
        ...[baud, noise, seed + port].map(String),
      ]);
      await once(line.stdout!, 'data');
    }
    this.startBroker();
    this.startGateway();
  }

  startBroker(): void {
    const { dist } = this.#options;
    this.#spawn('broker', process.execPath, [
      join(dist, 'main.js'),
      'serve',
      ...['--data', this.#path('data')],
      ...['--mqtt', `127.0.0.1:${this.#mqtt}`],
      ...['--kafka', `127.0.0.1:${this.#kafka}`],
      ...['--http', '127.0.0.1:0'],
    ]);
  }

  startGateway(): void {
    // As it is shipped: the launcher replaces itself with node, so that kill and memory are node's.
    this.#spawn('gateway', join(this.#options.dist, '../bin/headwater-gateway'), [
      '--config',
      this.#path('gateway.json'),
    ]);
  }

  /** Starts the device; `cutAt` is the flash operation in which its power goes, 0 for never. */
  startDevice(readings: number, intervalMicroseconds: number, cutAt: number, port = 0): ChildProcess {
    const { tools, baud, recordSize } = this.#options;
    this.#run++;
    return this.#spawn(`device-${port}`, join(tools, 'sim_device'), [
      this.#path(`tty-device-${port}`),
      this.#path(`flash-${port}`),
      this.#path(`journal-${port}`),
      deviceName(port),
      ...[baud, this.#run, readings, recordSize, intervalMicroseconds, cutAt, this.random(1 << 30)].map(String),
      this.#options.description?.kind ?? '',
    ]);
  }

  async kill(name: string): Promise<void> {
    const child = this.#processes.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  togglePlug(): void {
    this.#processes.get('line-0')?.kill('SIGUSR1');
  }

  /** Of the broker's listeners. */
  get addresses(): { readonly mqtt: string; readonly kafka: string } {
    return { mqtt: `mqtt://127.0.0.1:${this.#mqtt}`, kafka: `127.0.0.1:${this.#kafka}` };
  }

  memoryOf(name: string): number {
    const status = readFileSync(`/proc/${this.#processes.get(name)!.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
  }

  /** One device life, ended by a power cut in the middle of a flash operation, between two, or not at all. */
  async deviceLife(): Promise<void> {
    const inFlash = this.random(3) > 0;
    const device = this.startDevice(100_000, 500 + this.random(4000), inFlash ? 1 + this.random(400) : 0);
    const life = 20 + this.random(600);
    const gone = once(device, 'exit');
    const limit = setTimeout(() => device.kill('SIGKILL'), life);
    await gone;
    clearTimeout(limit);
    this.cuts['device']!++;
  }

  /** Random lives until `cuts` power cuts have happened, whoever they hit. */
  async torment(cuts: number): Promise<void> {
    const total = (): number => Object.values(this.cuts).reduce((sum, count) => sum + count, 0);
    while (total() < cuts) {
      const lives = this.deviceLife();
      const dice = this.random(10);
      await wait(this.random(300));
      if (dice < 4) {
        await this.kill('gateway');
        this.cuts['gateway']!++;
        this.startGateway();
      } else if (dice === 4) {
        await this.kill('broker');
        this.cuts['broker']!++;
        this.startBroker();
      } else if (dice === 5) {
        this.togglePlug();
        this.cuts['cable']!++;
        await wait(this.random(800));
        this.togglePlug();
      }
      await lives;
      // Now and then everybody lives long enough that readings get all the way.
      if (this.random(5) === 0) await this.#calm(2000 + this.random(3000));
    }
  }

  async #calm(limit: number): Promise<void> {
    const device = this.startDevice(20, 1000, 0);
    const gone = once(device, 'exit');
    const timer = setTimeout(() => device.kill('SIGKILL'), limit);
    await gone;
    clearTimeout(timer);
  }

  /** Lets the device send all that it holds. False when it did not get there in time. */
  async drain(limit = 60_000): Promise<boolean> {
    const device = this.startDevice(1, 1000, 0);
    const gone = once(device, 'exit');
    const timer = setTimeout(() => device.kill('SIGKILL'), limit);
    await gone;
    clearTimeout(timer);
    return device.exitCode === 0;
  }

  /** Reads the log with a Kafka client that is not ours and compares. */
  async verify(port = 0): Promise<Verdict> {
    const kafka = new Kafka({ brokers: [`127.0.0.1:${this.#kafka}`], logLevel: logLevel.ERROR });
    const admin = kafka.admin();
    await admin.connect();
    const ends = await admin.fetchTopicOffsets(TOPIC);
    await admin.disconnect();
    let left = ends.reduce((sum, { high, low }) => sum + Number(high) - Number(low), 0);
    const consumer = kafka.consumer({ groupId: `verify-${Date.now()}` });
    await consumer.connect();
    await consumer.subscribe({ topic: TOPIC, fromBeginning: true });
    const numbers: number[] = [];
    const sequences: { epoch: number; sequence: number }[] = [];
    await new Promise<void>((resolve, reject) => {
      consumer
        .run({
          eachMessage: async ({ message }) => {
            const { headers } = message;
            if (String(headers?.['device']) === deviceName(port)) {
              numbers.push((decode(message.value!) as { n: number }).n);
              sequences.push({ epoch: Number(headers!['epoch']), sequence: Number(headers!['sequence']) });
            }
            if (--left === 0) resolve();
          },
        })
        .catch(reject);
    });
    await consumer.disconnect();
    return compare(this.#journal(port), numbers, sequences);
  }

  #journal(port: number): number[] {
    const path = this.#path(`journal-${port}`);
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8').trim().split('\n').map(Number);
  }

  async stop(): Promise<void> {
    for (const name of this.#processes.keys()) await this.kill(name);
  }
}

function compare(
  journal: readonly number[],
  numbers: readonly number[],
  sequences: readonly { epoch: number; sequence: number }[],
): Verdict {
  const times = new Map<number, number>();
  for (const number of numbers) times.set(number, (times.get(number) ?? 0) + 1);
  const outOfOrder = numbers.filter((number, i) => {
    if (i === 0) return false;
    const before = sequences[i - 1]!;
    const now = sequences[i]!;
    return number <= numbers[i - 1]! || (before.epoch === now.epoch && now.sequence <= before.sequence);
  });
  return {
    journalled: journal.length,
    stored: numbers.length,
    missing: journal.filter((number) => !times.has(number)),
    doubled: [...times].filter(([, count]) => count > 1).map(([number]) => number),
    outOfOrder,
  };
}
