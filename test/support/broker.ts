/** A real broker process from dist/, on loopback, with what a test does to it: kill -9, SIGTERM, start again. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child, type Finished } from './process.ts';
import { atEnd, tempDir } from './scope.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const HEADWATER = join(ROOT, 'bin/headwater');
const START_TIMEOUT_MS = 30_000;

export interface BrokerOptions {
  readonly brokerId?: string;
  /** The text of a configuration file. */
  readonly config?: string;
  /** The data directory; a temporary one when absent. */
  readonly data?: string;
  readonly env?: NodeJS.ProcessEnv;
}

export interface Ports {
  readonly mqtt: number;
  readonly kafka: number;
  /** 0: the configuration has no such listener. Another one after each start, unless the configuration names it. */
  readonly kafkas: number;
  readonly http: number;
}

/** One broker over all its lives: the data directory and, after the first start, the ports stay the same. */
export class TestBroker {
  readonly data: string;
  readonly name: string;
  readonly #options: BrokerOptions;
  readonly #configFile: string | null;
  #child: Child | null = null;
  #ports: Ports | null = null;
  /** How often it was started. */
  starts = 0;

  constructor(options: BrokerOptions = {}) {
    this.#options = options;
    this.name = options.brokerId ?? 'headwater';
    const dir = options.data === undefined ? tempDir(this.name) : null;
    this.data = options.data ?? join(dir!, 'data');
    this.#configFile = options.config === undefined ? null : join(dir ?? tempDir(this.name), 'headwater.yaml');
    if (this.#configFile !== null) writeFileSync(this.#configFile, options.config!);
    mkdirSync(this.data, { recursive: true });
    atEnd(async () => {
      if (this.running) await this.kill();
    });
  }

  static async start(options: BrokerOptions = {}): Promise<TestBroker> {
    const broker = new TestBroker(options);
    await broker.start();
    return broker;
  }

  get ports(): Ports {
    if (this.#ports === null) throw new Error(`${this.name} has not been started`);
    return this.#ports;
  }

  /** HOST:PORT for Kafka clients. */
  get bootstrap(): string {
    return `127.0.0.1:${this.ports.kafka}`;
  }

  get mqttUrl(): string {
    return `mqtt://127.0.0.1:${this.ports.mqtt}`;
  }

  get running(): boolean {
    return this.#child?.running ?? false;
  }

  get pid(): number {
    if (this.#child === null) throw new Error(`${this.name} has not been started`);
    return this.#child.pid;
  }

  /** Everything the present process has printed. */
  get output(): string {
    return this.#child === null ? '' : `${this.#child.stdout}\n${this.#child.stderr}`;
  }

  /** The command line of `headwater serve`, without the program. */
  get args(): string[] {
    const port = (edge: keyof Ports) => `127.0.0.1:${this.#ports?.[edge] ?? 0}`;
    const args = ['serve', '--data', this.data];
    for (const edge of ['mqtt', 'kafka', 'http'] as const) args.push(`--${edge}`, port(edge));
    if (this.#options.brokerId !== undefined) args.push('--broker-id', this.#options.brokerId);
    if (this.#configFile !== null) args.push('--config', this.#configFile);
    return args;
  }

  /** A process with these arguments, without waiting for it to listen. */
  spawn(): Child {
    return new Child(HEADWATER, this.args, {
      cwd: ROOT,
      ...(this.#options.env === undefined ? {} : { env: this.#options.env }),
    });
  }

  async start(): Promise<void> {
    if (this.running) throw new Error(`${this.name} runs already`);
    const child = this.spawn();
    this.#child = child;
    this.starts++;
    this.#ports = await child.until(`start of ${this.name}`, START_TIMEOUT_MS, boundPorts);
  }

  /** kill -9: no handler runs, nothing is flushed. */
  async kill(): Promise<void> {
    await this.#running().stop('SIGKILL');
  }

  /** Asks it to stop and waits; says how long it took. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Finished & { readonly ms: number }> {
    const since = performance.now();
    const finished = await this.#running().stop(signal);
    return { ...finished, ms: performance.now() - since };
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Replaces the configuration file; it counts from the next start (or reload). */
  configure(text: string): void {
    if (this.#configFile === null) throw new Error(`${this.name} was made without a configuration file`);
    writeFileSync(this.#configFile, text);
  }

  async http(path: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.ports.http}${path}`);
  }

  /** All samples of /metrics: `name{labels}` -> value. */
  async metrics(): Promise<Map<string, number>> {
    const text = await (await this.http('/metrics')).text();
    const samples = new Map<string, number>();
    for (const line of text.split('\n')) {
      const match = /^([a-zA-Z_:][\w:]*(?:\{.*\})?) (\S+)/.exec(line);
      if (match !== null) samples.set(match[1]!, Number(match[2]));
    }
    return samples;
  }

  /** The sum over all label sets of one metric; 0 when it is absent. */
  async metric(name: string, labels = ''): Promise<number> {
    let sum = 0;
    for (const [key, value] of await this.metrics()) {
      if ((key === name || key.startsWith(`${name}{`)) && key.includes(labels)) sum += value;
    }
    return sum;
  }

  #running(): Child {
    if (this.#child === null) throw new Error(`${this.name} has not been started`);
    return this.#child;
  }
}

/** Reads the addresses out of the greeting, `Listening: mqtt HOST:PORT, kafka ...`; undefined while it is not there. */
function boundPorts(stdout: string): Ports | undefined {
  const listening = /^Listening: (.+)$/m.exec(stdout)?.[1];
  if (listening === undefined) return undefined;
  const ports = new Map(
    listening.split(', ').map((entry) => {
      const [edge = '', address = ''] = entry.split(' ');
      return [edge, Number(address.slice(address.lastIndexOf(':') + 1))];
    }),
  );
  const port = (listener: string) => ports.get(listener) ?? 0;
  return { mqtt: port('mqtt'), kafka: port('kafka'), kafkas: port('kafkas'), http: port('http') };
}
