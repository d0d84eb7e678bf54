/**
 * Retention: moves log starts by age, by size and by the broker's total, then gives whole slices back. Every pass is
 * bounded in what it moves; what is left waits for the next. Ages count on trusted time only.
 */
import type { Clock } from '../env.ts';
import type { Logger } from '../logger.ts';
import type { Metrics, Series } from '../metrics.ts';
import type { MetaStore } from '../store/meta.ts';
import type { AppendQueue } from './append-queue.ts';
import { Compactor } from './compactor.ts';
import type { Ledger, Loss } from './ledger.ts';
import type { LogOptions } from './log-options.ts';
import { Mover } from './mover.ts';
import type { LogPartition } from './partition.ts';
import type { PartitionStore } from './partition-store.ts';
import type { LogReader } from './reader.ts';
import {
  givesWay,
  type RetentionLimits,
  reclaimable,
  retainedFrom,
  type Stretches,
  sliceAgeLimit,
  worthMoving,
} from './retention-choice.ts';
import type { Segment } from './segments.ts';
import type { Slice, Slices } from './slice.ts';
import { type SliceWriter, unsealOperations } from './slice-writer.ts';

/** What one pass copies forward at most. With a pass every ten seconds: 400 KB/s. */
const MOVE_BYTES_PER_PASS = 4 * 1024 * 1024;
/** What compaction stores again and reads in one pass at most: 400 KB/s and 1.6 MB/s. */
const COMPACT_BYTES_PER_PASS = 4 * 1024 * 1024;
const COMPACT_READ_BYTES_PER_PASS = 16 * 1024 * 1024;

export interface RetentionParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly options: LogOptions;
  readonly meta: MetaStore;
  readonly ledger: Ledger;
  readonly slices: Slices;
  readonly writer: SliceWriter;
  readonly queue: AppendQueue;
  readonly reader: LogReader;
  readonly partitionStore: PartitionStore;
  readonly partitions: () => Iterable<LogPartition>;
  /** The chunk up to which all producer snapshots are durable. */
  readonly snapshotsThrough: () => number;
}

interface NewStart {
  readonly offset: number;
  /** What the first segment has left, when it begins inside one; null: it begins with a whole one. */
  readonly firstBytes: number | null;
}

/** A partition that may give way, and its next segment. */
interface GivingWay {
  readonly partition: LogPartition;
  readonly priority: number;
  oldest: number;
  bytes: number;
  next: number;
}

export interface RetentionPass {
  /** Offsets that can no longer be read. */
  readonly deletedOffsets: number;
  readonly removedSlices: number;
  readonly movedBytes: number;
  /** Bytes that compaction stored again. */
  readonly compactedBytes: number;
}

export class Retention {
  readonly #parts: RetentionParts;
  readonly #mover: Mover;
  readonly #compactor: Compactor;
  readonly #deleted: (reason: string) => Series;
  readonly #removedSlices: Series;
  #running: Promise<RetentionPass> | null = null;
  /** When the slice that is written was first seen, monotonic ms. */
  #activeSince = { id: -1, at: 0 };
  #unsavedLosses: Loss[] = [];
  /** The newest slice that retention has emptied: what is left in an older one is kept longer, and pins it. */
  #front = 0;

  constructor(parts: RetentionParts) {
    this.#parts = parts;
    this.#mover = new Mover(parts.queue, parts.reader);
    const { timeTrusted, writtenAt, compactionMapBytes: mapBytes } = parts.options;
    this.#compactor = new Compactor({ ...parts, timeTrusted, writtenAt, mapBytes });
    const { metrics } = parts;
    this.#deleted = metrics.counters('headwater_log_deleted_offsets_total', 'Offsets let go by retention', 'reason', 8);
    this.#removedSlices = metrics.counter('headwater_log_removed_slices_total', 'Slices given back to the disk');
    metrics.computedCounter(
      'headwater_log_moved_bytes_total',
      'Live bytes copied out of old slices',
      () => this.#mover.movedBytes,
    );
    const compactor = this.#compactor;
    metrics.computedCounter(
      'headwater_log_compacted_bytes_total',
      'Bytes stored again by compaction',
      () => compactor.writtenBytes,
    );
    metrics.computedCounter(
      'headwater_log_compacted_records_total',
      'Records taken out by compaction',
      () => compactor.removedRecords,
    );
    metrics.gauge(
      'headwater_log_compaction_map_bytes',
      'Memory of the pass of compaction that runs',
      () => compactor.mapBytes,
    );
  }

