/**
 * Compaction by key (`cleanup.policy=compact`): keeps the newest record of each key, offsets unchanged. One partition at
 * a time, in bounded steps, with Kafka's two phases: the newest offset of each key of the part that no pass has seen goes
 * into a map, then everything up to there is read, and steps with superseded records are stored again without them in
 * the commit stream. The old slices go by retention's rules. Only sealed slices are read, so a copy never lies in the
 * slice of its source; a crash leaves both, the newer one serves.
 *
 * What is left alone: records without a key, batches that no codec can open, abort markers, everything at or above the
 * last stable offset. Aborted records go. A commit marker goes when no record of its transaction is left.
 */
import { decode, encode } from 'cbor-x';
import type { Clock } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { COMPACTION_MAP_MAX_BYTES } from '../limits.ts';
import type { Logger } from '../logger.ts';
import { metaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';
import { decodeMarker } from '../wire/batch/control-batch.ts';
import {
  baseOffsetOf,
  isControl,
  isTransactional,
  lastOffsetOf,
  maxTimestampOf,
  producerIdOf,
  recordCountOf,
} from '../wire/batch/record-batch.ts';
import type { RecordCursor } from '../wire/batch/record-cursor.ts';
import type { AppendQueue } from './append-queue.ts';
import { CompactedBatches, keepRecords } from './compact-batch.ts';
import { type Cleanable, cleanable, dirtyShare } from './compaction-choice.ts';
import { KEY_MAP_BYTES_PER_KEY, KeyMap } from './key-map.ts';
import type { LogPartition } from './partition.ts';
import { type LogReader, recordsOf } from './reader.ts';
import type { Segment } from './segments.ts';
import type { Slice } from './slice.ts';
import type { StoredBatch } from './slice-writer.ts';

/** One step: read, committed and re-pointed as a whole. */
const STEP_BYTES = 256 * 1024;
/** Records smaller than this are rare: what a byte count says about how many keys there can be. */
const RECORD_BYTES_MIN = 16;
const VERSION = 1;

/** How far compaction has come; kept in the metadata database (FORMAT.md). */
interface Progress {
  /** Everything below it is compacted: at most one record of each key. */
  readonly dirty: number;
  /** Tombstones below it are the only record of their key since `since`. */
  readonly horizon: number;
  /** Trusted wall clock, ms; -1: not known, they stay. */
  readonly since: number;
}

const FRESH: Progress = { dirty: 0, horizon: 0, since: -1 };

interface Job {
  readonly partition: LogPartition;
  readonly progress: Progress;
  readonly map: KeyMap;
  /** The map holds the keys of what is below it. */
  end: number;
  /** Tombstones below it go. */
  readonly tombstonesBelow: number;
  phase: 'index' | 'clean';
  position: number;
  /** Producers with a record left in the transaction that their next marker ends. */
  readonly survivors: Set<number>;
  /** The map could not take all keys. */
  cut: boolean;
}

export interface CompactorParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly meta: MetaStore;
  readonly queue: AppendQueue;
  readonly reader: LogReader;
  readonly writer: { askRoll(): void };
  readonly partitions: () => Iterable<LogPartition>;
  /** The chunk up to which all producer snapshots are durable. */
  readonly snapshotsThrough: () => number;
  readonly timeTrusted?: (() => boolean) | undefined;
  /** When what has a timestamp was written, ms; null: nobody knows, and it counts as young. Default: the timestamp. */
  readonly writtenAt?: ((timestamp: number) => number | null) | undefined;
  readonly mapBytes?: number | undefined;
}

export class Compactor {
  readonly #parts: CompactorParts;
  readonly #progress = new Map<number, Progress>();
  #job: Job | null = null;
  /** Bytes stored again. */
  writtenBytes = 0;
  removedRecords = 0;

  constructor(parts: CompactorParts) {
    this.#parts = parts;
  }

