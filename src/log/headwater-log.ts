/** The log as the edges see it: its topics, listeners, back-pressure, producer ids; what it notes of damage; its end. */
import type { Env, Timer } from '../env.ts';
import type { HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { MetaStore } from '../store/meta.ts';
import type { Store } from '../store/store.ts';
import type { AppendQueue } from './append-queue.ts';
import type { Catalog } from './catalog.ts';
import type { DamagedRange } from './chunk-scan.ts';
import type { DiskLadder } from './disk-ladder.ts';
import type { EndStamps } from './end-stamps.ts';
import type { Ledger, Loss } from './ledger.ts';
import type { LogOptions } from './log-options.ts';
import type { KnownLosses } from './losses.ts';
import type { LogPartition } from './partition.ts';
import type { PartitionHost } from './partition-host.ts';
import type { PartitionStore } from './partition-store.ts';
import type { ProducerIds } from './producer-ids.ts';
import type { LogReader } from './reader.ts';
import type { Recovered } from './recovery.ts';
import { Retention, type RetentionPass } from './retention.ts';
import type { Slice, Slices } from './slice.ts';
import { type SliceWriter, unsealOperations } from './slice-writer.ts';
import type { LogTopic } from './topic.ts';
import { type ChangeOptions, Topics } from './topics.ts';
import type { CommitListener, Log, TopicEvent, TopicSpec } from './types.ts';

export interface LogParts {
  readonly store: Store;
  readonly env: Env;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly options: LogOptions;
  readonly meta: MetaStore;
  readonly ledger: Ledger;
  readonly catalog: Catalog;
  readonly partitionStore: PartitionStore;
  readonly stamps: EndStamps;
  readonly knownLosses: KnownLosses;
  readonly slices: Slices;
  readonly writer: SliceWriter;
  readonly queue: AppendQueue;
  readonly host: PartitionHost;
  readonly commitListeners: CommitListener[];
  readonly topics: Map<string, LogTopic>;
  readonly topicDefaults: ReadonlyMap<string, string>;
  readonly producerIds: ProducerIds;
  readonly troubled: Recovered['troubled'];
  readonly reader: LogReader;
  /** The chunk up to which the last start found producer snapshots. */
  readonly snapshotsThrough: number;
  readonly ladder: DiskLadder | null;
  /** Why the last write of metadata failed; null: it did not. */
  readonly metaFailure: () => HeadwaterError | null;
}

/** A new leader's epoch is the next multiple: an old one that restarts meanwhile raises its own by one each time. */
const LEAD_EPOCHS = 1_000;
/** The old leader may have given ids that no record shows yet. */
const LEAD_PRODUCER_IDS = 1_000_000;

/** One condition of the log's readiness. */
export interface LogCondition {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

/** Created by `openLog` (log.ts). */
export class HeadwaterLog implements Log {
  readonly #parts: LogParts;
  readonly #topics: Topics;
  #snapshots: Promise<void> = Promise.resolve();
  #snapshotsThrough: number;
  readonly #retention: Retention;
  #schedule: Timer | null = null;
  #closing: Promise<void> | null = null;
  /** Another broker leads (a standby): only what comes from it changes topics and records. */
  follows = false;

  constructor(parts: LogParts) {
    this.#parts = parts;
    this.#snapshotsThrough = parts.snapshotsThrough;
    this.#topics = new Topics(parts, () => this.follows);
    this.#retention = new Retention({
      ...parts,
      clock: parts.env.clock,
      partitions: () => this.#topics.partitions.values(),
      snapshotsThrough: () => this.#snapshotsThrough,
    });
    parts.slices.onUnreadable = (slice, reason) => this.#sliceLost(slice, reason);
    this.#registerMetrics(parts.metrics);
  }

  /** The metadata database, for the other parts of the broker: each writes under its own prefix only. */
  get meta(): MetaStore {
    return this.#parts.meta;
  }

  get ledger(): Ledger {
    return this.#parts.ledger;
  }

  /** For tests that end a log as a kill does. */
  get slices(): Slices {
    return this.#parts.slices;
  }

  /** What the last start found damaged. */
  get troubled(): Recovered['troubled'] {
    return this.#parts.troubled;
  }

  #registerMetrics(metrics: Metrics): void {
    const { queue, host, slices } = this.#parts;
    metrics.gauge('headwater_log_queued_bytes', 'Bytes waiting for the next synced write', () => queue.bytes);
    metrics.gauge('headwater_log_tail_cache_bytes', 'Newest batches kept in memory', () => host.tailCache.bytes);
    metrics.gauge('headwater_log_read_ahead_bytes', 'Read ahead of readers', () => host.readAhead.bytes);
    metrics.gauge('headwater_log_slices', 'Slices of the store', () => slices.all.size);
    metrics.gauge('headwater_log_open_slices', 'Slices whose files are open', () => slices.openCount);
    metrics.gauge('headwater_log_index_bytes', 'Chunk indexes in memory', () => slices.indexBytes);
    metrics.gauge('headwater_log_live_bytes', 'Bytes of batches that can be read', () => this.liveBytes);
    metrics.gauge('headwater_log_filter_bytes', 'Key filters in memory', () => slices.filters.bytes);
    const { reader } = this.#parts;
    metrics.computedCounter('headwater_log_read_bytes_total', 'Bytes of batches read back from slices', () => [
      { labels: {}, value: reader.readBytes },
    ]);
    metrics.computedCounter('headwater_log_passed_offsets_total', 'Offsets that key filters spared a reader', () => [
      { labels: {}, value: reader.passedOffsets },
    ]);
    const { totals } = this.#parts.ledger;
    metrics.computedCounter('headwater_loss_ledger_offsets_total', 'Offsets in the loss ledger, by reason', () =>
      [...totals].map(([reason, value]) => ({ labels: { reason }, value })),
    );
  }

  /** Bytes of all batches that can be read. */
  get liveBytes(): number {
    let bytes = 0;
    for (const partition of this.#topics.partitions.values()) bytes += partition.sizeBytes;
    return bytes;
  }

  topic(name: string): LogTopic | undefined {
    return this.#topics.byName.get(name);
  }

  topicById(id: string): LogTopic | undefined {
    return this.#topics.byId.get(id);
  }

  /** In name order. */
  topics(): Iterable<LogTopic> {
    return [...this.#topics.byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  partitionById(id: number): LogPartition | undefined {
    return this.#topics.partitions.get(id);
  }

  partitions(): Iterable<LogPartition> {
    return this.#topics.partitions.values();
  }

  /** Why nothing that adds to the metadata is stored now, as `no <change>`; null: it is. */
  changeRefusal(change: string): HeadwaterError | null {
    return this.#parts.ladder?.changeRefusal(change) ?? null;
  }

  createTopic(spec: TopicSpec, options?: ChangeOptions): Promise<LogTopic> {
    return this.#topics.create(spec, options);
  }

  deleteTopic(name: string, options?: ChangeOptions): Promise<void> {
    return this.#topics.delete(name, options);
  }

  createPartitions(name: string, total: number, options?: ChangeOptions): Promise<void> {
    return this.#topics.addPartitions(name, total, options);
  }

  alterTopic(name: string, changes: ReadonlyMap<string, string | null>, options?: ChangeOptions): Promise<void> {
    return this.#topics.alter(name, changes, options);
  }

  /**
   * Takes the records at and behind `offset` out of the log, because the broker that leads has others there; they are in the
   * loss ledger, in the same synced write. With `begin` nothing is left and the log begins at `offset`.
   */
  truncate(partition: LogPartition, offset: number, reason: string, by: string, begin = false): Promise<void> {
    return this.#topics.change(async () => {
      const { queue, writer, ledger, partitionStore } = this.#parts;
      await this.#retention.settled();
      // What is written from now on goes to another slice than what is cut.
      writer.askRoll();
      await queue.flush();
      const firstOffset = begin ? partition.logStartOffset : Math.max(offset, partition.logStartOffset);
      const lastOffset = partition.logEndOffset - 1;
      const { name: topic, id: topicId } = partition.topic;
      const beforeSlice = writer.activeSlice?.id ?? 0;
      if (begin) partition.restartAt(offset, beforeSlice);
      else partition.truncate(offset, beforeSlice);
      const loss = { topic, topicId, partition: partition.index, firstOffset, lastOffset, reason, by };
      await ledger.record(lastOffset < firstOffset ? [] : [loss], partitionStore.truncationOperations(partition));
    });
  }

  /** Leads all partitions from now on, under an epoch above all that were; producer ids go on far behind those of the old leader. */
  async takeLead(): Promise<number> {
    const { partitionStore, producerIds } = this.#parts;
    const partitions = [...this.#topics.partitions.values()];
    let newest = 0;
    let largest = -1;
    for (const { leaderEpoch, producers } of partitions) {
      newest = Math.max(newest, leaderEpoch);
      largest = Math.max(largest, producers.largestProducerId());
    }
    const epoch = (Math.floor(newest / LEAD_EPOCHS) + 1) * LEAD_EPOCHS;
    for (const partition of partitions) partition.beginEpoch(epoch);
    await partitionStore.save(partitions);
    await producerIds.skipTo(largest + LEAD_PRODUCER_IDS);
    return epoch;
  }

  onTopicEvent(listener: (event: TopicEvent) => void): void {
    this.#topics.onEvent(listener);
  }

  onCommit(listener: CommitListener): void {
    this.#parts.commitListeners.push(listener);
  }

  get queuedBytes(): number {
    return this.#parts.queue.bytes;
  }

  /** Free bytes of the disk when it was looked at last; null: it is not watched. */
  get freeDiskBytes(): number | null {
    return this.#parts.ladder?.freeBytes ?? null;
  }

  /** Whether the log takes records: it is open, the last writes succeeded, the disk is not full. */
  conditions(): LogCondition[] {
    const { queue, metaFailure, ladder } = this.#parts;
    const after = (name: string, failure: HeadwaterError | null): LogCondition =>
      failure === null ? { name, ok: true } : { name, ok: false, detail: failure.message };
    const log = after('log', queue.failure);
    return [
      queue.closed ? { name: 'log', ok: false, detail: 'the broker is stopping' } : log,
      after('metadata', metaFailure()),
      ...(ladder === null ? [] : [{ name: 'disk', ok: ladder.state !== 'full', detail: ladder.state }]),
    ];
  }

  whenDrained(task: () => void): void {
    this.#parts.queue.whenDrained(task);
  }

  nextProducerId(): Promise<number> {
    return this.#parts.producerIds.next();
  }

  /** The writer closed a chunk: log ends and producer snapshots follow when its last commit has been applied. */
  chunkClosed(chunkId: number): void {
    this.#parts.env.clock.soon(() => {
      if (this.#closing === null) void this.#saveSnapshots(chunkId);
    });
  }

  /** One after the other: a later one that said less than a failed earlier one would hide what that one did not store. */
  #saveSnapshots(chunkId: number): Promise<void> {
    this.#snapshots = this.#snapshots
      .then(() => this.#parts.partitionStore.saveSnapshots(this.#topics.partitions.values(), chunkId))
      .then(() => {
        this.#snapshotsThrough = chunkId;
      })
      .catch((error: unknown) => {
        this.#parts.logger.warn({ error }, 'producer snapshots could not be written; the next chunk tries again');
      });
    return this.#snapshots;
  }

  sliceSealed(slice: Slice): void {
    this.#parts.logger.debug({ slice: slice.name, bytes: slice.bytes }, 'a slice was sealed');
  }

  /** One pass of retention now. */
  runRetention(): Promise<RetentionPass> {
    return this.#retention.run();
  }

  /** Old records of topics whose disk.full says so go until about `bytes` come back. Resolves with whether any did. */
  async makeRoom(bytes: number): Promise<boolean> {
    const policy = this.#parts.options.disk?.policy ?? (() => 'reject');
    const pass = await this.#retention.makeRoom(bytes, (topic) => policy(topic) === 'drop-oldest');
    return pass.deletedOffsets > 0 || pass.removedSlices > 0 || pass.movedBytes > 0;
  }

  /**
   * Lets retention run every `ms`, by the monotonic clock: a cron library walks all that it has missed when the wall clock
   * steps by decades.
   */
  scheduleRetention(ms: number): void {
    if (this.#closing !== null) return;
    let running = false;
    this.#schedule = this.#parts.env.clock.every(ms, () => {
      if (running) return;
      running = true;
      this.#retention
        .run()
        .catch((error) => this.#parts.logger.warn({ error }, 'retention failed; the next pass tries again'))
        .finally(() => {
          running = false;
        });
    });
  }

  /** A reader met a batch that is not what was stored. */
  damageFound(range: DamagedRange): void {
    const partition = this.#topics.partitions.get(range.partitionId);
    if (partition === undefined) return;
    // What was let go before is no loss: a scan names whole batches, and the log may begin inside one.
    const firstOffset = Math.max(range.firstOffset, partition.logStartOffset);
    const { lastOffset } = range;
    if (firstOffset > lastOffset) return;
    const { knownLosses, ledger, logger } = this.#parts;
    const fresh = knownLosses.add(partition.id, { firstOffset, lastOffset });
    if (fresh.length === 0) return;
    logger.error({ partition: partition.name, ...range }, 'a stored batch is damaged');
    const { name, id } = partition.topic;
    const about = { topic: name, topicId: id, partition: partition.index, by: 'log' };
    const reason = `corruption: ${range.reason}`;
    ledger.record(fresh.map((part) => ({ ...about, ...part, reason }))).catch((error: unknown) => {
      for (const part of fresh) knownLosses.forget(partition.id, part);
      logger.error({ error }, 'the loss ledger could not be written');
    });
  }

  /** A slice can be neither opened nor repaired: its records are lost, the rest of the log goes on. */
  #sliceLost(slice: Slice, reason: string): void {
    const { slices, ledger, logger, partitionStore, meta } = this.#parts;
    const losses: Loss[] = [];
    const changed: LogPartition[] = [];
    for (const partition of this.#topics.partitions.values()) {
      const dropped = partition.dropSlice(slice);
      if (dropped.length === 0) continue;
      const ranges = dropped.flatMap((range) => this.#parts.knownLosses.add(partition.id, range));
      changed.push(partition);
      const { name: topic, id: topicId } = partition.topic;
      const about = {
        topic,
        topicId,
        partition: partition.index,
        reason: `corruption: ${slice.name} ${reason}`,
        by: 'log',
      };
      for (const range of ranges) losses.push({ ...about, ...range });
    }
    logger.error({ slice: slice.name, reason, losses }, 'a slice cannot be read; its records are lost');
    const settle = async () => {
      await ledger.record(losses);
      await partitionStore.save(changed);
      await meta.write(unsealOperations(slice.id));
      await slices.quarantine(slice, `${slice.name}: ${reason}`);
    };
    settle().catch((error: unknown) => logger.error({ error }, 'a lost slice could not be put into quarantine'));
  }

  close(): Promise<void> {
    this.#parts.queue.refuse();
    this.#topics.refuse();
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { queue, writer, slices, meta, catalog, partitionStore, logger } = this.#parts;
    this.#schedule?.cancel();
    await this.#parts.ladder?.close();
    await this.#topics.settled();
    await this.#retention.settled();
    await queue.close();
    for (const partition of this.#topics.partitions.values()) partition.close();
    try {
      await writer.close();
      await this.#saveSnapshots(writer.chunkId - 1);
      await partitionStore.markClosed();
    } catch (error) {
      // Recovery reads what is not written now.
      logger.warn({ error }, 'the log was not closed cleanly; the next start reads its tail');
    }
    await this.#parts.host.readAhead.close();
    await this.#parts.stamps.close().catch(() => {});
    await slices.closeAll();
    await catalog.close();
    await meta.close();
  }
}
