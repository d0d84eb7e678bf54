/** One partition: its offsets and how they move, what waits to be appended, who waits for news. */

import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import {
  BATCH_HEADER_BYTES,
  lastOffsetDeltaOf,
  leaderEpochOf,
  maxTimestampOf,
  producerIdOf,
} from '../wire/batch/record-batch.ts';
import { recordSizeBound } from '../wire/batch/record-encoder.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { admitBatch, appendRefusal, tooLarge } from './admission.ts';
import { AppendGroup, type AppendTarget } from './append-queue.ts';
import { type Cut, cutBeforeOf } from './cuts.ts';
import {
  type EpochStart,
  endOffsetForEpoch,
  lastEpochBefore,
  raiseEpoch,
  trimEpochs,
  truncateEpochs,
} from './leader-epochs.ts';
import type { OffsetRange } from './losses.ts';
import { assignOffsets } from './offset-assignment.ts';
import type { PartitionHost, PartitionStart } from './partition-host.ts';
import { PartitionReads } from './partition-reads.ts';
import type { ProducerState } from './producer-state.ts';
import { ReplicaSet } from './replica-set.ts';
import type { Run } from './run-table.ts';
import type { Segments } from './segments.ts';
import type { Slice } from './slice.ts';
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
import { Waiters } from './waiters.ts';

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
  pending: AppendGroup[] = [];
  queued = false;
  stampQueued = false;
  deleted = false;
  logStartOffset: number;
  logEndOffset: number;
  epochs: readonly EpochStart[];
  /** What older slices still hold behind it is not in the log any more. */
  cuts: readonly Cut[];
  sizeBytes: number;
  /** The log end that the metadata database knows. */
  savedEndOffset: number;
  readonly #host: PartitionHost;
  readonly #replicas: ReplicaSet;
  readonly #acknowledgements: Acknowledgements;
  readonly #reads: PartitionReads;
  readonly #waiters: Waiters;
  /** The group that further records may join. */
  #open: AppendGroup | null = null;
  /** The offset that the next prepared group gets: ahead of the log end while a commit is in flight. */
  #nextOffset: number;
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
    this.#acknowledgements = new Acknowledgements(this, host.logger);
    this.#waiters = new Waiters(host.logger);
    this.#reads = new PartitionReads(host, this);
  }

  get name(): string {
    return `${this.topic.name}-${this.index}`;
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

  get inSyncCount(): number {
    return this.#replicas.inSyncCount;
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
    const refusal = appendRefusal(this.#host, this, bytes, acks, 'client');
    if (refusal !== null) {
      done(refusal, -1);
      return;
    }
    let group = this.#open;
    const most = this.topic.compressor === null ? RECORD_GROUP_MAX_BYTES : COMPRESSED_GROUP_MAX_BYTES;
    if (group === null || group.acks !== acks || group.bytes + bytes > Math.min(limit, most)) {
      group = new AppendGroup(this.id, record, done, acks, 'client', RECORD_GROUP_OVERHEAD + bytes);
      this.#open = group;
      this.#enqueue(group);
      return;
    }
    group.records!.push(record);
    group.dones.push(done);
    group.bytes += bytes;
    this.#host.queue.added(this, bytes);
  }

  #enqueue(group: AppendGroup): void {
    if (this.pending.length === 0) this.pending = [group];
    else this.pending.push(group);
    this.#host.queue.added(this, group.bytes);
  }

  take(count: number): readonly AppendGroup[] {
    if (count < this.pending.length) return this.pending.splice(0, count);
    const all = this.pending;
    this.pending = [];
    return all;
  }

  appendBatch(batch: Uint8Array, options: AppendOptions, done: Appended): void {
    try {
      admitBatch(this.name, this.topic.config, batch, options);
    } catch (error) {
      done(asHeadwaterError(error), -1);
      return;
    }
    const refusal = appendRefusal(this.#host, this, batch.byteLength, options.acks, options.origin);
    if (refusal !== null) {
      done(refusal, -1);
      return;
    }
    this.#open = null;
    this.#enqueue(new AppendGroup(this.id, batch, done, options.acks, options.origin, batch.byteLength));
  }

  closeOpenGroup(): void {
    this.#open = null;
  }

  prepare(group: AppendGroup, now: number): boolean {
    try {
      if (this.deleted) throw new HeadwaterError('UNKNOWN_TOPIC', `topic ${this.topic.name} was deleted`);
      const batch = assignOffsets(this, group, this.#nextOffset, now);
      if (batch === null) return false;
      group.batch = batch;
      group.maxTimestamp = maxTimestampOf(batch);
      group.baseOffset = this.#nextOffset;
      group.lastOffset = group.baseOffset + lastOffsetDeltaOf(batch);
      this.#nextOffset = group.lastOffset + 1;
      return true;
    } catch (error) {
      this.#acknowledgements.refuse(group, asHeadwaterError(error));
      return false;
    }
  }

  stored(groups: readonly AppendGroup[], slice: Slice, chunkId: number): void {
    this.producers.clearStaged();
    const before = this.logEndOffset;
    for (const group of groups) {
      if (!group.isStored) continue;
      const { batch, baseOffset, lastOffset, maxTimestamp } = group;
      this.segments.append(slice, chunkId, baseOffset, lastOffset, batch.byteLength, maxTimestamp);
      this.#reads.stored(baseOffset, lastOffset, batch);
      this.sizeBytes += batch.byteLength;
      if (producerIdOf(batch) >= 0) this.producers.apply(batch);
      const epoch = leaderEpochOf(batch);
      if (epoch > this.leaderEpoch) this.epochs = raiseEpoch(this.epochs, baseOffset, epoch);
      this.logEndOffset = lastOffset + 1;
    }
    if (this.logEndOffset === before) return;
    this.#replicas.appended(this.logEndOffset);
    this.#host.stamps.note(this);
  }

  acknowledge(groups: readonly AppendGroup[]): void {
    for (const group of groups) {
      // Refused: it has its answer.
      if (group.baseOffset >= 0) this.#acknowledgements.stored(group);
    }
  }

  announce(groups: readonly AppendGroup[]): void {
    const listeners = this.#host.commitListeners;
    let any = false;
    for (const group of groups) {
      if (!group.isStored) continue;
      any = true;
      if (listeners.length === 0) continue;
      const { baseOffset, lastOffset, records } = group;
      const committed = { partition: this, baseOffset, lastOffset, batch: group.batch, records };
      for (const listener of listeners) {
        try {
          listener(committed);
        } catch (error) {
          this.#host.logger.error({ error, partition: this.name }, 'a listener of the log failed');
        }
      }
    }
    if (any) this.#waiters.wake(this);
  }

  rejected(groups: readonly AppendGroup[], error: HeadwaterError): void {
    this.producers.clearStaged();
    this.#nextOffset = this.logEndOffset;
    for (const group of groups) {
      if (group.baseOffset >= 0) this.#acknowledgements.refuse(group, error);
    }
  }

  // Replicas and waiters

  #replicasChanged(): void {
    this.#host.stamps.note(this);
    this.#acknowledgements.settle();
    this.#waiters.wake(this);
  }

  wait(waiter: Waiter): void {
    this.#waiters.add(waiter);
  }

  cancelWait(waiter: Waiter): void {
    this.#waiters.cancel(waiter);
  }

  addReplica(id: number, maxLagMs: number): Replica {
    return this.#replicas.add(id, maxLagMs);
  }

  // Reading

  read(options: ReadOptions): Promise<ReadResult> {
    return this.#reads.read(options);
  }

  offsetForTimestamp(timestamp: number): Promise<{ offset: number; timestamp: number } | null> {
    return this.#reads.offsetForTimestamp(timestamp);
  }

  correctedTime(offset: number, timestamp: number): number {
    return this.#reads.correctedTime(offset, timestamp);
  }

  offsetOfMaxTimestamp(): Promise<{ offset: number; timestamp: number } | null> {
    return this.#reads.offsetOfMaxTimestamp();
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
    this.#waiters.wake(this);
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
    return this.logEndOffset <= this.logStartOffset ? -1 : lastEpochBefore(this.epochs, this.logEndOffset);
  }

  /**
   * Takes what lies at or behind `offset` out of the log (KIP-101): it is given again, by another leader. Nothing waits to be
   * appended, and everything stored so far lies in slices before `beforeSlice`. The caller makes it durable.
   */
  truncate(offset: number, beforeSlice: number): void {
    this.cuts = [...this.cuts.filter((cut) => cut.offset < offset), { offset, beforeSlice }];
    this.segments.forget(offset, Number.MAX_SAFE_INTEGER);
    this.#reads.forget();
    this.#moveEnd(offset);
    this.epochs = truncateEpochs(this.epochs, offset);
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
    this.#waiters.wake(this);
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
    this.moveLogStart(this.segments.at(0)?.baseOffset ?? this.logEndOffset);
    return ranges;
  }

  /** Compaction has been through everything below `offset`: what memory has of it says more than the store. */
  compacted(offset: number): void {
    this.#reads.forgetBelow(offset);
  }

  /** The topic is gone: everyone who waits is answered. */
  delete(): void {
    this.deleted = true;
    this.#open = null;
    this.#replicas.close();
    this.#host.stamps.forget(this.id);
    const error = new HeadwaterError('UNKNOWN_TOPIC', `topic ${this.topic.name} was deleted`);
    this.#acknowledgements.abandon(error);
    this.#reads.forget();
    this.#waiters.wake(this);
  }

  /** The broker stops: replicas will not confirm any more. */
  close(): void {
    this.#replicas.close();
    const error = new HeadwaterError('SHUTTING_DOWN', 'the broker is stopping; the record is stored here');
    this.#acknowledgements.abandon(error);
  }
}
