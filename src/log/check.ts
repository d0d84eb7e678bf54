/**
 * Every invariant of a stopped data directory, checked from what is stored and not from what the log believes: values of
 * the metadata database, batches and their CRCs, chunk records and summaries against the batches, dense offsets, log
 * start and end, producer snapshots. Changes nothing but what opening a LevelDB changes.
 */
import { decode } from 'cbor-x';
import { asHeadwaterError } from '../errors.ts';
import { unseal } from '../store/checksum.ts';
import {
  batchKey,
  chunkRecordKey,
  META_DATABASE,
  META_PREFIX,
  parseBatchKey,
  parseMetaKey,
  parseSliceName,
} from '../store/keys.ts';
import type { Database, Store } from '../store/store.ts';
import type { TopicRow } from './catalog.ts';
import { readRuns } from './chunk-scan.ts';
import { cutBeforeOf, cutRun } from './cuts.ts';
import { type EndStamp, parseStamps, STAMP_FILE } from './end-stamps.ts';
import { missingRanges } from './losses.ts';
import { cutsOf, type PartitionRow } from './partition-store.ts';
import type { ProducerSnapshot } from './producer-state.ts';
import { type Run, RunTable } from './run-table.ts';
import { Segments } from './segments.ts';
import { Slice } from './slice.ts';
import { summaryOf } from './slice-writer.ts';

export interface CheckReport {
  readonly problems: readonly { readonly where: string; readonly what: string }[];
  readonly topics: number;
  readonly partitions: number;
  readonly slices: number;
  readonly chunks: number;
  readonly bytes: number;
}

class Check {
  readonly problems: { where: string; what: string }[] = [];
  readonly #store: Store;
  readonly #names = new Map<number, string>();
  readonly #rows = new Map<number, PartitionRow>();
  readonly #snapshots = new Map<number, ProducerSnapshot>();
  readonly #summaries = new Map<number, RunTable>();
  readonly #segments = new Map<number, Segments>();
  readonly #stamps = new Map<number, EndStamp>();
  topics = 0;
  slices = 0;
  chunks = 0;
  bytes = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  get partitions(): number {
    return this.#names.size;
  }

