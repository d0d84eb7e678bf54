/** A real Chromium, driven over its DevTools protocol: open a page, ask it things, press keys, take pictures. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';

const START_TIMEOUT_MS = 30_000;
const WAIT_TIMEOUT_MS = 10_000;

export interface Viewport {
  readonly width: number;
  readonly height: number;
  readonly mobile?: boolean;
  readonly scheme?: 'light' | 'dark';
}

interface Reply {
  readonly id?: number;
  readonly method?: string;
  readonly params?: {
    readonly entry?: { readonly text: string };
    readonly exceptionDetails?: { readonly text: string };
  };
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

export class Browser {
  readonly #socket: WebSocket;
  readonly #close: () => Promise<void>;
  readonly #waiting = new Map<
    number,
    { resolve: (value: Record<string, unknown>) => void; reject: (error: Error) => void }
  >();
  #next = 1;
  /** Errors of the page: uncaught exceptions and what its console calls an error, refused content included. */
  readonly problems: string[] = [];

  private constructor(socket: WebSocket, close: () => Promise<void>) {
    this.#socket = socket;
    this.#close = close;
    socket.on('message', (data) => {
      const { id, method, params, result, error } = JSON.parse(String(data)) as Reply;
      if (method === 'Log.entryAdded') this.problems.push(params?.entry?.text ?? 'log entry');
      if (method === 'Runtime.exceptionThrown') this.problems.push(params?.exceptionDetails?.text ?? 'exception');
      const call = id === undefined ? undefined : this.#waiting.get(id);
      if (call === undefined) return;
      this.#waiting.delete(id!);
      if (error === undefined) call.resolve(result ?? {});
      else call.reject(new Error(error.message));
    });
  }

  static async start(command = 'chromium'): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), 'headwater-browser-'));
    const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-dev-shm-usage'];
    const child = spawn(command, [...flags, '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'], {
      stdio: 'ignore',
    });
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const portFile = join(profile, 'DevToolsActivePort');
    const until = performance.now() + START_TIMEOUT_MS;
    while (!existsSync(portFile) || !readFileSync(portFile, 'utf8').includes('\n')) {
      if (performance.now() > until || child.exitCode !== null) throw new Error(`${command} did not start`);
      await sleep(50);
    }
    const port = readFileSync(portFile, 'utf8').split('\n')[0]!;
    const targets = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
      type: string;
      webSocketDebuggerUrl: string;
    }[];
    const socket = new WebSocket(targets.find(({ type }) => type === 'page')!.webSocketDebuggerUrl);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', () => resolve());
      socket.once('error', reject);
    });
    const browser = new Browser(socket, async () => {
      // Asked first: its own children go before it does, and none writes into the profile any more.
      await Promise.race([browser.send('Browser.close').then(() => exited), sleep(3_000)]).catch(() => {});
      socket.terminate();
      child.kill('SIGKILL');
      await exited;
      rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    });
    for (const domain of ['Page', 'Runtime', 'Log']) await browser.send(`${domain}.enable`);
    return browser;
  }

  send(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  async open(url: string): Promise<void> {
    await this.send('Page.navigate', { url });
  }

  async view({ width, height, mobile = false, scheme = 'light' }: Viewport): Promise<void> {
    await this.send('Emulation.setDeviceMetricsOverride', { width, height, mobile, deviceScaleFactor: 1 });
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  /** The value of an expression in the page. */
  async ask<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })) as { result: { value: T }; exceptionDetails?: { text: string; exception?: { description?: string } } };
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Until the expression is true in the page. */
  async until(expression: string): Promise<void> {
    const deadline = performance.now() + WAIT_TIMEOUT_MS;
    while (!(await this.ask<boolean>(`Boolean(${expression})`).catch(() => false))) {
      if (performance.now() > deadline) {
        throw new Error(
          `waited in vain for ${expression}; the page says:\n${await this.ask('document.body.innerText')}`,
        );
      }
      await sleep(50);
    }
  }

  async press(key: 'Tab' | 'Enter' | 'Escape'): Promise<void> {
    const codes = { Tab: 9, Enter: 13, Escape: 27 };
    const event = { key, code: key, windowsVirtualKeyCode: codes[key], ...(key === 'Enter' && { text: '\r' }) };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  async type(text: string): Promise<void> {
    await this.send('Input.insertText', { text });
  }

  async picture(file: string): Promise<void> {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    writeFileSync(file, Buffer.from(String(data), 'base64'));
  }

  close(): Promise<void> {
    return this.#close();
  }
}
