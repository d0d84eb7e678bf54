/** One partition: its offsets, what waits to be appended, what waits for replicas, who waits for news. */

import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import {
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  lastOffsetDeltaOf,
  leaderEpochOf,
  maxTimestampOf,
  patchBaseOffset,
  patchLeaderEpoch,
  patchLogAppendTime,
  producerIdOf,
} from '../wire/batch/record-batch.ts';
import { compressBatch, encodeBatch, recordSizeBound } from '../wire/batch/record-encoder.ts';
import { admitBatch, tooLarge } from './admission.ts';
import { AppendGroup, type AppendTarget } from './append-queue.ts';
import { type Cut, cutBeforeOf } from './cuts.ts';
import { type EpochStart, endOffsetForEpoch, raiseEpoch, trimEpochs } from './leader-epochs.ts';
import type { OffsetRange } from './losses.ts';
import type { PartitionHost, PartitionStart } from './partition-host.ts';
import type { ProducerState } from './producer-state.ts';
import { ReplicaSet } from './replica-set.ts';
import type { Run } from './run-table.ts';
import type { Segments } from './segments.ts';
import type { Slice } from './slice.ts';
import type { StoredBatch } from './slice-writer.ts';
import { Tail } from './tail-cache.ts';
import { correctedResult, earlierOf, firstCorrected } from './time-corrections.ts';
import type { LogTopic } from './topic.ts';
import type {
  AbortedTransaction,
  Acks,
  ActiveProducer,
  Appended,
  AppendOptions,
  LogRecord,
  Partition,
  ReadOptions,
  ReadResult,
  Replica,
  Waiter,
} from './types.ts';

/** Room that the queue's size bound of a record leaves for the batch header. */
const RECORD_GROUP_OVERHEAD = BATCH_HEADER_BYTES;
/**
 * Records gathered into one batch at most this, even where max.message.bytes allows more: a reader who wants one of them
 * must read them all (of batches of 1,000 records two thirds, for a thousandth of a topic).
 */
const RECORD_GROUP_MAX_BYTES = 32 * 1024;
/** What is compressed together compresses better. */
const COMPRESSED_GROUP_MAX_BYTES = 256 * 1024;

export class LogPartition implements Partition, AppendTarget {
  readonly topic: LogTopic;
  readonly index: number;
  /** The partition's id in the store: never used again. */
  readonly id: number;
  readonly segments: Segments;
  readonly producers: ProducerState;
  readonly pending: AppendGroup[] = [];
  queued = false;
  stampQueued = false;
  logStartOffset: number;
  logEndOffset: number;
  epochs: readonly EpochStart[];
  /** What older slices still hold behind it is not in the log any more. */
  cuts: readonly Cut[];
  sizeBytes: number;
  /** The log end that the metadata database knows. */
  savedEndOffset: number;
  readonly #host: PartitionHost;
  readonly #tail = new Tail();
  readonly #replicas: ReplicaSet;
  readonly #waiters = new Set<Waiter>();
  /** The group that further records may join. */
  #open: AppendGroup | null = null;
  /** The offset that the next prepared group gets: ahead of the log end while a commit is in flight. */
  #nextOffset: number;
  /** acks=all groups above the high watermark, in offset order. */
  #parked: AppendGroup[] = [];
  #deleted = false;
  #savedStart: number;

  constructor(host: PartitionHost, topic: LogTopic, index: number, id: number, start: PartitionStart) {
    this.#host = host;
    this.topic = topic;
    this.index = index;
    this.id = id;
    this.segments = start.segments;
    this.producers = start.producers;
    this.logStartOffset = start.logStartOffset;
    this.#savedStart = start.logStartOffset;
    this.logEndOffset = start.logEndOffset;
    this.#nextOffset = start.logEndOffset;
    this.savedEndOffset = start.logEndOffset;
    this.epochs = start.epochs;
    this.cuts = start.cuts;
    this.sizeBytes = start.segments.bytes;
    this.#replicas = new ReplicaSet(host.clock, host.brokerId, start, () => this.#replicasChanged());
  }

  get name(): string {
    return `${this.topic.name}-${this.index}`;
  }

  /** Why clients may not write: another broker leads (a standby); null: they may. */
  #followingRefusal(origin: AppendOptions['origin']): HeadwaterError | null {
    if (origin === 'replication' || !this.#host.follows()) return null;
    return new HeadwaterError('NOT_LEADER', `${this.name}: this broker follows another, which leads`);
  }

  get cutBefore(): number {
    return cutBeforeOf(this.cuts);
  }

