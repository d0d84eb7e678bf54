/** A broker of the demo: the launcher in a process of its own, with a data directory of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LinkView, TopicView } from '../http/views.ts';

const LAUNCHER = fileURLToPath(new URL('../bin/headwater', import.meta.url));

export interface Listening {
  readonly mqtt: number;
  readonly kafka: number;
  readonly http: number;
}

export class BrokerProcess {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #exited: Promise<number | null>;
  #errors = '';
  #listening: Listening | null = null;

  constructor(name: string, directory: string, config: string) {
    this.name = name;
    const file = join(directory, `${name}.yaml`);
    writeFileSync(file, config);
    const anyPort = ['mqtt', 'kafka', 'http'].flatMap((edge) => [`--${edge}`, '127.0.0.1:0']);
    const args = ['serve', '--config', file, '--data', join(directory, name), '--broker-id', name, ...anyPort];
    const env = { ...process.env };
    // The greeting says which ports were bound; under journald there would be none.
    delete env['JOURNAL_STREAM'];
    this.#process = spawn(LAUNCHER, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process.stderr!.on('data', (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-4_000);
    });
    this.#exited = new Promise((resolve) => {
      this.#process.on('error', (error) => {
        this.#errors += error.message;
        resolve(null);
      });
      this.#process.on('exit', (code) => resolve(code));
    });
  }

  /** Resolves with its ports when it accepts connections. */
  started(): Promise<Listening> {
    return new Promise((resolve, reject) => {
      let output = '';
      this.#process.stdout!.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        const line = /^Listening: (.+)\n/m.exec(output)?.[1];
        if (line === undefined || this.#listening !== null) return;
        const port = (edge: string) => Number(new RegExp(`\\b${edge} \\S+:(\\d+)`).exec(line)?.[1]);
        this.#listening = { mqtt: port('mqtt'), kafka: port('kafka'), http: port('http') };
        resolve(this.#listening);
      });
      void this.#exited.then((code) => reject(new Error(`${this.name} ended with status ${code}\n${this.#errors}`)));
    });
  }

  async topic(name: string): Promise<TopicView | undefined> {
    return ((await this.#get('topics')) as TopicView[]).find((topic) => topic.name === name);
  }

  async link(name: string): Promise<LinkView | undefined> {
    return ((await this.#get('links')) as LinkView[]).find((link) => link.name === name);
  }

  async rssBytes(): Promise<number> {
    return ((await this.#get('broker')) as { rssBytes: number }).rssBytes;
  }

  /** Its exit status after SIGTERM. */
  async stop(): Promise<number | null> {
    this.#process.kill('SIGTERM');
    return this.#exited;
  }

  /** At once, when the demo itself ends in a hurry. */
  kill(): void {
    this.#process.kill('SIGKILL');
  }

  async #get(path: string): Promise<unknown> {
    const answer = await fetch(`http://127.0.0.1:${this.#listening!.http}/api/v1/${path}`);
    if (!answer.ok) throw new Error(`${this.name}: GET ${path} answered ${answer.status}`);
    return answer.json();
  }
}
