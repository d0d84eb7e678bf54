/**
 * Where a link is in each partition, in the metadata store under `link | name | topic id | partition`. Keyed by topic id: a
 * topic that was deleted and created again starts afresh. A cursor is written at once when the producer changes (nothing may
 * be sent under a producer id that a crash would forget) and otherwise in intervals: after a crash the link looks upstream
 * at what it had sent beyond it (evidence.ts).
 */
import { decode, encode } from 'cbor-x';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';

export interface Cursor {
  /** Everything below it is acknowledged upstream, not for upstream, or in the ledger. */
  readonly offset: number;
  /** Sequence of the next record to be sent. */
  readonly sequence: number;
  readonly producerId: number;
  readonly producerEpoch: number;
  /** The upstream offset after the last acknowledged record: what we sent later can only be from here on. */
  readonly upstreamNext: number;
  readonly upstreamTopic: string;
  readonly upstreamPartition: number;
  /** 32 hex digits. */
  readonly upstreamTopicId: string;
  readonly clusterId: string | null;
  /** By which records were chosen (selection.ts). */
  readonly selection: string;
}

const VERSION = 1;
const NO_SELECTION = { selection: '' };

export class CursorStore {
  readonly #meta: MetaStore;
  readonly #link: string;
  readonly #cursors = new Map<string, Cursor>();
  readonly #dirty = new Set<string>();

  constructor(meta: MetaStore, link: string) {
    this.#meta = meta;
    this.#link = link;
  }

  static #name(topicId: string, partition: number): string {
    return `${topicId}/${partition}`;
  }

  async load(): Promise<void> {
    for await (const { key, value } of this.#meta.entries(metaRange('link', this.#link))) {
      const [, topicId, partition] = parseMetaKey(key);
      if (typeof topicId !== 'string' || typeof partition !== 'number') continue;
      const { v, ...cursor } = decode(value) as Cursor & { v: number };
      // Cursors written before there was a selection have none.
      if (v === VERSION) this.#cursors.set(CursorStore.#name(topicId, partition), { ...NO_SELECTION, ...cursor });
    }
  }

  get(topicId: string, partition: number): Cursor | undefined {
    return this.#cursors.get(CursorStore.#name(topicId, partition));
  }

  /** Kept in memory until `flush`. */
  set(topicId: string, partition: number, cursor: Cursor): void {
    const name = CursorStore.#name(topicId, partition);
    this.#cursors.set(name, cursor);
    this.#dirty.add(name);
  }

  #operations(): MetaOperation[] {
    return [...this.#dirty].map((name) => {
      const slash = name.lastIndexOf('/');
      const key = metaKey('link', this.#link, name.slice(0, slash), Number(name.slice(slash + 1)));
      return { key, value: encode({ v: VERSION, ...this.#cursors.get(name)! }) };
    });
  }

  /** Resolves when everything set so far is durable. On failure it stays to be written. */
  async flush(): Promise<void> {
    if (this.#dirty.size > 0) await this.flushWith((operations) => this.#meta.write(operations));
  }

  /** As `flush`; the caller writes the cursors together with something that belongs to them. */
  async flushWith(write: (operations: MetaOperation[]) => Promise<void>): Promise<void> {
    const operations = this.#operations();
    const names = [...this.#dirty];
    this.#dirty.clear();
    try {
      await write(operations);
    } catch (error) {
      for (const name of names) if (this.#cursors.has(name)) this.#dirty.add(name);
      throw error;
    }
  }

  /** The topic is gone for good. */
  async forget(topicId: string): Promise<void> {
    const operations: MetaOperation[] = [];
    for (const name of this.#cursors.keys()) {
      if (!name.startsWith(`${topicId}/`)) continue;
      this.#cursors.delete(name);
      this.#dirty.delete(name);
      operations.push({
        key: metaKey('link', this.#link, topicId, Number(name.slice(topicId.length + 1))),
        value: null,
      });
    }
    if (operations.length > 0) await this.#meta.write(operations);
  }
}
