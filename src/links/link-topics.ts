/** The topics of a link: its partitions come and go with the log's, and its cursors are stored in intervals. */
import type { Clock, Timer } from '../env.ts';
import type { Log, Partition, Topic } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { CursorStore } from './cursor.ts';

const CURSOR_INTERVAL_MS = 1_000;

export interface LinkedPartition {
  start(): void;
  stop(): void;
}

export interface LinkTopicsOptions<P extends LinkedPartition> {
  readonly log: Log;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly cursors: CursorStore;
  selects(topic: string): boolean;
  /** How the partitions of a topic are linked; null: they cannot be. Called again when it has more of them. */
  link(topic: Topic): ((partition: Partition) => P) | null;
}

export class LinkTopics<P extends LinkedPartition> {
  /** By topic id and partition. */
  readonly partitions = new Map<string, P>();
  readonly #options: LinkTopicsOptions<P>;
  #timer: Timer | null = null;

  constructor(options: LinkTopicsOptions<P>) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { log, clock, logger, cursors } = this.#options;
    await cursors.load();
    this.#timer = clock.every(CURSOR_INTERVAL_MS, () => {
      cursors.flush().catch((error) => logger.warn({ err: error }, 'cursors could not be stored'));
    });
    log.onTopicEvent(({ kind, topic }) => {
      if (this.#timer === null) return;
      if (kind === 'deleted') this.#remove(topic);
      else this.#add(topic);
    });
    for (const topic of log.topics()) this.#add(topic);
  }

  #add(topic: Topic): void {
    if (topic.internal || !this.#options.selects(topic.name)) return;
    const link = this.#options.link(topic);
    if (link === null) return;
    for (const partition of topic.partitions) {
      const key = `${topic.id}/${partition.index}`;
      if (this.partitions.has(key)) continue;
      const linked = link(partition);
      this.partitions.set(key, linked);
      linked.start();
    }
  }

  #remove(topic: Topic): void {
    const { cursors, logger } = this.#options;
    for (const [key, linked] of this.partitions) {
      if (!key.startsWith(`${topic.id}/`)) continue;
      linked.stop();
      this.partitions.delete(key);
    }
    cursors.forget(topic.id).catch((error) => logger.warn({ err: error }, 'a cursor could not be deleted'));
  }

  /** No more partitions come, and those there are stop. The cursors are the caller's to flush. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    for (const linked of this.partitions.values()) linked.stop();
  }
}
