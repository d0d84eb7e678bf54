/**
 * The catalog's rows in the metadata database, and a whole copy in a file of its own: without the names the records of a
 * damaged store would be there and nobody could say whose they are. Partition ids ascend and are never used again.
 */
import { decode, encode } from 'cbor-x';
import { HeadwaterError } from '../errors.ts';
import { PARTITIONS_MAX, TOPIC_NAME_MAX_CHARS } from '../limits.ts';
import type { Logger } from '../logger.ts';
import { seal, unseal } from '../store/checksum.ts';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';
import type { Store } from '../store/store.ts';

const ROW_VERSION = 1;
const COPY_FILE = 'catalog';

/** FORMAT.md, catalog row. */
export interface TopicRow {
  readonly v: number;
  readonly name: string;
  readonly id: string;
  readonly internal: boolean;
  readonly partitionIds: readonly number[];
  readonly overrides: Readonly<Record<string, string>>;
}

/** Kafka's rule: [a-zA-Z0-9._-]{1,249}, not "." or "..". Throws INVALID_TOPIC. */
export function checkTopicName(name: string): void {
  if (/^[a-zA-Z0-9._-]+$/.test(name) && name.length <= TOPIC_NAME_MAX_CHARS && name !== '.' && name !== '..') return;
  throw new HeadwaterError(
    'INVALID_TOPIC',
    `"${name.slice(0, 300)}" is not a topic name: 1 to ${TOPIC_NAME_MAX_CHARS} of a-z A-Z 0-9 . _ -, not "." or ".."`,
  );
}

export class Catalog {
  readonly #meta: MetaStore;
  readonly #store: Store;
  readonly #logger: Logger;
  readonly #rows = new Map<string, TopicRow>();
  #nextPartitionId = 0;
  /** Counts changes: tells whether the database or the copy is newer. */
  #revision = 0;
  #copying: Promise<void> = Promise.resolve();

  /** Found at `load`: the metadata database had lost changes that the copy still knew. */
  lostWrites = false;

  constructor(meta: MetaStore, store: Store, logger: Logger) {
    this.#meta = meta;
    this.#store = store;
    this.#logger = logger;
  }

  get rows(): ReadonlyMap<string, TopicRow> {
    return this.#rows;
  }

  get partitionCount(): number {
    let count = 0;
    for (const row of this.#rows.values()) count += row.partitionIds.length;
    return count;
  }

  /** Reads all rows; those that `damaged` says may be missing come back from the copy. Call `damaged` after the read. */
  async load(damaged: () => boolean): Promise<void> {
    for await (const { key, value } of this.#meta.entries(metaRange('catalog'))) {
      const parts = parseMetaKey(key);
      if (parts[0] === 'next') {
        const [next, revision] = decode(value) as [number, number];
        this.#nextPartitionId = Math.max(this.#nextPartitionId, next);
        this.#revision = revision;
      } else this.#take(decode(value) as TopicRow);
    }
    await this.#compareCopy(damaged());
  }

  #take(row: TopicRow): void {
    if (row.v > ROW_VERSION) {
      throw new HeadwaterError(
        'STORE_FORMAT',
        `topic ${row.name} has catalog row version ${row.v}; known: ${ROW_VERSION}`,
      );
    }
    this.#rows.set(row.name, row);
    for (const id of row.partitionIds) this.#nextPartitionId = Math.max(this.#nextPartitionId, id + 1);
  }

  /** A copy that is newer than the database shows that the database has lost writes: then the copy is right. */
  async #compareCopy(damaged: boolean): Promise<void> {
    const sealed = await this.#store.readFile(COPY_FILE).catch(() => undefined);
    const bytes = sealed === undefined ? null : unseal(sealed);
    if (bytes === null) {
      if (damaged || sealed !== undefined) this.#logger.error({}, 'the copy of the catalog cannot be read');
      return;
    }
    try {
      const copy = decode(bytes) as { next: number; revision: number; topics: TopicRow[] };
      if (copy.revision <= this.#revision && !damaged) return;
      this.lostWrites = copy.revision > this.#revision;
      if (this.lostWrites) this.#rows.clear();
      this.#revision = Math.max(this.#revision, copy.revision);
      for (const row of copy.topics) if (!this.#rows.has(row.name)) this.#take(row);
      this.#nextPartitionId = Math.max(this.#nextPartitionId, copy.next);
    } catch (error) {
      if (error instanceof HeadwaterError) throw error;
      this.#logger.error({ error }, 'the copy of the catalog cannot be read');
      return;
    }
    await this.#meta.write([...[...this.#rows.values()].map((row) => this.#rowOperation(row)), this.#nextOperation()]);
  }

  #rowOperation(row: TopicRow): MetaOperation {
    return { key: metaKey('catalog', 'topic', row.name), value: encode(row) };
  }

  #nextOperation(): MetaOperation {
    return { key: metaKey('catalog', 'next'), value: encode([this.#nextPartitionId, this.#revision]) };
  }

  /** Ids for `count` new partitions; durable with the row that uses them. Throws INVALID_PARTITIONS above the bound. */
  takePartitionIds(count: number): number[] {
    if (this.partitionCount + count > PARTITIONS_MAX) {
      throw new HeadwaterError(
        'INVALID_PARTITIONS',
        `${count} more partitions: there are ${this.partitionCount}, a broker has at most ${PARTITIONS_MAX}`,
      );
    }
    return Array.from({ length: count }, () => this.#nextPartitionId++);
  }

  /** Partition ids seen in the data of a store whose catalog is older. */
  reservePartitionId(id: number): void {
    this.#nextPartitionId = Math.max(this.#nextPartitionId, id + 1);
  }

  async put(row: TopicRow): Promise<void> {
    this.#revision++;
    await this.#meta.write([this.#rowOperation(row), this.#nextOperation()]);
    this.#rows.set(row.name, row);
    this.#copy();
  }

  /** Removes the row and what `operations` name, together. */
  async remove(name: string, operations: readonly MetaOperation[]): Promise<void> {
    this.#revision++;
    await this.#meta.write([
      { key: metaKey('catalog', 'topic', name), value: null },
      this.#nextOperation(),
      ...operations,
    ]);
    this.#rows.delete(name);
    this.#copy();
  }

  #copy(): void {
    this.#copying = this.#copying
      .then(() => {
        const copy = {
          v: ROW_VERSION,
          next: this.#nextPartitionId,
          revision: this.#revision,
          topics: [...this.#rows.values()],
        };
        return this.#store.writeFile(COPY_FILE, seal(encode(copy)));
      })
      .catch((error: unknown) => {
        this.#logger.warn({ error }, 'the copy of the catalog could not be written');
      });
  }

  async close(): Promise<void> {
    await this.#copying;
  }
}

/** The row of a topic; `v` is what this version writes. */
export function topicRow(
  name: string,
  id: string,
  internal: boolean,
  partitionIds: readonly number[],
  overrides: ReadonlyMap<string, string>,
): TopicRow {
  return { v: ROW_VERSION, name, id, internal, partitionIds, overrides: Object.fromEntries(overrides) };
}
