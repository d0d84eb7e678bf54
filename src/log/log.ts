/** Opens the log: metadata, catalog, recovery, partitions; then the writer and the queue begin. */
import type { Env } from '../env.ts';
import { asHeadwaterError, type HeadwaterError } from '../errors.ts';
import { KEY_FILTERS_MAX_BYTES, TAIL_CACHE_MAX_BYTES } from '../limits.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import { META_DATABASE } from '../store/keys.ts';
import { GroupCommitMetaStore } from '../store/meta-store.ts';
import type { Database, DatabaseOptions, Store } from '../store/store.ts';
import { AppendQueue } from './append-queue.ts';
import { Catalog } from './catalog.ts';
import type { DamagedRange } from './chunk-scan.ts';
import { CommitPace } from './commit-pace.ts';
import { cutRun } from './cuts.ts';
import { DiskLadder } from './disk-ladder.ts';
import { EndStamps } from './end-stamps.ts';
import { HeadwaterLog, type LogParts } from './headwater-log.ts';
import { Ledger, type LedgerEntry, type Loss } from './ledger.ts';
import type { LogOptions } from './log-options.ts';
import { KnownLosses } from './losses.ts';
import { LogPartition } from './partition.ts';
import type { PartitionHost } from './partition-host.ts';
import { cutsOf, type PartitionRow, PartitionStore } from './partition-store.ts';
import { placePartition } from './placement.ts';
import { ProducerIds } from './producer-ids.ts';
import { ReadAhead } from './read-ahead.ts';
import { LogReader } from './reader.ts';
import { type FoundSlice, Recovery } from './recovery.ts';
import { Segments } from './segments.ts';
import { Slices } from './slice.ts';
import { sliceBytes } from './slice-size.ts';
import { SliceWriter } from './slice-writer.ts';
import { TailCache } from './tail-cache.ts';
import { TimeCorrections } from './time-corrections.ts';
import { LogTopic } from './topic.ts';
import { resolveTopicConfig } from './topic-config.ts';
import type { CommitListener } from './types.ts';

export interface OpenLog {
  readonly store: Store;
  readonly env: Env;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly options?: LogOptions;
}

const MiB = 1024 * 1024;
const DEFAULT_RETENTION_INTERVAL_MS = 10_000;
const META_OPTIONS: DatabaseOptions = { writeBufferBytes: MiB, cacheBytes: 256 * 1024 };
/** Besides those in use: about ten files and 40 KB of block indexes each. */
const OPEN_SEALED_SLICES_MAX = 16;
const INDEX_MAX_BYTES = 2 * MiB;
const READ_THROUGH_STEP_BYTES = 64 * 1024;
const DAMAGE_SKIP_PRODUCER_IDS = 1_000_000;

interface OpenedMeta {
  readonly meta: GroupCommitMetaStore;
  /** Entries may be missing: the database was lost or repaired, or a value was damaged. Looked at again after reads. */
  readonly damaged: () => boolean;
}

async function openMeta(store: Store, logger: Logger): Promise<OpenedMeta> {
  let damaged = false;
  const open = () => store.open(META_DATABASE, META_OPTIONS);
  const onDamage = (key: Uint8Array) => {
    damaged = true;
    logger.error({ key: Buffer.from(key).toString('latin1') }, 'a value of the metadata database is damaged');
  };
  const steps = [
    () => Promise.resolve(),
    () => store.repair(META_DATABASE),
    () => store.quarantine(META_DATABASE, 'the metadata database could not be opened nor repaired'),
  ];
  for (let i = 0; ; i++) {
    try {
      await steps[i]!();
      const database = await open();
      await readThrough(database);
      return { meta: new GroupCommitMetaStore(database, open, onDamage), damaged: () => damaged };
    } catch (error) {
      damaged = true;
      const { code } = asHeadwaterError(error);
      // A full or failing disk is no damage: nothing is repaired on it.
      if (i === steps.length - 1 || code === 'DISK_FULL') throw error;
      logger.error({ error, next: i === 0 ? 'repair' : 'quarantine' }, 'the metadata database cannot be read');
    }
  }
}

/** It is small: a block that cannot be read shows now and not in the middle of the start. */
async function readThrough(database: Database): Promise<void> {
  const scanner = database.scan({ gte: Buffer.alloc(1) });
  try {
    while ((await scanner.next(1_000, READ_THROUGH_STEP_BYTES)).length > 0);
  } catch (error) {
    await scanner.close();
    await database.close();
    throw error;
  }
  await scanner.close();
}