  /** The partition whose segments nobody else may move now. */
  get busy(): LogPartition | null {
    return this.#job?.partition ?? null;
  }

  /** What the map of the present pass takes. */
  get mapBytes(): number {
    return this.#job?.map.byteLength ?? 0;
  }

  /**
   * Works until about `writeBudget` bytes were stored or `readBudget` bytes were read; what is left waits for the next
   * call. Returns the bytes stored. Rejects with what the store says; the pass then begins anew.
   */
  async run(writeBudget: number, readBudget: number): Promise<number> {
    const before = this.writtenBytes;
    let read = 0;
    try {
      while (this.writtenBytes - before < writeBudget && read < readBudget) {
        if (this.#job !== null && !this.#stillWanted(this.#job)) this.#job = null;
        this.#job ??= await this.#choose();
        if (this.#job === null) break;
        read += this.#job.phase === 'index' ? await this.#index(this.#job) : await this.#clean(this.#job);
      }
    } catch (error) {
      this.#job = null;
      throw error;
    }
    return this.writtenBytes - before;
  }

  #stillWanted({ partition }: Job): boolean {
    if (!partition.topic.config['cleanup.policy'].includes('compact')) return false;
    for (const present of this.#parts.partitions()) if (present === partition) return true;
    return false;
  }

  #trustedNow(): number | null {
    return (this.#parts.timeTrusted?.() ?? true) ? this.#parts.clock.now() : null;
  }

  async #progressOf(partition: LogPartition): Promise<Progress> {
    let progress = this.#progress.get(partition.id);
    if (progress === undefined) {
      const stored = await this.#parts.meta.get(metaKey('compaction', partition.id));
      progress = stored === undefined ? FRESH : (decode(stored) as Progress);
      this.#progress.set(partition.id, progress);
    }
    return progress;
  }

  #settled(segment: Segment): boolean {
    return segment.slice.sealed && segment.lastChunk <= this.#parts.snapshotsThrough();
  }

  /** The partition with the largest dirty share, if that is large enough. */
  async #choose(): Promise<Job | null> {
    const now = this.#trustedNow();
    const writtenAt = this.#parts.writtenAt ?? ((timestamp: number) => timestamp);
    const present = new Set<number>();
    let best: { partition: LogPartition; progress: Progress; found: Cleanable } | null = null;
    for (const partition of [...this.#parts.partitions()]) {
      present.add(partition.id);
      const { config } = partition.topic;
      if (!config['cleanup.policy'].includes('compact')) continue;
      const progress = await this.#progressOf(partition);
      const found = cleanable(
        [...partition.segments].map((segment) => ({
          lastOffset: segment.lastOffset,
          bytes: segment.bytes,
          maxTimestamp: writtenAt(segment.maxTimestamp) ?? Number.POSITIVE_INFINITY,
          settled: this.#settled(segment),
        })),
        {
          dirtyFrom: progress.dirty,
          stableBelow: Math.min(partition.highWatermark, partition.lastStableOffset),
          lagMs: config['min.compaction.lag.ms'],
          now,
        },
      );
      const share = dirtyShare(found);
      if (
        share > 0 &&
        share >= config['min.cleanable.dirty.ratio'] &&
        (best === null || share > dirtyShare(best.found))
      ) {
        best = { partition, progress, found };
      }
    }
    for (const id of this.#progress.keys()) if (!present.has(id)) this.#progress.delete(id);
    return best === null ? null : this.#begin(best.partition, best.progress, best.found, now);
  }

  #begin(partition: LogPartition, progress: Progress, found: Cleanable, now: number | null): Job {
    const keysAtMost = Math.ceil(found.dirtyBytes / RECORD_BYTES_MIN) + 1;
    const limit = this.#parts.mapBytes ?? COMPACTION_MAP_MAX_BYTES;
    const old = progress.since >= 0 && now !== null;
    const due = old && now - progress.since >= partition.topic.config['delete.retention.ms'];
    return {
      partition,
      progress,
      map: new KeyMap(Math.min(limit, keysAtMost * KEY_MAP_BYTES_PER_KEY)),
      end: found.end,
      tombstonesBelow: due ? progress.horizon : 0,
      phase: 'index',
      position: Math.max(progress.dirty, partition.logStartOffset),
      survivors: new Set(),
      cut: false,
    };
  }