  /** One pass; a second call while one runs shares it. Rejects with what the store says; the next pass tries again. */
  run(): Promise<RetentionPass> {
    return this.#running ?? this.#exclusively(() => this.#pass());
  }

  /**
   * The disk is nearly full: sealed slices of the topics that may give way go, the oldest of the lowest priority first,
   * until about `bytes` come back. What goes is in the loss ledger.
   */
  makeRoom(bytes: number, mayGiveWay: (topic: string) => boolean): Promise<RetentionPass> {
    return this.#exclusively(() => this.#roomPass(bytes, mayGiveWay));
  }

  #exclusively(task: () => Promise<RetentionPass>): Promise<RetentionPass> {
    const pass = this.settled().then(task);
    this.#running = pass;
    const over = () => {
      if (this.#running === pass) this.#running = null;
    };
    pass.then(over, over);
    return pass;
  }

  async #roomPass(bytes: number, mayGiveWay: (topic: string) => boolean): Promise<RetentionPass> {
    const before = this.#mover.movedBytes;
    const deletedOffsets = await this.#giveWay(bytes, mayGiveWay);
    let removedSlices = await this.#removeDead();
    if (await this.#moveOne(true)) removedSlices += await this.#removeDead();
    return { deletedOffsets, removedSlices, movedBytes: this.#mover.movedBytes - before, compactedBytes: 0 };
  }

  async #giveWay(bytes: number, mayGiveWay: (topic: string) => boolean): Promise<number> {
    const candidates = this.#candidates().filter(({ partition }) => mayGiveWay(partition.topic.name));
    this.#countLive();
    const sealed = [...this.#parts.slices.all.values()].filter((slice) => slice.sealed);
    const comesBack = () => sealed.reduce((sum, slice) => sum + reclaimable(slice.liveBytes, slice.bytes), 0);
    const moved = new Map<LogPartition, NewStart>();
    while (comesBack() < bytes) {
      const segment = takeNext(candidates, moved, (slice) => slice.sealed);
      if (segment === null) break;
      segment.slice.liveBytes -= segment.bytes;
    }
    if (moved.size > 0) {
      const topics = [...new Set([...moved.keys()].map((partition) => partition.topic.name))];
      this.#parts.logger.warn({ topics, bytes }, 'the disk is nearly full: old records of these topics go');
    }
    return this.#apply(moved, 'disk-full', 'disk-full: the oldest records gave way');
  }

  /** Resolves when no pass is running. */
  async settled(): Promise<void> {
    await this.#running?.catch(() => {});
  }

  async #pass(): Promise<RetentionPass> {
    const before = this.#mover.movedBytes;
    let deletedOffsets = await this.#byTopic();
    deletedOffsets += await this.#byTotal();
    await this.#rollOldSlice();
    const compactedBytes = await this.#compact();
    let removedSlices = await this.#removeDead();
    if (await this.#moveOne()) removedSlices += await this.#removeDead();
    return { deletedOffsets, removedSlices, movedBytes: this.#mover.movedBytes - before, compactedBytes };
  }

  /** Its trouble does not keep retention from giving space back. */
  async #compact(): Promise<number> {
    try {
      return await this.#compactor.run(COMPACT_BYTES_PER_PASS, COMPACT_READ_BYTES_PER_PASS);
    } catch (error) {
      this.#parts.logger.warn({ error }, 'compaction failed; the next pass tries again');
      return 0;
    }
  }

  async #byTopic(): Promise<number> {
    const { options, clock } = this.#parts;
    // Once for the pass: a step of the clock in the middle of it must not make anything old.
    const now = (options.timeTrusted?.() ?? true) ? clock.now() : null;
    const moved = new Map<LogPartition, NewStart>();
    for (const partition of this.#parts.partitions()) {
      const { config } = partition.topic;
      if (!config['cleanup.policy'].includes('delete')) continue;
      const limits: RetentionLimits = {
        ms: config['retention.ms'],
        bytes: config['retention.bytes'],
        now,
        ...(options.writtenAt !== undefined && { writtenAt: options.writtenAt }),
        highWatermark: partition.highWatermark,
      };
      const start = await this.#startFor(partition, limits);
      if (start.offset > partition.logStartOffset) moved.set(partition, start);
    }
    return this.#apply(moved, 'retention', null);
  }