  get replicated(): boolean {
    return this.#replicas.replicated;
  }

  get highWatermark(): number {
    return this.#replicas.highWatermark;
  }

  get lastStableOffset(): number {
    return this.producers.lastStableOffset(this.#replicas.highWatermark);
  }

  get leaderEpoch(): number {
    return this.epochs[this.epochs.length - 1]!.epoch;
  }

  get inSyncReplicas(): readonly number[] {
    return this.#replicas.inSyncReplicas;
  }

  get replicas(): readonly number[] {
    return this.#replicas.replicas;
  }

  // Appending

  appendRecord(record: LogRecord, acks: Acks, done: Appended): void {
    const bytes = recordSizeBound(record);
    const limit = this.topic.config['max.message.bytes'];
    if (bytes + RECORD_GROUP_OVERHEAD > limit) {
      done(tooLarge(this.name, bytes + RECORD_GROUP_OVERHEAD, limit), -1);
      return;
    }
    const refusal =
      this.#followingRefusal('client') ?? this.#refusal(bytes, acks) ?? this.#host.diskRefusal(this.topic.name, bytes);
    if (refusal !== null) {
      done(refusal, -1);
      return;
    }
    let group = this.#open;
    const most = this.topic.compressor === null ? RECORD_GROUP_MAX_BYTES : COMPRESSED_GROUP_MAX_BYTES;
    if (group === null || group.acks !== acks || group.bytes + bytes > Math.min(limit, most)) {
      group = new AppendGroup([], null, acks, 'client', RECORD_GROUP_OVERHEAD);
      this.pending.push(group);
      this.#open = group;
      this.#host.queue.added(this, RECORD_GROUP_OVERHEAD);
    }
    group.records!.push(record);
    group.dones.push(done);
    group.bytes += bytes;
    this.#host.queue.added(this, bytes);
  }

  appendBatch(batch: Uint8Array, options: AppendOptions, done: Appended): void {
    try {
      admitBatch(this.name, this.topic.config, batch, options);
    } catch (error) {
      done(asHeadwaterError(error), -1);
      return;
    }
    let refusal = this.#followingRefusal(options.origin) ?? this.#refusal(batch.byteLength, options.acks);
    // A transaction must be able to end on a full disk: its few bytes come out of what records may not use.
    if (options.origin !== 'coordinator') refusal ??= this.#host.diskRefusal(this.topic.name, batch.byteLength);
    if (refusal !== null) {
      done(refusal, -1);
      return;
    }
    const group = new AppendGroup(null, batch, options.acks, options.origin, batch.byteLength);
    group.dones.push(done);
    this.#open = null;
    this.pending.push(group);
    this.#host.queue.added(this, batch.byteLength);
  }

  #refusal(bytes: number, acks: Acks): HeadwaterError | null {
    const { queue } = this.#host;
    if (this.#deleted) return new HeadwaterError('UNKNOWN_TOPIC', `topic ${this.topic.name} was deleted`);
    if (queue.closed) return new HeadwaterError('SHUTTING_DOWN', 'the broker is stopping');
    if (!queue.hasRoom(bytes)) {
      return new HeadwaterError('QUOTA_EXCEEDED', `${queue.bytes} bytes wait to be stored: the append queue is full`);
    }
    if (acks !== -1) return null;
    const wanted = this.topic.config['min.insync.replicas'];
    const have = this.#replicas.inSyncCount;
    if (have >= wanted) return null;
    return new HeadwaterError('NOT_ENOUGH_REPLICAS', `${this.name} has ${have} replicas in sync; ${wanted} are needed`);
  }

  closeOpenGroup(): void {
    this.#open = null;
  }

  prepare(group: AppendGroup, now: number): StoredBatch | null {
    try {
      if (this.#deleted) throw new HeadwaterError('UNKNOWN_TOPIC', `topic ${this.topic.name} was deleted`);
      const batch = group.records === null ? this.#patched(group, now) : this.#packed(group.records, now);
      if (batch === null) return null;
      group.batch = batch;
      group.baseOffset = this.#nextOffset;
      group.lastOffset = group.baseOffset + lastOffsetDeltaOf(batch);
      this.#nextOffset = group.lastOffset + 1;
      return {
        partitionId: this.id,
        baseOffset: group.baseOffset,
        lastOffset: group.lastOffset,
        maxTimestamp: maxTimestampOf(batch),
        batch,
        moved: false,
        records: group.records,
      };
    } catch (error) {
      this.#answer(group, asHeadwaterError(error), -1);
      return null;
    }
  }

  #packed(records: readonly LogRecord[], now: number): Uint8Array {
    const stamped = this.topic.config['message.timestamp.type'] === 'LogAppendTime';
    const options = { now, baseOffset: this.#nextOffset, leaderEpoch: this.leaderEpoch };
    const plain = encodeBatch(records, options);
    const { compressor } = this.topic;
    const batch = compressor === null ? plain : compressBatch(plain, compressor);
    if (stamped) patchLogAppendTime(batch, now);
    return batch;
  }

  /** A producer's batch with its offsets; null when it repeats one that is stored. Throws what refuses it. */
  #patched(group: AppendGroup, now: number): Uint8Array | null {
    const batch = group.batch!;
    if (group.origin === 'replication') {
      if (baseOffsetOf(batch) !== this.#nextOffset) {
        const at = baseOffsetOf(batch);
        throw new HeadwaterError('OFFSET_OUT_OF_RANGE', `${this.name}: a batch at ${at}; ${this.#nextOffset} is due`);
      }
      return batch;
    }
    const idempotent = producerIdOf(batch) >= 0;
    if (idempotent) {
      const original = this.producers.check(batch);
      if (original >= 0) {
        group.duplicate = true;
        group.baseOffset = original;
        group.lastOffset = original + lastOffsetDeltaOf(batch);
        return null;
      }
    }
    patchBaseOffset(batch, this.#nextOffset);
    patchLeaderEpoch(batch, this.leaderEpoch);
    if (this.topic.config['message.timestamp.type'] === 'LogAppendTime') patchLogAppendTime(batch, now);
    if (idempotent) this.producers.stage(batch);
    return batch;
  }

  stored(_groups: readonly AppendGroup[], batches: readonly StoredBatch[], slice: Slice, chunkId: number): void {
    this.producers.clearStaged();
    for (const { batch, baseOffset, lastOffset, maxTimestamp } of batches) {
      this.segments.append(slice, chunkId, baseOffset, lastOffset, batch.byteLength, maxTimestamp);
      this.#host.tailCache.add(this.#tail, baseOffset, lastOffset, batch);
      this.sizeBytes += batch.byteLength;
      if (producerIdOf(batch) >= 0) this.producers.apply(batch);
      const epoch = leaderEpochOf(batch);
      if (epoch > this.leaderEpoch) this.epochs = raiseEpoch(this.epochs, baseOffset, epoch);
      this.logEndOffset = lastOffset + 1;
    }
    if (batches.length === 0) return;
    this.#replicas.appended(this.logEndOffset);
    this.#host.stamps.note(this);
  }

  acknowledge(groups: readonly AppendGroup[]): void {
    for (const group of groups) {
      if (group.baseOffset < 0) continue; // refused: it has its answer
      if (group.acks === -1 && group.lastOffset >= this.highWatermark) this.#parked.push(group);
      else this.#answer(group, null, group.baseOffset);
    }
  }

  announce(groups: readonly AppendGroup[]): void {
    const listeners = this.#host.commitListeners;
    let any = false;
    for (const group of groups) {
      if (group.baseOffset < 0 || group.duplicate) continue;
      any = true;
      if (listeners.length === 0) continue;
      const { baseOffset, lastOffset, records } = group;
      const committed = { partition: this, baseOffset, lastOffset, batch: group.batch!, records };
      for (const listener of listeners) this.#guard(() => listener(committed));
    }
    if (any) this.#wake();
  }

  rejected(groups: readonly AppendGroup[], error: HeadwaterError): void {
    this.producers.clearStaged();
    this.#nextOffset = this.logEndOffset;
    for (const group of groups) {
      if (group.baseOffset >= 0) this.#answer(group, error, -1);
    }
  }

  #answer(group: AppendGroup, error: HeadwaterError | null, baseOffset: number): void {
    const { dones } = group;
    for (let i = 0; i < dones.length; i++) {
      try {
        dones[i]!(error, error === null ? baseOffset + i : -1);
      } catch (thrown) {
        this.#host.logger.error({ error: thrown, partition: this.name }, 'an append completion failed');
      }
    }
  }

  #guard(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.#host.logger.error({ error, partition: this.name }, 'a listener of the log failed');
    }
  }

  // Replicas and waiters

  #replicasChanged(): void {
    this.#host.stamps.note(this);
    const wanted = this.topic.config['min.insync.replicas'];
    let settled = 0;
    while (settled < this.#parked.length && this.#parked[settled]!.lastOffset < this.highWatermark) settled++;
    const groups = this.#parked.splice(0, settled);
    const have = this.#replicas.inSyncCount;
    for (const group of groups) {
      if (have >= wanted) this.#answer(group, null, group.baseOffset);
      else {
        const message = `${this.name}: stored, but only ${have} of ${wanted} replicas are in sync`;
        this.#answer(group, new HeadwaterError('NOT_ENOUGH_REPLICAS_AFTER_APPEND', message), -1);
      }
    }
    this.#wake();
  }

  #wake(): void {
    if (this.#waiters.size === 0) return;
    for (const waiter of [...this.#waiters]) this.#guard(() => waiter.wake(this));
  }

  wait(waiter: Waiter): void {
    this.#waiters.add(waiter);
  }

  cancelWait(waiter: Waiter): void {
    this.#waiters.delete(waiter);
  }

  addReplica(id: number, maxLagMs: number): Replica {
    return this.#replicas.add(id, maxLagMs);
  }

  // Reading

  read(options: ReadOptions): Promise<ReadResult> {
    const { from, maxBytes, only = null } = options;
    if (from < this.logStartOffset || from > this.logEndOffset) {
      const message = `${this.name}: offset ${from} is outside ${this.logStartOffset} to ${this.logEndOffset}`;
      return Promise.reject(new HeadwaterError('OFFSET_OUT_OF_RANGE', message));
    }
    const upTo = Math.min(options.upTo, this.logEndOffset);
    const { reader, readAhead, tailCache, corrections } = this.#host;
    let found: Promise<ReadResult>;
    if (from >= this.#tail.firstOffset) found = Promise.resolve(tailCache.read(this.#tail, from, upTo, maxBytes));
    else if (only == null) found = readAhead.read(this.id, this.segments, from, upTo, maxBytes);
    else found = reader.read(this.id, this.segments, from, upTo, maxBytes, 'records', only);
    const corrected = corrections.of(this.id);
    return corrected === undefined ? found : found.then((result) => correctedResult(corrected, result));
  }

  async offsetForTimestamp(timestamp: number): Promise<{ offset: number; timestamp: number } | null> {
    const { reader, corrections } = this.#host;
    const found = await reader.offsetForTimestamp(this.id, this.segments, timestamp, this.logStartOffset);
    const visible = found !== null && found.offset < this.highWatermark ? found : null;
    const corrected = corrections.of(this.id);
    return corrected === undefined ? visible : earlierOf(visible, await firstCorrected(this, corrected, timestamp));
  }

  correctedTime(offset: number, timestamp: number): number {
    return this.#host.corrections.time(this.id, offset, timestamp);
  }

  offsetOfMaxTimestamp(): Promise<{ offset: number; timestamp: number } | null> {
    return this.#host.reader.offsetOfMaxTimestamp(this.id, this.segments, this.logStartOffset);
  }

  endOffsetForEpoch(epoch: number): { epoch: number; endOffset: number } | null {
    return endOffsetForEpoch(this.epochs, epoch, this.logEndOffset);
  }

  abortedTransactions(from: number, upTo: number): readonly AbortedTransaction[] {
    return this.producers.abortedTransactions(from, upTo);
  }

  activeProducers(): readonly ActiveProducer[] {
    return this.producers.producers();
  }

  // Forgetting

  async deleteRecordsBefore(offset: number): Promise<number> {
    const wanted = offset === -1 ? this.highWatermark : offset;
    if (wanted < 0 || wanted > this.highWatermark) {
      const message = `${this.name}: cannot delete before ${offset}; the high watermark is ${this.highWatermark}`;
      throw new HeadwaterError('OFFSET_OUT_OF_RANGE', message);
    }
    if (wanted > this.logStartOffset) {
      this.moveLogStart(wanted);
      await this.#host.savePartition(this);
      this.startSaved(wanted);
    }
    return this.logStartOffset;
  }

  /** The log start moved, and that is not durable yet: retention sees to it before it removes anything. */
  get startIsUnsaved(): boolean {
    return this.logStartOffset !== this.#savedStart;
  }

  startSaved(offset: number): void {
    this.#savedStart = offset;
  }

  /**
   * Moves the log start in memory; the caller makes it durable before anything behind it is removed. `firstBytes`: what
   * the first segment has from there on, when it begins inside one.
   */
  moveLogStart(offset: number, firstBytes: number | null = null): void {
    if (offset <= this.logStartOffset) return;
    this.logStartOffset = offset;
    this.segments.trim(offset);
    if (firstBytes !== null) this.segments.shrinkFirst(offset, firstBytes);
    this.sizeBytes = this.segments.bytes;
    this.epochs = trimEpochs(this.epochs, offset);
    this.producers.trim(offset);
    this.#wake();
  }

  /** The mover or the compactor stored these offsets in a newer slice. */
  movedTo(slice: Slice, run: Run, replacedBytes?: number): void {
    this.segments.place(slice, run, replacedBytes);
    this.segments.trim(this.logStartOffset);
    this.sizeBytes = this.segments.bytes;
  }

  /** Begins a new leader epoch at the log end, unless the present one begins there. Returns whether it did. */
  raiseEpoch(): boolean {
    if (this.epochs[this.epochs.length - 1]!.startOffset === this.logEndOffset) return false;
    this.epochs = raiseEpoch(this.epochs, this.logEndOffset);
    return true;
  }

  /** Begins leader epoch `epoch` at the log end; it must be above all known ones. */
  beginEpoch(epoch: number): void {
    this.epochs = raiseEpoch(this.epochs, this.logEndOffset, epoch);
  }

  /** The epoch of the last record; -1: there is none. */
  get lastRecordEpoch(): number {
    if (this.logEndOffset <= this.logStartOffset) return -1;
    let last = this.epochs.length - 1;
    while (last > 0 && this.epochs[last]!.startOffset >= this.logEndOffset) last--;
    return this.epochs[last]!.epoch;
  }

  /**
   * Takes what lies at or behind `offset` out of the log (KIP-101): it is given again, by another leader. Nothing waits to be
   * appended, and everything stored so far lies in slices before `beforeSlice`. The caller makes it durable.
   */
  truncate(offset: number, beforeSlice: number): void {
    this.cuts = [...this.cuts.filter((cut) => cut.offset < offset), { offset, beforeSlice }];
    this.segments.forget(offset, Number.MAX_SAFE_INTEGER);
    this.#host.tailCache.clear(this.#tail);
    this.#moveEnd(offset);
    const kept = this.epochs.filter((entry) => entry.startOffset < offset);
    this.epochs = kept.length > 0 ? kept : [{ epoch: this.epochs[0]!.epoch, startOffset: offset }];
    this.producers.truncate(offset);
  }

  /** Empties the log and lets it begin at `offset`: the leader has nothing before it. */
  restartAt(offset: number, beforeSlice: number): void {
    this.truncate(Math.min(offset, this.logStartOffset), beforeSlice);
    this.logStartOffset = offset;
    this.#moveEnd(offset);
    this.epochs = [{ epoch: this.epochs[0]!.epoch, startOffset: offset }];
  }

  #moveEnd(offset: number): void {
    this.logEndOffset = offset;
    this.#nextOffset = offset;
    this.savedEndOffset = offset;
    this.sizeBytes = this.segments.bytes;
    this.#replicas.reset(offset);
    this.#wake();
  }

  /** A slice is lost: takes its segments out, raises the epoch. Returns the ranges that could be read until now. */
  dropSlice(slice: Slice): OffsetRange[] {
    const ranges: OffsetRange[] = [];
    for (const { baseOffset, lastOffset } of this.segments.drop(slice)) {
      if (lastOffset < this.logStartOffset) continue;
      ranges.push({ firstOffset: Math.max(baseOffset, this.logStartOffset), lastOffset });
    }
    if (ranges.length === 0) return ranges;
    this.epochs = raiseEpoch(this.epochs, this.logEndOffset);
    this.sizeBytes = this.segments.bytes;
    this.moveLogStart(this.segments.list[0]?.baseOffset ?? this.logEndOffset);
    return ranges;
  }

  /** Compaction has been through everything below `offset`: what memory has of it says more than the store. */
  compacted(offset: number): void {
    this.#host.tailCache.dropBelow(this.#tail, offset);
  }

  /** The topic is gone: everyone who waits is answered. */
  delete(): void {
    this.#deleted = true;
    this.#open = null;
    this.#replicas.close();
    this.#host.stamps.forget(this.id);
    const error = new HeadwaterError('UNKNOWN_TOPIC', `topic ${this.topic.name} was deleted`);
    for (const group of this.#parked.splice(0)) this.#answer(group, error, -1);
    this.#host.tailCache.clear(this.#tail);
    this.#wake();
  }

  /** The broker stops: replicas will not confirm any more. */
  close(): void {
    this.#replicas.close();
    const error = new HeadwaterError('SHUTTING_DOWN', 'the broker is stopping; the record is stored here');
    for (const group of this.#parked.splice(0)) this.#answer(group, error, -1);
  }
}
