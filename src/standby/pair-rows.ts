/**
 * The leader's side of what a pair has in common besides records, topics and committed offsets: MQTT sessions, shared
 * groups, wills, retained messages and quotas, as the rows of the metadata database that they are. A store in front of the
 * store notes which of them change; the follower asks for all of them once, and for what changed since from then on.
 */
import type { Random } from '../env.ts';
import { PAIR_CHANGES_MAX_BYTES, PAIR_PAGE_BYTES } from '../limits.ts';
import { META_PREFIX, type MetaPrefix, metaRange } from '../store/keys.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';
import type { Entry, Range } from '../store/store.ts';

/** In the order of their keys. */
const COPIED: readonly MetaPrefix[] = ['quota', 'retained', 'session'];
const COPIED_BYTES = new Set<number>(COPIED.map((prefix) => META_PREFIX[prefix]));
/** What a noted key costs beside its text. */
const NOTE_BYTES = 64;
const CHANGES_PER_PAGE = 1_024;

export interface Row {
  readonly key: Uint8Array;
  /** null: there is none any more. */
  readonly value: Uint8Array | null;
}

export interface RowsRequest {
  readonly instance: string;
  /** -1: everything. */
  readonly since: number;
  readonly after: Uint8Array;
}

export interface RowsPage {
  readonly instance: string;
  readonly through: number;
  readonly complete: boolean;
  readonly rows: readonly Row[];
}

export interface PairRowsBounds {
  /** Of one answer; a row that is larger comes alone. */
  readonly pageBytes: number;
  /** Of the keys whose change is noted, with what noting one costs. */
  readonly changesMaxBytes: number;
}

export function isCopied(key: Uint8Array): boolean {
  return COPIED_BYTES.has(key[0]!);
}

/** All rows behind the key `after` and, where it is given, up to the key `through`. */
export async function* copiedRows(meta: MetaStore, after: Uint8Array, through?: Uint8Array): AsyncIterable<Entry> {
  for (const prefix of COPIED) {
    const range = metaRange(prefix);
    if (Buffer.compare(range.lt, after) <= 0) continue;
    for await (const entry of meta.entries(Buffer.compare(after, range.gte) > 0 ? { ...range, gte: after } : range)) {
      if (through !== undefined && Buffer.compare(entry.key, through) > 0) return;
      if (Buffer.compare(entry.key, after) > 0) yield entry;
    }
  }
}

export class PairRows implements MetaStore {
  readonly #meta: MetaStore;
  readonly #bounds: PairRowsBounds;
  /** Changes are counted from the start of the process. */
  readonly #instance: string;
  /** Keys and the number of their last change, ascending; bounded. */
  readonly #changes = new Map<string, number>();
  #changesBytes = 0;
  #last = 0;
  /** What changed up to here is not known any more: who asks from before it has to begin again. */
  #floor = 0;

  constructor(meta: MetaStore, random: Random, bounds: Partial<PairRowsBounds> = {}) {
    this.#meta = meta;
    this.#bounds = { pageBytes: PAIR_PAGE_BYTES, changesMaxBytes: PAIR_CHANGES_MAX_BYTES, ...bounds };
    this.#instance = Buffer.from(random.bytes(12)).toString('base64url');
  }

  /** Bytes of what is noted. */
  get changesBytes(): number {
    return this.#changesBytes;
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#meta.get(key);
  }

  entries(range: Range): AsyncIterable<Entry> {
    return this.#meta.entries(range);
  }

  /** Noted when it is done: whoever asked before has the number before. Of a failed one it is not known what it did. */
  async write(operations: readonly MetaOperation[]): Promise<void> {
    try {
      await this.#meta.write(operations);
    } finally {
      for (const { key } of operations) if (isCopied(key)) this.#note(Buffer.from(key).toString('latin1'));
    }
  }

  close(): Promise<void> {
    return this.#meta.close();
  }

  #note(key: string): void {
    this.#forget(key);
    this.#changes.set(key, ++this.#last);
    this.#changesBytes += key.length + NOTE_BYTES;
    for (const [oldest, number] of this.#changes) {
      if (this.#changesBytes <= this.#bounds.changesMaxBytes) break;
      this.#forget(oldest);
      this.#floor = number;
    }
  }

  #forget(key: string): void {
    if (this.#changes.delete(key)) this.#changesBytes -= key.length + NOTE_BYTES;
  }

  /** null: the changes asked for are not known any more, everything has to be asked for. */
  async page({ instance, since, after }: RowsRequest): Promise<RowsPage | null> {
    if (since < 0) return this.#scan(after);
    if (instance !== this.#instance || since < this.#floor || since > this.#last) return null;
    // A pair has one follower, and it has these.
    for (const [key, number] of this.#changes) {
      if (number > since) break;
      this.#forget(key);
      this.#floor = number;
    }
    return this.#changed(since);
  }

  async #changed(since: number): Promise<RowsPage> {
    const rows: Row[] = [];
    let bytes = 0;
    let through = since;
    // As it is now: what is noted while the values are read comes with the next page.
    const noted = [...this.#changes].slice(0, CHANGES_PER_PAGE);
    for (const [text, number] of noted) {
      if (bytes >= this.#bounds.pageBytes) return { instance: this.#instance, through, complete: false, rows };
      const key = Buffer.from(text, 'latin1');
      const value = (await this.#meta.get(key)) ?? null;
      rows.push({ key, value });
      bytes += key.length + (value?.length ?? 0);
      through = number;
    }
    return { instance: this.#instance, through, complete: noted.length < CHANGES_PER_PAGE, rows };
  }

  async #scan(after: Uint8Array): Promise<RowsPage> {
    const through = this.#last;
    const rows: Row[] = [];
    let bytes = 0;
    for await (const { key, value } of copiedRows(this.#meta, after)) {
      if (bytes >= this.#bounds.pageBytes) return { instance: this.#instance, through, complete: false, rows };
      rows.push({ key, value });
      bytes += key.length + value.length;
    }
    return { instance: this.#instance, through, complete: true, rows };
  }
}