  async #startFor(partition: LogPartition, limits: RetentionLimits): Promise<NewStart> {
    const { segments } = partition;
    const coarse = retainedFrom(segments, partition.logStartOffset, limits);
    // The segment that stays first may begin with runs that can go: its chunks are looked at, nobody else's.
    const kept = segments.find(coarse);
    const first = segments.at(kept);
    if (first === undefined || !mayShrink(first, partition.sizeBytes, limits))
      return { offset: coarse, firstBytes: null };
    const runs = (await this.#parts.reader.stretches(partition.id, first)).filter((run) => run.lastOffset >= coarse);
    const finer: Stretches = {
      length: runs.length + segments.length - kept - 1,
      bytes: runs.reduce((sum, run) => sum + run.bytes, segments.bytesFrom(kept + 1)),
      lastOffset: (i) => runs[i]?.lastOffset ?? segments.lastOffset(kept + 1 + i - runs.length),
      bytesOf: (i) => runs[i]?.bytes ?? segments.bytesOf(kept + 1 + i - runs.length),
      maxTimestamp: (i) => runs[i]?.maxTimestamp ?? segments.maxTimestamp(kept + 1 + i - runs.length),
    };
    const offset = retainedFrom(finer, coarse, limits);
    let firstBytes = 0;
    for (const run of runs) if (run.lastOffset >= offset) firstBytes += run.bytes;
    return { offset, firstBytes };
  }

