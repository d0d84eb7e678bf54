/**
 * The metadata database behind a group commit, its values under a checksum: what is written while a commit is in flight shares the next one. After a
 * failed write the database is reopened before the next (LevelDB stays failed until then), so that a disk that was full
 * or read-only for a while needs no restart.
 */
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import { seal, unseal } from './checksum.ts';
import type { MetaOperation, MetaStore } from './meta.ts';
import type { Database, Entry, Range } from './store.ts';

/** One synced write of the metadata database; more waits for the next. */
const META_COMMIT_MAX_BYTES = 1024 * 1024;
const SCAN_STEP_ENTRIES = 256;
const SCAN_STEP_BYTES = 256 * 1024;

interface Pending {
  readonly operations: readonly MetaOperation[];
  readonly resolve: () => void;
  readonly reject: (error: HeadwaterError) => void;
}

export class GroupCommitMetaStore implements MetaStore {
  readonly #reopen: () => Promise<Database>;
  readonly #onDamage: (key: Uint8Array) => void;
  #database: Database;
  #pending: Pending[] = [];
  #running: Promise<void> | null = null;
  #failed = false;
  /** Why the last commit failed; null: it did not. */
  failure: HeadwaterError | null = null;
  /** Told of every failed commit. */
  onFailure: (error: HeadwaterError) => void = () => {};
  #closed = false;

  /** `reopen` opens the database again after it was closed because of a failed write; `onDamage` hears of damaged values. */
  constructor(database: Database, reopen: () => Promise<Database>, onDamage: (key: Uint8Array) => void = () => {}) {
    this.#database = database;
    this.#reopen = reopen;
    this.#onDamage = onDamage;
  }

  /** A damaged value is reported and then as good as absent. */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    const sealed = await this.#database.get(key);
    return sealed === undefined ? undefined : (this.#open(key, sealed) ?? undefined);
  }

  #open(key: Uint8Array, sealed: Uint8Array): Uint8Array | null {
    const content = unseal(sealed);
    if (content === null) this.#onDamage(key);
    return content;
  }

  async *entries(range: Range): AsyncIterable<Entry> {
    const scanner = this.#database.scan(range);
    try {
      for (;;) {
        const step = await scanner.next(SCAN_STEP_ENTRIES, SCAN_STEP_BYTES);
        if (step.length === 0) return;
        for (const { key, value } of step) {
          const content = this.#open(key, value);
          if (content !== null) yield { key, value: content };
        }
      }
    } finally {
      await scanner.close();
    }
  }

  write(operations: readonly MetaOperation[]): Promise<void> {
    if (this.#closed) {
      return Promise.reject(new HeadwaterError('SHUTTING_DOWN', 'the metadata database is closed'));
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ operations, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    // Everything that is written in this turn of the event loop joins the first commit.
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const group: Pending[] = [];
      try {
        await this.#commit(group);
        this.failure = null;
        for (const { resolve } of group) resolve();
      } catch (cause) {
        this.#failed = true;
        const error = asHeadwaterError(cause);
        if (group.length === 0) group.push(...this.#pending.splice(0));
        this.failure = error;
        for (const { reject } of group) reject(error);
        this.onFailure(error);
      }
    }
    this.#running = null;
  }

  async #commit(group: Pending[]): Promise<void> {
    if (this.#failed) {
      await this.#database.close().catch(() => {});
      this.#database = await this.#reopen();
      this.#failed = false;
    }
    const batch = this.#database.batch();
    let taken = 0;
    while (taken < this.#pending.length && (taken === 0 || batch.byteLength < META_COMMIT_MAX_BYTES)) {
      const pending = this.#pending[taken++]!;
      for (const { key, value } of pending.operations) {
        if (value === null) batch.del(key);
        else batch.put(key, seal(value));
      }
      group.push(pending);
    }
    this.#pending.splice(0, taken);
    await batch.commit();
  }

  /** Commits what is queued, then closes. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#running;
    await this.#database.close();
  }
}
