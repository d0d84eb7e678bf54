/**
 * The metadata database: catalog, groups, sessions, cursors, producer snapshots, ledger. Small values (CBOR), never
 * record data. Each key prefix has one writer (keys.ts). Writes of one turn of the event loop and those that arrive while
 * a commit is in flight share the next synced write, exactly like the log's group commit.
 */
import type { Entry, Range } from './store.ts';

export type MetaOperation = { readonly key: Uint8Array; readonly value: Uint8Array | null };

export interface MetaStore {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** All entries of a range, in order, read in bounded steps. */
  entries(range: Range): AsyncIterable<Entry>;
  /** Applies the operations together (`value: null` deletes). Resolves when durable, in call order. */
  write(operations: readonly MetaOperation[]): Promise<void>;
  close(): Promise<void>;
}
