/** All sources of a broker: made from the configuration, changed by a reload. */
import type { Env } from '../env.ts';
import type { Log } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { MetaStore } from '../store/meta.ts';
import { systemFiles, type TailFiles } from './files.ts';
import type { SourceSettings, SourceStatus } from './settings.ts';
import { type SourceCounters, sourceMetrics } from './source-metrics.ts';
import { TailSource } from './tail-source.ts';

export interface SourcesDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly meta: MetaStore;
  /** Default: those of the machine. */
  readonly files?: TailFiles;
}

export class Sources {
  readonly #dependencies: SourcesDependencies;
  readonly #running = new Map<string, TailSource>();
  readonly #countersOf: (source: string) => SourceCounters;

  constructor(dependencies: SourcesDependencies) {
    this.#dependencies = dependencies;
    this.#countersOf = sourceMetrics(dependencies.metrics, () => this.status());
  }

  /** Starts what is new, stops what is gone, starts anew what has changed; each goes on where it was. */
  async update(sections: ReadonlyMap<string, SourceSettings>): Promise<void> {
    const { files = systemFiles, ...parts } = this.#dependencies;
    for (const [name, source] of this.#running) {
      const settings = sections.get(name);
      if (settings !== undefined && JSON.stringify(settings) === JSON.stringify(source.settings)) continue;
      await source.stop();
      this.#running.delete(name);
    }
    for (const [name, settings] of sections) {
      if (this.#running.has(name)) continue;
      const source = new TailSource(name, settings, { ...parts, files, counters: this.#countersOf(name) });
      await source.start();
      this.#running.set(name, source);
    }
  }

  status(): SourceStatus[] {
    return [...this.#running.values()].map((source) => source.status());
  }

  async stop(): Promise<void> {
    for (const source of this.#running.values()) await source.stop();
    this.#running.clear();
  }
}
