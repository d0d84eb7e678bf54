/**
 * How far each file was read, in the metadata store under `source | name | number`. A position moves only after the records
 * below it are stored and synced; it is written in intervals, because what was stored beyond it can be told after a crash:
 * the records of a file go into a partition under a producer id of their own, numbered from the file's first record on, and
 * the partition remembers the last number (KIP-98). Written at once, before anything is appended: a new producer id, and
 * whatever changes where records begin and end.
 */
import { decode, encode } from 'cbor-x';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';

/** What decides which records the bytes of a file are, and which partition each goes to. */
export interface Recipe {
  /** Source text of the multi-line pattern; null: one record a line. */
  readonly start: string | null;
  readonly maxBytes: number;
  readonly key: string | null;
  readonly keyPattern: string | null;
  readonly partitions: number;
}

export interface Position {
  readonly device: string;
  readonly inode: string;
  /** Where it was found first. */
  readonly path: string;
  /** Everything below it is stored. */
  readonly offset: number;
  /** CRC-32C of the first `printBytes` bytes: an inode that was given to another file is told by it. */
  readonly printBytes: number;
  readonly print: number;
  /** 32 hex digits. */
  readonly topicId: string;
  /** Producer id and next sequence (0 to 2^31-1) by partition, at `offset`. */
  readonly lanes: readonly (readonly [producerId: number, sequence: number])[];
  readonly recipe: Recipe;
  /** Ends of records that were decided when nothing more seemed to come; those above `offset`. */
  readonly cuts: readonly number[];
  /** Read to its end and closed; its size then. null: being read. */
  readonly doneAt: number | null;
}

const VERSION = 1;
const STARTED = 'started';

export class PositionStore {
  readonly #meta: MetaStore;
  readonly #source: string;
  /** In the order in which they were last written: the first has been quiet the longest. */
  readonly #positions = new Map<number, Position>();
  readonly #dirty = new Set<number>();
  #nextId = 1;
  /** The source has looked for files before, in this life or an earlier one. */
  started = false;

  constructor(meta: MetaStore, source: string) {
    this.#meta = meta;
    this.#source = source;
  }

  async load(): Promise<void> {
    for await (const { key, value } of this.#meta.entries(metaRange('source', this.#source))) {
      const [, id] = parseMetaKey(key);
      if (id === STARTED) this.started = true;
      if (typeof id !== 'number') continue;
      const { v, ...position } = decode(value) as Position & { v: number };
      if (v === VERSION) this.#positions.set(id, position);
      this.#nextId = Math.max(this.#nextId, id + 1);
    }
  }

  entries(): IterableIterator<[number, Position]> {
    return this.#positions.entries();
  }

  get(id: number): Position | undefined {
    return this.#positions.get(id);
  }

  /** Kept in memory until `flush`. */
  set(id: number, position: Position): void {
    this.#positions.delete(id);
    this.#positions.set(id, position);
    this.#dirty.add(id);
  }

  /** Durable when it resolves; gives its id. */
  async add(position: Position): Promise<number> {
    const id = this.#nextId++;
    this.set(id, position);
    await this.flush();
    return id;
  }

  async remove(ids: readonly number[]): Promise<void> {
    if (ids.length === 0) return;
    for (const id of ids) {
      this.#positions.delete(id);
      this.#dirty.delete(id);
    }
    await this.#meta.write(ids.map((id) => ({ key: metaKey('source', this.#source, id), value: null })));
  }

  async markStarted(): Promise<void> {
    if (this.started) return;
    await this.#meta.write([{ key: metaKey('source', this.#source, STARTED), value: encode(VERSION) }]);
    this.started = true;
  }

  get size(): number {
    return this.#positions.size;
  }

  /** Resolves when everything set so far is durable. On failure it stays to be written. */
  async flush(): Promise<void> {
    if (this.#dirty.size === 0) return;
    const ids = [...this.#dirty];
    this.#dirty.clear();
    try {
      await this.#meta.write(
        ids.map((id) => ({
          key: metaKey('source', this.#source, id),
          value: encode({ v: VERSION, ...this.#positions.get(id)! }),
        })),
      );
    } catch (error) {
      for (const id of ids) if (this.#positions.has(id)) this.#dirty.add(id);
      throw error;
    }
  }
}
