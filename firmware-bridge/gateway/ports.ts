/** Hot-plug: the configured patterns are looked for again and again; what appears is opened, what vanishes is let go. */
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Clock } from './clock.ts';
import type { PortConfig } from './config.ts';

const SCAN_MS = 1000;

export interface Port {
  close(): void;
}

/** The paths that exist now for a pattern with `*` in its last part, in order. */
export function expand(pattern: string, list: (directory: string) => string[] = listDirectory): string[] {
  const last = basename(pattern);
  const escaped = last.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');
  const regex = new RegExp(`^${escaped}$`);
  const directory = dirname(pattern);
  return list(directory)
    .filter((name) => regex.test(name))
    .sort()
    .map((name) => join(directory, name));
}

function listDirectory(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

export class Ports {
  readonly #clock: Clock;
  readonly #configs: readonly PortConfig[];
  readonly #max: number;
  readonly #open: (config: PortConfig, onClose: () => void) => Promise<Port>;
  readonly #log: (message: string, details?: object) => void;
  /** undefined while it is being opened. */
  readonly #ports = new Map<string, Port | undefined>();
  /** What could not be opened was said once. */
  readonly #complained = new Map<string, string>();
  #cancel: (() => void) | undefined;

  constructor(options: {
    clock: Clock;
    configs: readonly PortConfig[];
    max: number;
    open: (config: PortConfig, onClose: () => void) => Promise<Port>;
    log: (message: string, details?: object) => void;
  }) {
    this.#clock = options.clock;
    this.#configs = options.configs;
    this.#max = options.max;
    this.#open = options.open;
    this.#log = options.log;
  }

  get size(): number {
    return this.#ports.size;
  }

  start(): void {
    this.#scan();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    for (const port of this.#ports.values()) port?.close();
    this.#ports.clear();
  }

  #scan(): void {
    for (const config of this.#configs) {
      for (const path of expand(config.path)) {
        if (this.#ports.has(path)) continue;
        if (this.#ports.size >= this.#max) {
          this.#complain(path, `more than ${this.#max} ports: raise ports.max`);
          continue;
        }
        void this.#openOne({ ...config, path });
      }
    }
    this.#cancel = this.#clock.after(SCAN_MS, () => this.#scan());
  }

  async #openOne(config: PortConfig): Promise<void> {
    const { path } = config;
    this.#ports.set(path, undefined);
    try {
      const port = await this.#open(config, () => {
        this.#ports.delete(path);
        this.#log('port closed', { path });
      });
      if (this.#cancel === undefined) {
        port.close();
        return;
      }
      this.#ports.set(path, port);
      this.#complained.delete(path);
      this.#log('port open', { path });
    } catch (error) {
      this.#ports.delete(path);
      this.#complain(path, (error as Error).message);
    }
  }

  #complain(path: string, reason: string): void {
    if (this.#complained.get(path) === reason) return;
    this.#complained.set(path, reason);
    this.#log('port not opened', { path, reason });
  }
}