/** The segments of each partition id that has any, cut where its row says so. */
function foundSegments(
  slices: readonly FoundSlice[],
  rows: ReadonlyMap<number, PartitionRow>,
): ReadonlyMap<number, Segments> {
  const counts = new Map<number, number>();
  for (const { summary } of slices) {
    for (let i = 0; i < summary.length; i++) {
      const id = summary.partitionId(i);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
  }
  const found = new Map<number, Segments>();
  for (const [id, count] of counts) found.set(id, new Segments(count));
  for (const { slice, summary } of slices) {
    for (let i = 0; i < summary.length; i++) {
      const whole = summary.run(i);
      const cuts = rows.get(whole.partitionId)?.cuts;
      const run = cuts === undefined ? whole : cutRun(cutsOf(rows.get(whole.partitionId)), slice.id, whole);
      if (run !== null) found.get(run.partitionId)!.place(slice, run);
    }
  }
  return found;
}

export type { HeadwaterLog };

/** Opens the log on a store. Rejects only when the store itself cannot be used. */
export async function openLog({ store, env, metrics, logger, options = {} }: OpenLog): Promise<HeadwaterLog> {
  const ladder =
    options.disk === undefined
      ? null
      : new DiskLadder({ clock: env.clock, logger, metrics, store, options: options.disk });
  const freeAtStart = (await ladder?.prepare()) ?? Number.POSITIVE_INFINITY;
  const { meta, damaged: metaDamaged } = await openMeta(store, logger);
  const { stamps, found: stamped } = await EndStamps.load(store, env.clock, logger);
  const ledger = new Ledger(meta, env.clock);
  const damages: LedgerEntry[] = [];
  await ledger.load((entry) => {
    if (entry.by === 'log' && /^(corruption|skipped):/.test(entry.reason)) damages.push(entry);
  });
  const catalog = new Catalog(meta, store, logger);
  await catalog.load(metaDamaged);
  const knownLosses = new KnownLosses();
  for (const { topic, topicId, partition, firstOffset, lastOffset } of damages) {
    const row = catalog.rows.get(topic);
    const id = row?.id === topicId ? row.partitionIds[partition] : undefined;
    if (id !== undefined) knownLosses.add(id, { firstOffset, lastOffset });
  }
  const partitionStore = new PartitionStore(meta);
  const rows = await partitionStore.rows();
  const closed = await partitionStore.takeClosedMark();
  const { through, byPartition } = await partitionStore.snapshots();

  const slices = new Slices(store, {
    writeBufferBytes: options.writeBufferBytes ?? 2 * MiB,
    openSlicesMax: OPEN_SEALED_SLICES_MAX,
    indexMaxBytes: INDEX_MAX_BYTES,
    filterMaxBytes: KEY_FILTERS_MAX_BYTES,
  });
  const recovery = new Recovery({ slices, meta, logger, snapshotsThrough: through, snapshots: byPartition });
  // Not kept in this scope, which lives as long as the log does: the summaries are some KB a slice.
  const { slices: foundSlices, ...recovered } = await recovery.run();
  const oldestSliceId = foundSlices[0]?.slice.id ?? 0;
  const segmentsById = foundSegments(foundSlices, rows);
  for (const id of segmentsById.keys()) catalog.reservePartitionId(id);

  const freeOrStored = freeAtStart + slices.storedBytes;
  const commitListeners: CommitListener[] = [];
  const damageListener: { report: (range: DamagedRange) => void } = { report: () => {} };
  const parts: { log: HeadwaterLog | null } = { log: null };
  const writer = new SliceWriter({
    slices,
    meta,
    logger,
    sliceBytes: () => options.sliceBytes ?? sliceBytes(options.retentionTotalBytes ?? freeOrStored, slices.storedBytes),
    nextSliceId: recovered.nextSliceId,
    nextChunkId: recovered.nextChunkId,
    resume: recovered.resume,
    onChunkClosed: (chunkId) => parts.log?.chunkClosed(chunkId),
    onSealed: (slice) => parts.log?.sliceSealed(slice),
  });
  const pace = new CommitPace({
    leastMs: options.flushMs ?? 0,
    bytesPerDay: options.wearBytesPerDay ?? 0,
    mostMs: options.wearMaxMs ?? 0,
  });
  metrics.computedCounter(
    'headwater_log_wear_bytes_total',
    'What commits of records cost the device, by the model that flush.wear.bytes.per.day counts with',
    () => pace.spentBytes,
  );
  const queue = new AppendQueue({
    clock: env.clock,
    sink: writer,
    logger,
    pace,
    commits: metrics.counter('headwater_log_commits_total', 'Synced writes of record data'),
    storedBytes: metrics.counter('headwater_log_stored_bytes_total', 'Bytes of record batches stored'),
    syncSeconds: metrics.histogram(
      'headwater_log_sync_seconds',
      'Time of one synced write',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    ),
  });
  const reader = new LogReader(
    slices,
    () => writer,
    (range) => damageListener.report(range),
  );
  const host: PartitionHost = {
    clock: env.clock,
    logger,
    queue,
    reader,
    readAhead: new ReadAhead(env.clock, (id, segments, from, upTo, maxBytes) =>
      reader.read(id, segments, from, upTo, maxBytes, 'records'),
    ),
    tailCache: new TailCache(TAIL_CACHE_MAX_BYTES),
    stamps,
    corrections: options.corrections ?? new TimeCorrections(),
    brokerId: options.brokerId ?? 1,
    commitListeners,
    diskRefusal: (topic, bytes) => ladder?.refusal(topic, bytes) ?? null,
    follows: () => parts.log?.follows ?? false,
    savePartition: (partition) => partitionStore.save([partition]),
  };

  const topicDefaults = options.topicDefaults ?? new Map<string, string>();
  const topics = new Map<string, LogTopic>();
  const losses: Loss[] = [];
  const changed: LogPartition[] = [];
  for (const row of catalog.rows.values()) {
    const overrides = new Map(Object.entries(row.overrides));
    const config = resolveTopicConfig(overrides, topicDefaults);
    const topic = new LogTopic(row.name, row.id, row.internal, config, overrides);
    await topic.configure(config, overrides);
    row.partitionIds.forEach((id, index) => {
      const segments = segmentsById.get(id) ?? new Segments();
      const placed = placePartition(id, segments, {
        row: rows.get(id),
        stamp: stamped.get(id),
        losses: knownLosses,
        recovered,
        oldestSliceId,
        metaDamaged: metaDamaged() || recovered.metaBehind || catalog.lostWrites,
        closed,
      });
      const partition = new LogPartition(host, topic, index, id, placed.start);
      topic.partitions.push(partition);
      // After a stop that was none, what the last write held may be there or not: a reader that has seen more than is there
      // now must be able to notice (KIP-101), even where the disk lost what it had confirmed.
      const raised = !closed && partition.logEndOffset > 0 && partition.raiseEpoch();
      if (placed.losses.length > 0 || raised) changed.push(partition);
      if (placed.losses.length === 0) return;
      for (const loss of placed.losses) {
        losses.push({ topic: row.name, topicId: row.id, partition: index, by: 'log', ...loss });
      }
    });
    topics.set(row.name, topic);
  }
  stamps.retain(new Set([...catalog.rows.values()].flatMap((row) => row.partitionIds)));
  if (losses.length > 0) {
    logger.error({ losses }, 'records were lost; the ranges are in the loss ledger');
    await ledger.record(losses);
  }
  if (changed.length > 0) await partitionStore.save(changed);
  for (const topic of topics.values()) {
    for (const partition of topic.partitions) {
      const stamp = stamped.get(partition.id);
      const { logEndOffset, highWatermark, cutBefore } = partition;
      const stale =
        stamp?.end !== logEndOffset || stamp.highWatermark !== highWatermark || stamp.cutBefore !== cutBefore;
      if (logEndOffset > 0 && stale) stamps.note(partition);
    }
  }
  let largestProducerId = -1;
  for (const state of recovered.producers.values()) {
    largestProducerId = Math.max(largestProducerId, state.largestProducerId());
  }
  const logParts: LogParts = {
    store,
    env,
    metrics,
    logger,
    options,
    meta,
    ledger,
    catalog,
    partitionStore,
    stamps,
    knownLosses,
    slices,
    writer,
    queue,
    host,
    commitListeners,
    topics,
    topicDefaults,
    producerIds: await ProducerIds.load(
      meta,
      // Ids that a damaged database gave and no record shows: the gap is larger than any broker's use between two writes.
      metaDamaged() || recovered.metaBehind ? largestProducerId + DAMAGE_SKIP_PRODUCER_IDS : largestProducerId,
    ),
    troubled: recovered.troubled,
    reader,
    ladder,
    metaFailure: () => meta.failure,
    snapshotsThrough: through,
  };
  const log = new HeadwaterLog(logParts);
  parts.log = log;
  damageListener.report = (range) => log.damageFound(range);
  if (ladder !== null) {
    const onFailure = (error: HeadwaterError) => {
      if (error.code === 'DISK_FULL') ladder.metFull();
    };
    queue.onFailure = onFailure;
    meta.onFailure = onFailure;
    await ladder.start({
      makeRoom: (bytes) => log.makeRoom(bytes),
      failed: () => queue.failure !== null || meta.failure !== null,
      heal: async () => {
        await Promise.allSettled([meta.write([]), queue.closed ? null : queue.flush()]);
      },
    });
  }
  const schedule = options.retentionSchedule === undefined ? DEFAULT_RETENTION_INTERVAL_MS : options.retentionSchedule;
  if (schedule !== null) log.scheduleRetention(schedule);
  return log;
}
