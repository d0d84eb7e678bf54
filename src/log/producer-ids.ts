/** Producer ids in blocks: one synced write per thousand, and an id is never given twice, restarts included. */
import { decode, encode } from 'cbor-x';
import { metaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';

export const PRODUCER_ID_BLOCK = 1_000;

export class ProducerIds {
  readonly #meta: MetaStore;
  /** Next to give; from `#end` on ids are not ours yet. */
  #next: number;
  #end: number;
  #reserving: Promise<void> | null = null;

  private constructor(meta: MetaStore, next: number) {
    this.#meta = meta;
    this.#next = next;
    this.#end = next;
  }

  /** `largestSeen`: of all producers in the log, so that a lost block record repeats nothing. */
  static async load(meta: MetaStore, largestSeen: number): Promise<ProducerIds> {
    const stored = await meta.get(metaKey('producerId', 'next'));
    const next = stored === undefined ? 0 : (decode(stored) as number);
    return new ProducerIds(meta, Math.max(next, largestSeen + 1));
  }

  async next(): Promise<number> {
    while (this.#next >= this.#end) {
      this.#reserving ??= this.#reserve().finally(() => {
        this.#reserving = null;
      });
      await this.#reserving;
    }
    return this.#next++;
  }

  /** Ids below `least` are not given any more. */
  async skipTo(least: number): Promise<void> {
    this.#next = Math.max(this.#next, least);
    this.#end = this.#next;
    await this.#reserve();
  }

  async #reserve(): Promise<void> {
    const end = this.#next + PRODUCER_ID_BLOCK;
    await this.#meta.write([{ key: metaKey('producerId', 'next'), value: encode(end) }]);
    this.#end = end;
  }
}
