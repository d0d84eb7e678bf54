/**
 * What a start does with the slices it finds: sealed ones are taken at their summary's word and not opened; the one that
 * was written last is opened and the tail of it, at most a chunk or two, is read. What cannot be opened is repaired, what
 * cannot be repaired is moved to quarantine; the log starts in any case.
 */
import { asHeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { batchKey, chunkRecordKey, parseBatchKey, parseSliceName } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';
import type { Database } from '../store/store.ts';
import { baseOffsetOf, producerIdOf } from '../wire/batch/record-batch.ts';
import { batchDamage, type DamagedRange, eachBatch, readRuns } from './chunk-scan.ts';
import type { ProducerSnapshot } from './producer-state.ts';
import { ProducerState } from './producer-state.ts';
import { RunTable } from './run-table.ts';
import { Slice, type Slices } from './slice.ts';
import { sealOperations, sliceSummaryRange, summaryOf, summarySliceId, unsealOperations } from './slice-writer.ts';

export interface FoundSlice {
  readonly slice: Slice;
  /** One run for each stretch of a partition's offsets in it. */
  readonly summary: RunTable;
}

export interface Recovered {
  /** Ascending by id. */
  readonly slices: readonly FoundSlice[];
  /** The slice to go on writing to, its database open and lent; null: begin a new one. */
  readonly resume: Slice | null;
  /** The metadata database does not know chunks that were closed: it has lost writes. */
  readonly metaBehind: boolean;
  readonly nextSliceId: number;
  readonly nextChunkId: number;
  /** By partition id: snapshots with the tail applied. */
  readonly producers: ReadonlyMap<number, ProducerState>;
  readonly damaged: readonly DamagedRange[];
  /** Slices that had to be repaired or quarantined, or whose files were gone; `last`: the newest one, with all it held. */
  readonly troubled: readonly { readonly slice: string; readonly reason: string; readonly last: boolean }[];
}

export interface RecoveryOptions {
  readonly slices: Slices;
  readonly meta: MetaStore;
  readonly logger: Logger;
  /** Chunk up to which `snapshots` are complete. */
  readonly snapshotsThrough: number;
  readonly snapshots: ReadonlyMap<number, ProducerSnapshot>;
}

/** Closed chunks whose snapshots may be missing after a crash or a few failed writes. */
const CHUNKS_BEHIND_MAX = 3;

export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #slices: Slices;
  readonly #producers = new Map<number, ProducerState>();
  readonly #damaged: DamagedRange[] = [];
  #lastClosedChunk = -1;
  readonly #troubled: { slice: string; reason: string; last: boolean }[] = [];

  constructor(options: RecoveryOptions) {
    this.#options = options;
    this.#slices = options.slices;
    for (const [id, snapshot] of options.snapshots) {
      const state = new ProducerState();
      state.restore(snapshot);
      this.#producers.set(id, state);
    }
  }

  async run(): Promise<Recovered> {
    const { meta, logger } = this.#options;
    const summaries = new Map<number, RunTable | null>();
    for await (const { key, value } of meta.entries(sliceSummaryRange())) {
      summaries.set(summarySliceId(key), RunTable.parse(value));
    }
    const names = await this.#slices.store.list();
    const ids = names.map(parseSliceName).filter((id) => id !== null);
    const found: FoundSlice[] = [];
    for (const id of summaries.keys()) {
      if (ids.includes(id)) continue;
      this.#troubled.push({ slice: new Slice(id).name, reason: 'its files are gone', last: false });
      await meta.write(unsealOperations(id));
    }
    const newest = Math.max(0, ...ids);
    let unsealed: Slice | null = null;
    for (const id of ids) {
      const slice = new Slice(id);
      const summary = summaries.get(id) ?? null;
      if (summary !== null) {
        slice.sealed = true;
        this.#describe(slice, summary);
        found.push({ slice, summary });
        continue;
      }
      const tables = await this.#openAndScan(slice, id === newest);
      if (tables === null) continue;
      found.push({ slice, summary: summaryOf(tables) });
      if (id === newest) unsealed = slice;
      else await this.#seal(slice, tables);
    }
    for (const { slice } of found) this.#slices.all.set(slice.id, slice);
    await this.#replayTails(found.map(({ slice }) => slice));
    if (this.#troubled.length > 0) logger.warn({ slices: this.#troubled }, 'parts of the log were damaged');
    const lastChunk = Math.max(0, ...found.map(({ slice }) => slice.lastChunk));
    return {
      slices: found,
      resume: unsealed,
      nextSliceId: Math.max(newest, ...summaries.keys(), 0) + 1,
      nextChunkId: Math.max(lastChunk, this.#options.snapshotsThrough) + 1,
      metaBehind: this.#lastClosedChunk - this.#options.snapshotsThrough > CHUNKS_BEHIND_MAX,
      producers: this.#producers,
      damaged: this.#damaged,
      troubled: this.#troubled,
    };
  }

  #describe(slice: Slice, table: RunTable): void {
    for (let i = 0; i < table.length; i++) {
      const run = table.run(i);
      slice.bytes += run.bytes;
      if (slice.firstChunk < 0 || run.firstChunk < slice.firstChunk) slice.firstChunk = run.firstChunk;
      if (run.lastChunk > slice.lastChunk) slice.lastChunk = run.lastChunk;
      if (run.maxTimestamp > slice.maxTimestamp) slice.maxTimestamp = run.maxTimestamp;
    }
  }

  async #seal(slice: Slice, tables: readonly RunTable[]): Promise<void> {
    slice.sealed = true;
    await this.#options.meta.write(sealOperations(slice.id, tables));
    this.#slices.release(slice);
    await this.#slices.close(slice);
  }

  /** null: the slice could not be read and is in quarantine. */
  async #openAndScan(slice: Slice, last: boolean): Promise<RunTable[] | null> {
    let reason = '';
    for (const repaired of [false, true]) {
      try {
        if (repaired) await this.#slices.store.repair(slice.name);
        const database = await this.#slices.store.open(slice.name, {
          ...this.#slices.databaseOptions(),
          mustExist: repaired,
        });
        this.#slices.adopt(slice, database);
        slice.users++;
        const tables = await this.#scanSlice(slice, database);
        if (repaired) this.#troubled.push({ slice: slice.name, reason: `repaired: ${reason}`, last: false });
        slice.tables = tables;
        for (const table of tables) this.#describe(slice, table);
        return tables;
      } catch (error) {
        reason = error instanceof Error ? error.message : String(error);
        slice.users = 0;
        await this.#slices.close(slice).catch(() => {});
        // A full disk is no damage: the start fails, and nothing is lost when there is space again.
        if (asHeadwaterError(error).code === 'DISK_FULL') throw error;
      }
    }
    this.#slices.all.delete(slice.id);
    this.#troubled.push({ slice: slice.name, reason: `quarantined: ${reason}`, last });
    await this.#slices.store.quarantine(slice.name, `${slice.name} could not be read: ${reason}`);
    return null;
  }

  /** The chunk tables of a slice without a summary; chunks without a record are read and get one. */
  async #scanSlice(_slice: Slice, database: Database): Promise<RunTable[]> {
    const tables: RunTable[] = [];
    const written = database.batch();
    let next = batchKey(0, 0, 0);
    for (;;) {
      const scanner = database.scan({ gte: next });
      const [first] = await scanner.next(1, 1);
      await scanner.close();
      if (first === undefined) break;
      const key = parseBatchKey(first.key);
      if (key === null) throw new Error(`a key of ${first.key.byteLength} bytes in a slice`);
      const { chunkId } = key;
      const stored = await database.get(chunkRecordKey(chunkId));
      let table = stored === undefined ? null : RunTable.parse(stored);
      if (table === null) {
        table = RunTable.of(await readRuns(database, chunkId, (range) => this.#damaged.push(range)));
        written.put(chunkRecordKey(chunkId), table.bytes);
      }
      tables.push(table);
      if (stored !== undefined) this.#lastClosedChunk = Math.max(this.#lastClosedChunk, chunkId);
      next = batchKey(chunkId + 1, 0, 0);
    }
    await written.commit();
    return tables;
  }

  /** Applies the batches behind the snapshots: those of chunks that were not closed, or closed just before the stop. */
  async #replayTails(slices: readonly Slice[]): Promise<void> {
    const { snapshotsThrough, snapshots, logger } = this.#options;
    // Appended offsets ascend; what is behind was applied, or is a copy that came after it.
    const applied = new Map<number, number>();
    for (const slice of slices) {
      if (slice.lastChunk <= snapshotsThrough) continue;
      try {
        const database = await this.#slices.acquire(slice);
        try {
          for (let chunk = Math.max(slice.firstChunk, snapshotsThrough + 1); chunk <= slice.lastChunk; chunk++) {
            await eachBatch(database, chunk, (partitionId, lastOffset, batch) => {
              if (batchDamage(batch, lastOffset) !== null || producerIdOf(batch) < 0) return;
              if (baseOffsetOf(batch) < (applied.get(partitionId) ?? snapshots.get(partitionId)?.through ?? 0)) return;
              applied.set(partitionId, lastOffset + 1);
              const state = this.#producers.get(partitionId) ?? new ProducerState();
              this.#producers.set(partitionId, state);
              state.apply(batch);
            });
          }
        } finally {
          this.#slices.release(slice);
        }
      } catch (error) {
        logger.warn({ slice: slice.name, error }, 'producer state could not be read from a slice');
      }
    }
  }
}
