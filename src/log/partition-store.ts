/** What the metadata database holds of partitions: log start, leader epochs, producer snapshots (FORMAT.md). */
import { decode, encode } from 'cbor-x';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';
import type { Cut } from './cuts.ts';
import type { EpochStart } from './leader-epochs.ts';
import type { LogPartition } from './partition.ts';
import type { ProducerSnapshot } from './producer-state.ts';

const VERSION = 1;
const CLOSED_KEY = metaKey('epoch', 'closed');

export interface PartitionRow {
  readonly v: number;
  readonly start: number;
  /** A lower bound of the log end: offsets below it were given to records once and are never given again. */
  readonly end: number;
  readonly epochs: readonly (readonly [epoch: number, startOffset: number])[];
  /** Truncations (cuts.ts); absent: none. */
  readonly cuts?: readonly (readonly [offset: number, beforeSlice: number])[];
}

export function cutsOf(row: PartitionRow | undefined): Cut[] {
  return (row?.cuts ?? []).map(([offset, beforeSlice]) => ({ offset, beforeSlice }));
}

export function epochsOf(row: PartitionRow): EpochStart[] {
  return row.epochs.map(([epoch, startOffset]) => ({ epoch, startOffset }));
}

export class PartitionStore {
  readonly #meta: MetaStore;

  constructor(meta: MetaStore) {
    this.#meta = meta;
  }

  async rows(): Promise<Map<number, PartitionRow>> {
    const rows = new Map<number, PartitionRow>();
    for await (const { key, value } of this.#meta.entries(metaRange('partition'))) {
      rows.set(parseMetaKey(key)[0] as number, decode(value) as PartitionRow);
    }
    return rows;
  }

  rowOperation(partition: LogPartition): MetaOperation {
    const row: PartitionRow = {
      v: VERSION,
      start: partition.logStartOffset,
      end: partition.logEndOffset,
      epochs: partition.epochs.map(({ epoch, startOffset }) => [epoch, startOffset]),
      ...(partition.cuts.length > 0 && {
        cuts: partition.cuts.map(({ offset, beforeSlice }) => [offset, beforeSlice]),
      }),
    };
    return { key: metaKey('partition', partition.id), value: encode(row) };
  }

  save(partitions: readonly LogPartition[]): Promise<void> {
    return this.#meta.write(partitions.map((partition) => this.rowOperation(partition)));
  }

  /** Whether the log was closed the last time; from now on it counts as not closed until `markClosed`. */
  async takeClosedMark(): Promise<boolean> {
    const mark = await this.#meta.get(CLOSED_KEY);
    if (mark !== undefined) await this.#meta.write([{ key: CLOSED_KEY, value: null }]);
    return mark !== undefined;
  }

  markClosed(): Promise<void> {
    return this.#meta.write([{ key: CLOSED_KEY, value: encode(true) }]);
  }

  /** A truncated partition: its row and its producers as they are now. */
  truncationOperations(partition: LogPartition): MetaOperation[] {
    const snapshot = partition.producers.snapshot(partition.logEndOffset);
    return [this.rowOperation(partition), { key: metaKey('producer', partition.id), value: encode(snapshot) }];
  }

  /** Deletions of everything about a partition. */
  removal(id: number): MetaOperation[] {
    return [
      { key: metaKey('partition', id), value: null },
      { key: metaKey('producer', id), value: null },
      { key: metaKey('compaction', id), value: null },
    ];
  }

  /** Snapshots by partition id, and the chunk up to which they are complete (-1: none). */
  async snapshots(): Promise<{ through: number; byPartition: Map<number, ProducerSnapshot> }> {
    let through = -1;
    const byPartition = new Map<number, ProducerSnapshot>();
    for await (const { key, value } of this.#meta.entries(metaRange('producer'))) {
      const [id] = parseMetaKey(key);
      if (id === 'through') through = decode(value) as number;
      else byPartition.set(id as number, decode(value) as ProducerSnapshot);
    }
    return { through, byPartition };
  }

  /**
   * Log ends, and snapshots of the partitions whose producers changed: all chunks up to `chunkId` are in them. One write,
   * so that recovery sees all of it or none.
   */
  async saveSnapshots(partitions: Iterable<LogPartition>, chunkId: number): Promise<void> {
    const operations: MetaOperation[] = [{ key: metaKey('producer', 'through'), value: encode(chunkId) }];
    const taken: LogPartition[] = [];
    for (const partition of partitions) {
      if (partition.logEndOffset !== partition.savedEndOffset) operations.push(this.rowOperation(partition));
      partition.savedEndOffset = partition.logEndOffset;
      if (!partition.producers.dirty) continue;
      taken.push(partition);
      const snapshot = partition.producers.snapshot(partition.logEndOffset);
      operations.push({ key: metaKey('producer', partition.id), value: encode(snapshot) });
    }
    try {
      await this.#meta.write(operations);
    } catch (error) {
      for (const partition of taken) partition.producers.dirty = true;
      throw error;
    }
  }
}
