/**
 * Reads the batches of one run in steps. What cannot be read (a damaged batch, a block that LevelDB refuses, a batch that
 * is not there) is reported with its exact range and passed over.
 */
import { asHeadwaterError } from '../errors.ts';
import { batchKey } from '../store/keys.ts';
import type { Database, Entry, Scanner } from '../store/store.ts';
import { baseOffsetOf } from '../wire/batch/record-batch.ts';
import { batchDamage, type DamagedRange, isCorruption } from './chunk-scan.ts';

/** Entries of one step: small batches make many of them. */
const STEP_ENTRIES = 512;

const MISSING = 'batches are missing';

export interface RunBounds {
  readonly partitionId: number;
  readonly chunkId: number;
  /** First offset of the run that belongs to the reader's segment. */
  readonly baseOffset: number;
  readonly lastOffset: number;
}

export class RunScan {
  readonly #database: Database;
  readonly #bounds: RunBounds;
  readonly #onDamage: (range: DamagedRange) => void;
  #scanner: Scanner | null = null;
  /** Entries are read one by one, to come as near to a bad block as can be. */
  #single = false;
  /** Why the next gap is one. */
  #reason = MISSING;
  /** Where the scan goes on. */
  #next: number;
  /** The offset that the next batch must begin at; -1: not known, the scan began inside the run. */
  #due: number;

  /** `from` may lie inside a batch: the first step begins with that batch. */
  constructor(database: Database, bounds: RunBounds, from: number, onDamage: (range: DamagedRange) => void) {
    this.#database = database;
    this.#bounds = bounds;
    this.#onDamage = onDamage;
    this.#next = Math.max(from, bounds.baseOffset);
    this.#due = this.#next === bounds.baseOffset ? bounds.baseOffset : -1;
  }

  /** Sound batches, about `maxBytes`, at least one; empty at the end of the run. */
  async step(maxBytes: number): Promise<Uint8Array[]> {
    while (this.#next <= this.#bounds.lastOffset) {
      let entries: Entry[];
      try {
        this.#scanner ??= this.#scan(this.#next);
        entries = await this.#scanner.next(this.#single ? 1 : STEP_ENTRIES, maxBytes);
      } catch (error) {
        if (!isCorruption(error)) throw error;
        await this.close();
        // Sound entries before the bad block are in the same step: one by one they can be had.
        if (this.#single) await this.#passUnreadable(error);
        this.#single = !this.#single;
        continue;
      }
      if (entries.length === 0) break;
      const batches: Uint8Array[] = [];
      for (const { key, value } of entries) await this.#take(key, value, batches);
      if (batches.length > 0) return batches;
    }
    if (this.#next <= this.#bounds.lastOffset) {
      await this.#lost(this.#bounds.lastOffset, this.#reason);
      this.#next = this.#bounds.lastOffset + 1;
    }
    return [];
  }

  async #take(key: Uint8Array, value: Uint8Array, batches: Uint8Array[]): Promise<void> {
    const lastOffset = Number(Buffer.from(key.buffer, key.byteOffset + 8, 8).readBigUInt64BE());
    const damage = batchDamage(value, lastOffset);
    if (damage !== null) {
      // As good as absent: the next sound batch shows how far the damage goes, a damaged key could lie about it.
      this.#reason = damage;
      return;
    }
    const base = baseOffsetOf(value);
    if (base > (this.#due < 0 ? this.#next : this.#due)) await this.#lost(base - 1, this.#reason);
    batches.push(value);
    this.#reason = MISSING;
    this.#next = lastOffset + 1;
    this.#due = this.#next;
  }

  async #lost(lastOffset: number, reason: string): Promise<void> {
    const firstOffset = this.#due >= 0 ? this.#due : await this.#batchStart();
    this.#onDamage({ partitionId: this.#bounds.partitionId, firstOffset, lastOffset, reason });
  }

  /** Where the batch that contained `#next` began: behind the one before it. */
  async #batchStart(): Promise<number> {
    const { chunkId, partitionId, baseOffset } = this.#bounds;
    const scanner = this.#database.scan({
      gte: batchKey(chunkId, partitionId, baseOffset),
      lt: batchKey(chunkId, partitionId, this.#next),
      reverse: true,
    });
    try {
      const [before] = await scanner.next(1, 1);
      if (before === undefined) return baseOffset;
      return Number(Buffer.from(before.key.buffer, before.key.byteOffset + 8, 8).readBigUInt64BE()) + 1;
    } catch {
      return this.#next;
    } finally {
      await scanner.close();
    }
  }

  #scan(from: number): Scanner {
    const { chunkId, partitionId, lastOffset } = this.#bounds;
    return this.#database.scan({
      gte: batchKey(chunkId, partitionId, from),
      lte: batchKey(chunkId, partitionId, lastOffset),
    });
  }

  /** A block cannot be read: finds the first offset behind it that can, by doubling and then halving. */
  async #passUnreadable(error: unknown): Promise<void> {
    const end = this.#bounds.lastOffset + 1;
    let bad = this.#next;
    let good = end;
    for (let stride = 1; bad + stride < end; stride *= 2) {
      if (await this.#readable(bad + stride)) {
        good = bad + stride;
        break;
      }
      bad += stride;
    }
    while (good - bad > 1) {
      const middle = bad + Math.floor((good - bad) / 2);
      if (await this.#readable(middle)) good = middle;
      else bad = middle;
    }
    const [first] = good < end ? await this.#firstAt(good) : [];
    const nextBase = first === undefined ? end : batchBase(first, good);
    await this.#lost(nextBase - 1, `unreadable: ${asHeadwaterError(error).message}`);
    this.#next = nextBase;
    this.#due = nextBase;
  }

  async #firstAt(offset: number): Promise<Entry[]> {
    const scanner = this.#scan(offset);
    try {
      return await scanner.next(1, 1);
    } finally {
      await scanner.close();
    }
  }

  async #readable(offset: number): Promise<boolean> {
    try {
      await this.#firstAt(offset);
      return true;
    } catch (error) {
      if (isCorruption(error)) return false;
      throw error;
    }
  }

  async close(): Promise<void> {
    const scanner = this.#scanner;
    this.#scanner = null;
    await scanner?.close();
  }
}

/** First offset of a stored entry: of the batch when it is sound, otherwise where it was looked for. */
function batchBase(entry: Entry, offset: number): number {
  const lastOffset = Number(Buffer.from(entry.key.buffer, entry.key.byteOffset + 8, 8).readBigUInt64BE());
  return batchDamage(entry.value, lastOffset) === null ? baseOffsetOf(entry.value) : offset;
}