  #startCleaning(job: Job): void {
    job.phase = 'clean';
    job.position = job.partition.logStartOffset;
  }

  async #read(job: Job, upTo: number): Promise<readonly Uint8Array[]> {
    const { partition } = job;
    const { batches, nextOffset } = await this.#parts.reader.read(
      partition.id,
      partition.segments,
      job.position,
      upTo,
      STEP_BYTES,
    );
    const last = batches[batches.length - 1];
    job.position = last === undefined ? Math.max(nextOffset, upTo) : lastOffsetOf(last) + 1;
    return batches;
  }

  #isAborted(partition: LogPartition, batch: Uint8Array): boolean {
    if (!isTransactional(batch)) return false;
    const base = baseOffsetOf(batch);
    const id = producerIdOf(batch);
    return partition.abortedTransactions(base, base + 1).some((aborted) => aborted.producerId === id);
  }

  /** One step of the first phase. Returns the bytes read. */
  async #index(job: Job): Promise<number> {
    const from = Math.max(job.position, job.partition.logStartOffset);
    job.position = from;
    if (from >= job.end) {
      this.#startCleaning(job);
      return 0;
    }
    let bytes = 0;
    for (const batch of await this.#read(job, job.end)) {
      bytes += batch.byteLength;
      if (recordCountOf(batch) === 0 || isControl(batch) || this.#isAborted(job.partition, batch)) continue;
      const full = await this.#indexBatch(job, batch, from);
      if (full < 0) continue;
      // The map is full: this pass ends here, the next one goes on.
      job.end = full;
      job.cut = true;
      this.#startCleaning(job);
      break;
    }
    return bytes;
  }

  /** -1, or the offset of the first record that the map has no room for. */
  async #indexBatch(job: Job, batch: Uint8Array, from: number): Promise<number> {
    try {
      const cursor = await recordsOf(batch);
      while (cursor.next()) {
        const { key, offset } = cursor;
        if (key !== null && offset >= from && !job.map.put(key, offset)) return offset;
      }
    } catch (error) {
      if (!(error instanceof HeadwaterError)) throw error;
    }
    return -1;
  }

  /** One step of the second phase. Returns the bytes read. */
  async #clean(job: Job): Promise<number> {
    const { partition } = job;
    job.position = Math.max(job.position, partition.logStartOffset);
    const { segments } = partition;
    const segment = segments.at(segments.find(job.position));
    if (segment === undefined || segment.baseOffset >= job.end || job.position >= job.end) {
      await this.#finish(job);
      return 0;
    }
    if (!this.#settled(segment)) {
      // Moved meanwhile: the pass begins anew when its slice is sealed.
      this.#job = null;
      return 0;
    }
    job.position = Math.max(job.position, segment.baseOffset);
    const batches = await this.#read(job, Math.min(segment.lastOffset + 1, job.end));
    let bytes = 0;
    // A gap is damage: what it was stays where it is.
    for (let first = 0; first < batches.length; ) {
      let next = first + 1;
      while (next < batches.length && baseOffsetOf(batches[next]!) === lastOffsetOf(batches[next - 1]!) + 1) next++;
      bytes += await this.#cleanPiece(job, batches.slice(first, next));
      first = next;
    }
    return bytes;
  }

  /** Batches that follow each other: stored again when something in them goes. Returns their bytes. */
  async #cleanPiece(job: Job, piece: readonly Uint8Array[]): Promise<number> {
    let bytes = 0;
    for (const batch of piece) bytes += batch.byteLength;
    const { batches, changed } = await this.#compact(job, piece);
    if (changed) await this.#store(job.partition, batches, bytes);
    return bytes;
  }

  async #compact(job: Job, piece: readonly Uint8Array[]): Promise<CompactedBatches> {
    const output = new CompactedBatches();
    for (const batch of piece) {
      if (recordCountOf(batch) === 0) output.drop(batch, true);
      else if (isControl(batch)) {
        if (this.#keepsMarker(job, batch)) output.keep(batch, false);
        else output.drop(batch, false);
      } else if (this.#isAborted(job.partition, batch)) {
        this.removedRecords += recordCountOf(batch);
        output.drop(batch, false);
      } else {
        const kept = await this.#compactBatch(job, batch);
        if (kept === null) output.drop(batch, false);
        else output.keep(kept, kept !== batch);
        this.removedRecords += recordCountOf(batch) - (kept === null ? 0 : recordCountOf(kept));
        if (kept !== null && isTransactional(batch)) job.survivors.add(producerIdOf(batch));
      }
    }
    output.flush();
    return output;
  }

  #keepsMarker(job: Job, batch: Uint8Array): boolean {
    const id = producerIdOf(batch);
    const survives = job.survivors.delete(id);
    return survives || decodeMarker(batch)?.type !== 'commit';
  }

  async #compactBatch(job: Job, batch: Uint8Array): Promise<Uint8Array | null> {
    const keep = ({ key, value, offset }: RecordCursor): boolean => {
      if (key === null) return true;
      if (job.map.get(key) > offset) return false;
      return value !== null || offset >= job.tombstonesBelow;
    };
    try {
      return await keepRecords(batch, keep);
    } catch (error) {
      if (!(error instanceof HeadwaterError)) throw error;
      return batch;
    }
  }

  async #store(partition: LogPartition, batches: readonly Uint8Array[], replacedBytes: number): Promise<void> {
    let bytes = 0;
    let maxTimestamp = -1;
    const stored: StoredBatch[] = batches.map((batch) => {
      const timestamp = maxTimestampOf(batch);
      if (timestamp > maxTimestamp) maxTimestamp = timestamp;
      bytes += batch.byteLength;
      return {
        partitionId: partition.id,
        baseOffset: baseOffsetOf(batch),
        lastOffset: lastOffsetOf(batch),
        maxTimestamp: timestamp,
        batch,
        moved: true,
      };
    });
    const at = await new Promise<{ slice: Slice; chunkId: number }>((resolve, reject) => {
      this.#parts.queue.move({ batches: stored, bytes, resolve, reject });
    });
    const run = {
      partitionId: partition.id,
      baseOffset: stored[0]!.baseOffset,
      lastOffset: stored[stored.length - 1]!.lastOffset,
      bytes,
      maxTimestamp,
      firstChunk: at.chunkId,
      lastChunk: at.chunkId,
    };
    partition.movedTo(at.slice, run, replacedBytes);
    this.writtenBytes += bytes;
  }

  /** Everything below `end` is clean. The tombstones in it may go when they have been so for delete.retention.ms. */
  async #finish(job: Job): Promise<void> {
    const { partition, progress } = job;
    const renewed = progress.since < 0 || job.tombstonesBelow > 0;
    const next: Progress = renewed
      ? { dirty: job.end, horizon: job.end, since: this.#trustedNow() ?? -1 }
      : { ...progress, dirty: job.end };
    this.#job = null;
    const { dirty, horizon, since } = next;
    await this.#parts.meta.write([
      { key: metaKey('compaction', partition.id), value: encode({ v: VERSION, dirty, horizon, since }) },
    ]);
    this.#progress.set(partition.id, next);
    partition.compacted(job.end);
    this.#parts.logger.debug(
      { partition: partition.name, below: dirty, keys: job.map.size },
      'a partition was compacted',
    );
    // The next pass reads what this one wrote: it needs a sealed slice.
    if (job.cut) this.#parts.writer.askRoll();
  }
}
