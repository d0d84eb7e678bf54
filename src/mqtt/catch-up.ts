/** Lets those that are behind read the log: a bounded number at a time, one bounded step each, in turn. */
import { MQTT_CATCH_UP_READERS_MAX } from '../limits.ts';
import type { Logger } from '../logger.ts';
import type { CatchingUp } from './target.ts';

export class CatchUp {
  readonly #logger: Logger;
  readonly #queue = new Set<CatchingUp>();
  readonly #running = new Set<CatchingUp>();
  #stopped = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Those that wait or read now. */
  get size(): number {
    return this.#queue.size + this.#running.size;
  }

  schedule(reader: CatchingUp): void {
    if (this.#stopped) return;
    this.#queue.add(reader);
    this.#run();
  }

  stop(): void {
    this.#stopped = true;
    this.#queue.clear();
  }

  #run(): void {
    for (const reader of this.#queue) {
      if (this.#running.size >= MQTT_CATCH_UP_READERS_MAX) return;
      // One that is scheduled while it runs stays queued: it runs again afterwards.
      if (this.#running.has(reader)) continue;
      this.#queue.delete(reader);
      this.#running.add(reader);
      reader.step().then(
        (more) => this.#done(reader, more),
        (error: unknown) => {
          this.#logger.error({ error }, 'an MQTT subscriber could not read its backlog');
          this.#done(reader, false);
        },
      );
    }
  }

  #done(reader: CatchingUp, more: boolean): void {
    this.#running.delete(reader);
    if (more && !this.#stopped) this.#queue.add(reader);
    this.#run();
  }
}
