/** Who waits for news of one partition: a later log end, a later high watermark, the end of its topic. */
import type { Logger } from '../logger.ts';
import type { Partition, Waiter } from './types.ts';

export class Waiters {
  readonly #logger: Logger;
  readonly #waiting = new Set<Waiter>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  add(waiter: Waiter): void {
    this.#waiting.add(waiter);
  }

  cancel(waiter: Waiter): void {
    this.#waiting.delete(waiter);
  }

  wake(partition: Partition & { readonly name: string }): void {
    if (this.#waiting.size === 0) return;
    for (const waiter of [...this.#waiting]) {
      try {
        waiter.wake(partition);
      } catch (error) {
        this.#logger.error({ error, partition: partition.name }, 'a listener of the log failed');
      }
    }
  }
}
