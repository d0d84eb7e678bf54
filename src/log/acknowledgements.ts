/** The answers of one partition's appends: at once, or with acks=all when the in-sync replicas have what was stored. */
import { HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { AppendGroup } from './append-queue.ts';

/** What answers ask of the partition. */
interface Answering {
  readonly name: string;
  readonly highWatermark: number;
  readonly inSyncCount: number;
  readonly topic: { readonly config: { readonly 'min.insync.replicas': number } };
}

export class Acknowledgements {
  readonly #partition: Answering;
  readonly #logger: Logger;
  /** acks=all groups above the high watermark, in offset order. */
  #parked: AppendGroup[] = [];

  constructor(partition: Answering, logger: Logger) {
    this.#partition = partition;
    this.#logger = logger;
  }

  /** The group is stored: answers it, or parks it until the high watermark passes it. */
  stored(group: AppendGroup): void {
    if (group.acks === -1 && group.lastOffset >= this.#partition.highWatermark) this.#parked.push(group);
    else this.#answer(group, null, group.baseOffset);
  }

  refuse(group: AppendGroup, error: HeadwaterError): void {
    this.#answer(group, error, -1);
  }

  /** The high watermark or the ISR changed: answers what it has passed. */
  settle(): void {
    const { highWatermark, inSyncCount: have } = this.#partition;
    const wanted = this.#partition.topic.config['min.insync.replicas'];
    let settled = 0;
    while (settled < this.#parked.length && this.#parked[settled]!.lastOffset < highWatermark) settled++;
    const groups = this.#parked.splice(0, settled);
    for (const group of groups) {
      if (have >= wanted) this.#answer(group, null, group.baseOffset);
      else {
        const message = `${this.#partition.name}: stored, but only ${have} of ${wanted} replicas are in sync`;
        this.#answer(group, new HeadwaterError('NOT_ENOUGH_REPLICAS_AFTER_APPEND', message), -1);
      }
    }
  }

  /** The replicas will not confirm any more: everything parked is told why. */
  abandon(error: HeadwaterError): void {
    for (const group of this.#parked.splice(0)) this.#answer(group, error, -1);
  }

  #answer(group: AppendGroup, error: HeadwaterError | null, baseOffset: number): void {
    const { dones } = group;
    for (let i = 0; i < dones.length; i++) {
      try {
        dones[i]!(error, error === null ? baseOffset + i : -1);
      } catch (thrown) {
        this.#logger.error({ error: thrown, partition: this.#partition.name }, 'an append completion failed');
      }
    }
  }
}