  #problem(where: string, what: string): void {
    this.problems.push({ where, what });
  }

  async #open<T>(name: string, use: (database: Database) => Promise<T>): Promise<T | null> {
    try {
      const database = await this.#store.open(name, { mustExist: true });
      try {
        return await use(database);
      } finally {
        await database.close();
      }
    } catch (error) {
      this.#problem(name, asHeadwaterError(error).message);
      return null;
    }
  }

  async meta(): Promise<void> {
    await this.#open(META_DATABASE, async (database) => {
      const scanner = database.scan({ gte: Buffer.alloc(1) });
      for (;;) {
        const entries = await scanner.next(1_000, 1 << 20);
        if (entries.length === 0) break;
        for (const { key, value } of entries) this.#metaEntry(key, value);
      }
      await scanner.close();
    });
  }

  #metaEntry(key: Uint8Array, sealed: Uint8Array): void {
    const where = `meta ${Buffer.from(key).toString('latin1')}`;
    const value = unseal(sealed);
    if (value === null) {
      this.#problem(where, 'the checksum does not match');
      return;
    }
    try {
      const parts = parseMetaKey(key);
      switch (key[0]) {
        case META_PREFIX.catalog:
          if (parts[0] === 'topic') this.#topic(decode(value) as TopicRow);
          break;
        case META_PREFIX.partition:
          this.#rows.set(parts[0] as number, decode(value) as PartitionRow);
          break;
        case META_PREFIX.producer:
          if (typeof parts[0] === 'number') this.#snapshots.set(parts[0], decode(value) as ProducerSnapshot);
          break;
        case META_PREFIX.slice: {
          const table = RunTable.parse(value);
          if (table === null) this.#problem(where, 'not a run table');
          else if (parts[0] === 0) this.#summaries.set(parts[1] as number, table);
        }
      }
    } catch (error) {
      this.#problem(where, `cannot be read: ${String(error)}`);
    }
  }

  #topic(row: TopicRow): void {
    this.topics++;
    row.partitionIds.forEach((id, index) => {
      const name = `${row.name}-${index}`;
      const other = this.#names.get(id);
      if (other !== undefined) this.#problem(name, `has the partition id ${id} of ${other}`);
      this.#names.set(id, name);
    });
  }

  /** The file of log ends; damage in it is no loss. */
  async stamps(): Promise<void> {
    const bytes = await this.#store.readFile(STAMP_FILE).catch(() => undefined);
    if (bytes !== undefined) for (const [id, stamp] of parseStamps(bytes)) this.#stamps.set(id, stamp);
  }

  async data(): Promise<void> {
    const ids = (await this.#store.list()).map(parseSliceName).filter((id) => id !== null);
    for (const id of this.#summaries.keys()) {
      if (!ids.includes(id)) this.#problem(new Slice(id).name, 'has a summary but no files');
    }
    const newest = Math.max(0, ...ids);
    for (const id of ids) {
      this.slices++;
      const slice = new Slice(id);
      await this.#open(slice.name, (database) => this.#slice(slice, database, id === newest));
    }
  }

  async #slice(slice: Slice, database: Database, newest: boolean): Promise<void> {
    const tables: RunTable[] = [];
    let next = batchKey(0, 0, 0);
    for (;;) {
      const scanner = database.scan({ gte: next });
      const [first] = await scanner.next(1, 1);
      await scanner.close();
      if (first === undefined) break;
      const key = parseBatchKey(first.key);
      if (key === null) {
        this.#problem(slice.name, `a key of ${first.key.byteLength} bytes`);
        break;
      }
      const where = `${slice.name} chunk ${key.chunkId}`;
      this.chunks++;
      const found = RunTable.of(
        await readRuns(database, key.chunkId, ({ partitionId, firstOffset, lastOffset, reason }) =>
          this.#problem(where, `${this.#name(partitionId)} ${firstOffset} to ${lastOffset}: ${reason}`),
        ),
      );
      const stored = await database.get(chunkRecordKey(key.chunkId));
      const table = stored === undefined ? null : RunTable.parse(stored);
      // The chunk that was being filled when the process was killed has no record yet.
      if (stored === undefined && !newest) this.#problem(where, 'has no record');
      if (stored !== undefined && table === null) this.#problem(where, 'its record is damaged');
      if (table !== null) this.#compare(where, 'record', summaryOf([table]), summaryOf([found]));
      tables.push(found);
      next = batchKey(key.chunkId + 1, 0, 0);
    }
    const summary = summaryOf(tables);
    const stored = this.#summaries.get(slice.id);
    if (stored !== undefined) this.#compare(slice.name, 'summary', summaryOf([stored]), summary);
    for (const run of summary.runs()) {
      this.bytes += run.bytes;
      const segments = this.#segments.get(run.partitionId) ?? new Segments();
      this.#segments.set(run.partitionId, segments);
      const kept = cutRun(cutsOf(this.#rows.get(run.partitionId)), slice.id, run);
      if (kept !== null) segments.place(slice, kept);
    }
  }

  #compare(where: string, what: string, stored: RunTable, found: RunTable): void {
    const text = (run: Run) =>
      `${this.#name(run.partitionId)} ${run.baseOffset} to ${run.lastOffset}, ${run.bytes} bytes`;
    const wanted = new Set([...stored.runs()].map(text));
    for (const run of found.runs()) {
      if (!wanted.delete(text(run))) this.#problem(where, `its ${what} does not know ${text(run)}`);
    }
    for (const missing of wanted) this.#problem(where, `its ${what} names ${missing}, which is not there`);
  }

  #name(partitionId: number): string {
    return this.#names.get(partitionId) ?? `partition id ${partitionId} (deleted)`;
  }

  offsets(): void {
    for (const [id, name] of this.#names) {
      const row = this.#rows.get(id);
      const segments = this.#segments.get(id) ?? new Segments();
      const start = row?.start ?? 0;
      segments.trim(start);
      const { last } = segments;
      const end = Math.max(start, row?.end ?? 0, last === undefined ? 0 : last.lastOffset + 1);
      const stamp = this.#stamps.get(id);
      if (stamp !== undefined && stamp.end > end && stamp.cutBefore >= cutBeforeOf(cutsOf(row))) {
        this.#problem(name, `offsets up to ${stamp.end - 1} were given, the log ends at ${end}`);
      }
      for (const { firstOffset, lastOffset } of missingRanges(start, end, segments)) {
        this.#problem(name, `offsets ${firstOffset} to ${lastOffset} are missing`);
      }
      this.#epochs(name, row, end);
      const snapshot = this.#snapshots.get(id);
      if (snapshot === undefined) continue;
      if (snapshot.through > end)
        this.#problem(name, `its producer snapshot reaches ${snapshot.through}, the log ${end}`);
      for (const [producer, epoch, , numbers] of snapshot.producers) {
        if (epoch < 0 || numbers.length % 3 !== 0)
          this.#problem(name, `the snapshot of producer ${producer} is malformed`);
      }
    }
  }

  #epochs(name: string, row: PartitionRow | undefined, end: number): void {
    if (row === undefined) return;
    let [beforeEpoch, beforeStart] = [-1, -1];
    for (const [epoch, start] of row.epochs) {
      if (epoch <= beforeEpoch || start < beforeStart || start > end) {
        this.#problem(name, `leader epoch ${epoch} at ${start} does not follow ${beforeEpoch} at ${beforeStart}`);
      }
      [beforeEpoch, beforeStart] = [epoch, start];
    }
  }
}

/** Checks a data directory that no broker uses (for one in use: store/snapshot.ts). Damage is in the report; it rejects only when the store cannot be read at all. */
export async function checkStore(store: Store): Promise<CheckReport> {
  const check = new Check(store);
  await check.meta();
  await check.stamps();
  await check.data();
  check.offsets();
  const { problems, topics, partitions, slices, chunks, bytes } = check;
  return { problems, topics, partitions, slices, chunks, bytes };
}