  /** Durable first, then the slices may go. */
  async #apply(moved: ReadonlyMap<LogPartition, NewStart>, reason: string, lossReason: string | null): Promise<number> {
    if (moved.size === 0) return 0;
    let offsets = 0;
    for (const [partition, start] of moved) {
      const firstOffset = partition.logStartOffset;
      offsets += start.offset - firstOffset;
      partition.moveLogStart(start.offset, start.firstBytes);
      if (lossReason === null || start.offset <= firstOffset) continue;
      const { name: topic, id: topicId } = partition.topic;
      const range = { firstOffset, lastOffset: start.offset - 1 };
      this.#unsavedLosses.push({ topic, topicId, partition: partition.index, ...range, reason: lossReason, by: 'log' });
    }
    this.#deleted(reason).value += offsets;
    await this.#saveStarts();
    return offsets;
  }

  /** Whoever moved them: a log start that is not durable, and records before it that are gone, would be a loss after a crash. */
  async #saveStarts(): Promise<void> {
    const partitions = [...this.#parts.partitions()].filter((partition) => partition.startIsUnsaved);
    const losses = this.#unsavedLosses.splice(0);
    if (partitions.length === 0 && losses.length === 0) return;
    const starts = partitions.map((partition) => partition.logStartOffset);
    try {
      const rows = partitions.map((partition) => this.#parts.partitionStore.rowOperation(partition));
      await this.#parts.ledger.record(losses, rows);
    } catch (error) {
      this.#unsavedLosses.unshift(...losses);
      throw error;
    }
    partitions.forEach((partition, i) => {
      partition.startSaved(starts[i]!);
    });
  }

  /** log.retention.total.bytes: segments give way until the live bytes fit. */
  async #byTotal(): Promise<number> {
    const total = this.#parts.options.retentionTotalBytes;
    if (total === undefined) return 0;
    const candidates = this.#candidates();
    let live = 0;
    for (const { partition } of candidates) live += partition.sizeBytes;
    const moved = new Map<LogPartition, NewStart>();
    while (live > total) {
      const segment = takeNext(candidates, moved, () => true);
      if (segment === null) break;
      live -= segment.bytes;
    }
    if (moved.size > 0) {
      const topics = [...new Set([...moved.keys()].map((partition) => partition.topic.name))];
      this.#parts.logger.warn(
        { topics, total },
        'log.retention.total.bytes is reached: old records of these topics go',
      );
    }
    return this.#apply(moved, 'total', null);
  }

  #candidates(): GivingWay[] {
    const priority = this.#parts.options.topicPriority ?? (() => 0);
    const partitions = [...this.#parts.partitions()].filter((partition) => partition.segments.length > 0);
    return partitions.map((partition) => ({
      partition,
      // A compacted topic is a table that others rely on: it gives way when nothing else can.
      priority: priority(partition.topic.name) + (partition.topic.config['cleanup.policy'] === 'compact' ? 1e9 : 0),
      oldest: 0,
      bytes: 0,
      next: 0,
    }));
  }

  /** A slice that is written for too long, or holds nothing live any more, is closed so that its space can come back. */
  async #rollOldSlice(): Promise<void> {
    const { clock, writer } = this.#parts;
    const active = writer.activeSlice;
    if (active === null || active.firstChunk < 0) return;
    const now = clock.monotonic();
    if (this.#activeSince.id !== active.id) this.#activeSince = { id: active.id, at: now };
    const ages: number[] = [];
    for (const partition of this.#parts.partitions()) {
      const { config } = partition.topic;
      ages.push(config['segment.ms']);
      if (config['cleanup.policy'].includes('delete')) ages.push(config['retention.ms']);
    }
    this.#countLive();
    if (active.liveBytes > 0 && now - this.#activeSince.at < sliceAgeLimit(ages)) return;
    if (active.liveBytes > 0 && active.bytes === 0) return;
    writer.askRoll();
    await this.#parts.queue.flush();
    await writer.sealed();
  }

  /** Sets what of each slice can still be read. */
  #countLive(): void {
    for (const slice of this.#parts.slices.all.values()) {
      slice.liveSegments = 0;
      slice.liveBytes = 0;
    }
    for (const partition of this.#parts.partitions()) {
      partition.segments.forEachShare((slice, bytes) => {
        slice.liveSegments++;
        slice.liveBytes += bytes;
      });
    }
  }

  async #removeDead(): Promise<number> {
    const { slices, meta, logger } = this.#parts;
    await this.#saveStarts();
    this.#countLive();
    const dead = [...slices.all.values()].filter((slice) => slice.sealed && slice.liveSegments === 0);
    if (dead.length === 0) return 0;
    // Their summaries go first, all in one write: a slice that a crash leaves behind is found, and dead again.
    await meta.write(dead.flatMap((slice) => unsealOperations(slice.id)));
    let removed = 0;
    for (const slice of dead) {
      await slices.remove(slice);
      removed++;
      this.#front = Math.max(this.#front, slice.id);
      this.#removedSlices.value++;
      logger.info({ slice: slice.name, bytes: slice.bytes }, 'a slice was given back to the disk');
    }
    return removed;
  }

  /** Empties the oldest slice that is worth it: one that retention's front is still in dies by itself. */
  async #moveOne(diskShort = false): Promise<boolean> {
    this.#countLive();
    let physical = 0;
    for (const slice of this.#parts.slices.all.values()) physical += slice.bytes;
    const pressed = diskShort || physical > (this.#parts.options.retentionTotalBytes ?? Number.POSITIVE_INFINITY);
    const sealed = [...this.#parts.slices.all.values()].filter((slice) => slice.sealed).sort((a, b) => a.id - b.id);
    const worth = sealed.filter((slice) => worthMoving(slice.liveBytes, slice.bytes, pressed));
    const front = Math.max(this.#front, worth[worth.length - 1]?.id ?? 0);
    for (const slice of worth) {
      if (!pressed && slice.id >= front) break;
      // What is being compacted goes forward without what is superseded, or not at all.
      const { busy } = this.#compactor;
      const movable = [...this.#parts.partitions()].filter((partition) => partition !== busy);
      const moved = await this.#mover.move(slice, movable, MOVE_BYTES_PER_PASS);
      return moved > 0;
    }
    return false;
  }
}

/** The segment that gives way next, noted in `moved`; null: there is none. */
function takeNext(
  candidates: readonly GivingWay[],
  moved: Map<LogPartition, NewStart>,
  from: (slice: Slice) => boolean,
): Segment | null {
  const open = candidates.filter((candidate) => {
    const segment = candidate.partition.segments.at(candidate.next);
    if (segment === undefined || segment.lastOffset >= candidate.partition.highWatermark) return false;
    if (!from(segment.slice)) return false;
    candidate.oldest = segment.slice.id;
    candidate.bytes = segment.bytes;
    return true;
  });
  const chosen = open[givesWay(open)];
  if (chosen === undefined) return null;
  const segment = chosen.partition.segments.at(chosen.next++)!;
  moved.set(chosen.partition, { offset: segment.lastOffset + 1, firstBytes: null });
  return segment;
}

function mayShrink(first: Segment, partitionBytes: number, limits: RetentionLimits): boolean {
  if (first.firstChunk === first.lastChunk) return false;
  return limits.ms >= 0 || (limits.bytes >= 0 && partitionBytes > limits.bytes);
}
