/** One partition of a transactional link: its position, and what it has to send. */
import type { Partition } from '../log/types.ts';
import { backlogBytes, backlogRecords, isLive } from './backlog.ts';
import type { Cursor, CursorStore } from './cursor.ts';
import { decided, type Forwarding, forwardable, sendableEnd } from './forwarding.ts';
import { OldestRecord } from './oldest-record.ts';
import type { Forwarded } from './outgoing.ts';

export interface TransactionalHost {
  readonly cursors: CursorStore;
  readonly replicaId: number | null;
  readonly replicaMaxLagMs: number;
  /** Something may be sent. */
  wake(): void;
}

export class TransactionalPartition {
  readonly partition: Partition;
  readonly upstreamTopic: string;
  readonly priority: number;
  readonly #host: TransactionalHost;
  readonly #oldest: OldestRecord;
  #replica: ReturnType<Partition['addReplica']> | null = null;
  #cursor: Cursor | null;
  /** Everything below it was read. */
  #readOffset = 0;
  /** An open transaction comes next: only another end helps. */
  #stuckAt = -1;
  #stopped = false;
  /** Its position is taken from upstream. */
  located = false;
  /** `clock.monotonic()` until which it waits after an error that will not pass by itself. */
  blockedUntil = 0;
  /** A record here may go up only once all before it is committed: it is too large, and will be skipped. */
  stopBefore = Number.POSITIVE_INFINITY;
  lastError: string | null = null;

  constructor(host: TransactionalHost, partition: Partition, upstreamTopic: string, priority: number) {
    this.#host = host;
    this.partition = partition;
    this.upstreamTopic = upstreamTopic;
    this.priority = priority;
    this.#oldest = new OldestRecord(partition);
    this.#cursor = host.cursors.get(partition.topic.id, partition.index) ?? null;
  }

  get upstreamPartition(): number {
    return this.partition.index;
  }

  get cursor(): Cursor | null {
    return this.#cursor;
  }

  get nextOffset(): number {
    return this.#cursor?.offset ?? this.partition.logStartOffset;
  }

  get backlogRecords(): number {
    return backlogRecords(this.partition, this.nextOffset);
  }

  get backlogBytes(): number {
    return backlogBytes(this.partition, this.nextOffset);
  }

  get live(): boolean {
    return isLive(this.partition, this.nextOffset);
  }

  oldestTimestamp(): number | null {
    return this.backlogRecords === 0 ? null : this.#oldest.timestampAt(this.nextOffset);
  }

  get state(): string {
    if (this.#stopped) return 'stopped';
    if (this.blockedUntil > 0) return 'blocked';
    return this.located ? 'sending' : 'locating';
  }

  start(): void {
    const { replicaId, replicaMaxLagMs } = this.#host;
    if (replicaId !== null) {
      this.#replica = this.partition.addReplica(replicaId, replicaMaxLagMs);
      if (this.#cursor !== null) this.#replica.advance(this.#cursor.offset);
    }
    this.partition.wait(this);
    this.#host.wake();
  }

  wake(): void {
    this.#host.wake();
  }

  stop(): void {
    this.#stopped = true;
    this.partition.cancelWait(this);
    this.#replica?.remove();
  }

  get isReplica(): boolean {
    return this.#replica !== null;
  }

  /** The transaction that was read is committed, or void: reading goes on at the position. */
  rewind(): void {
    this.#readOffset = this.nextOffset;
  }

  setCursor(cursor: Cursor): void {
    if (this.#stopped) return;
    this.#cursor = cursor;
    if (cursor.offset >= this.stopBefore) this.stopBefore = Number.POSITIVE_INFINITY;
    this.#host.cursors.set(this.partition.topic.id, this.partition.index, cursor);
    this.#replica?.advance(cursor.offset);
  }

  /** What is below `offset` is not for upstream. */
  skipTo(offset: number): void {
    if (this.#cursor !== null && offset > this.#cursor.offset) this.setCursor({ ...this.#cursor, offset });
  }

  get pending(): boolean {
    const end = sendableEnd(this.partition, this.isReplica);
    return this.#readOffset < Math.min(end, this.stopBefore) && end !== this.#stuckAt;
  }

  /** What goes up next, and the offset behind all that was read for it. */
  async read(maxBytes: number, how: Forwarding): Promise<{ batches: readonly Forwarded[]; nextOffset: number }> {
    const from = this.#readOffset;
    const upTo = sendableEnd(this.partition, this.isReplica);
    const { batches, nextOffset } = decided(this.partition, await this.partition.read({ from, upTo, maxBytes }));
    const forwarded = await forwardable(this.partition, batches, from, how);
    const stop = forwarded.findIndex(({ first }) => first >= this.stopBefore);
    this.#readOffset = Math.max(from, nextOffset);
    this.#stuckAt = this.#readOffset === from ? upTo : -1;
    if (stop >= 0) {
      // The part before it ends behind its own last record.
      forwarded.splice(stop);
      this.#readOffset = this.stopBefore;
    }
    return { batches: forwarded, nextOffset: this.#readOffset };
  }
}
