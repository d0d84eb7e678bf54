/**
 * The group commit: while one synced write is in flight, appends of all partitions gather; when it returns, what has
 * gathered is the next one. No timer: a small load gets latency, a big one big batches. Acknowledgements are given in the
 * continuation of the write, never before; where more waits already, its write is issued first, so that the disk works
 * while they are given.
 */
import type { Clock, Timer } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import { APPEND_QUEUE_MAX_BYTES, COMMIT_MAX_BYTES } from '../limits.ts';
import type { Logger } from '../logger.ts';
import type { Histogram, Series } from '../metrics.ts';
import type { CommitPace } from './commit-pace.ts';
import type { Slice } from './slice.ts';
import type { StoredBatch } from './slice-writer.ts';
import type { Acks, Appended, AppendOptions, LogRecord } from './types.ts';

const NOT_YET = new Uint8Array(0);

/** Appends of one partition that become one batch: records gathered from MQTT, or one batch of a Kafka producer. */
export class AppendGroup implements StoredBatch {
  readonly partitionId: number;
  /** null: `batch` came as it is. */
  readonly records: LogRecord[] | null;
  readonly dones: Appended[];
  readonly acks: Acks;
  readonly origin: AppendOptions['origin'];
  /** What it counts in the queue; an upper bound of its stored size. */
  bytes: number;
  /** What is stored: of records it is empty until they are packed. */
  batch: Uint8Array;
  /** -1 until it has its offsets; it stays so when it is refused. */
  baseOffset = -1;
  lastOffset = -1;
  maxTimestamp = -1;
  readonly moved = false;
  /** The batch repeats one that is stored: only the answer is due. */
  duplicate = false;

  // Array literals of what is there: an empty array that is pushed to takes room for 17.
  constructor(
    partitionId: number,
    what: LogRecord | Uint8Array,
    done: Appended,
    acks: Acks,
    origin: AppendOptions['origin'],
    bytes: number,
  ) {
    const isBatch = what instanceof Uint8Array;
    this.partitionId = partitionId;
    this.records = isBatch ? null : [what];
    this.batch = isBatch ? what : NOT_YET;
    this.dones = [done];
    this.acks = acks;
    this.origin = origin;
    this.bytes = bytes;
  }

  /** Whether it has offsets and bytes of its own: it was neither refused nor is it a repetition. */
  get isStored(): boolean {
    return this.baseOffset >= 0 && !this.duplicate;
  }
}

/** A partition as the queue sees it. */
export interface AppendTarget {
  readonly id: number;
  /** Something waits in it and it is in the queue's list. */
  queued: boolean;
  /** Groups that wait, in order; the queue takes from the front. */
  readonly pending: readonly AppendGroup[];
  /** No further record may join a group that was taken. */
  closeOpenGroup(): void;
  /** Takes the first `count` of those that wait. */
  take(count: number): readonly AppendGroup[];
  /**
   * Gives the group its offsets and its stored bytes. Returns whether there is something to store: if not, the group was
   * answered (refused), or is a duplicate whose answer is due after this commit.
   */
  prepare(group: AppendGroup, now: number): boolean;
  /** All groups taken for this commit are stored. State first: nobody is told yet. */
  stored(groups: readonly AppendGroup[], slice: Slice, chunkId: number): void;
  /** Answers the groups whose acks are satisfied; keeps the others. */
  acknowledge(groups: readonly AppendGroup[]): void;
  /** Tells commit listeners, then wakes waiters. */
  announce(groups: readonly AppendGroup[]): void;
  /** Nothing was stored: offsets go back. */
  rejected(groups: readonly AppendGroup[], error: HeadwaterError): void;
}

/** Batches that the mover copies forward ride in the same stream of commits. */
export interface MoveRequest {
  readonly batches: readonly StoredBatch[];
  readonly bytes: number;
  readonly resolve: (at: { slice: Slice; chunkId: number }) => void;
  readonly reject: (error: HeadwaterError) => void;
}

export interface BatchSink {
  readonly slice: Slice;
  readonly writtenChunk: number;
  write(batches: readonly StoredBatch[], bytes: number): Promise<void>;
}

export interface AppendQueueOptions {
  readonly clock: Clock;
  readonly sink: BatchSink;
  readonly logger: Logger;
  readonly pace: CommitPace;
  readonly commits: Series;
  readonly storedBytes: Series;
  readonly syncSeconds: Histogram;
}

interface Part {
  readonly target: AppendTarget;
  readonly groups: readonly AppendGroup[];
}

/** What is written and synced as one. */
interface Commit {
  readonly parts: Part[];
  readonly batches: StoredBatch[];
  readonly move: MoveRequest | null;
  bytes: number;
}

export class AppendQueue {
  readonly #options: AppendQueueOptions;
  readonly #clock: Clock;
  #dirty: AppendTarget[] = [];
  #moves: MoveRequest[] = [];
  #bytes = 0;
  /** Why the last commit failed; null: it did not. */
  failure: HeadwaterError | null = null;
  /** Told of every failed commit. */
  onFailure: (error: HeadwaterError) => void = () => {};
  #running = false;
  #closed = false;
  /** The next commit waits for its time (commit-pace.ts). */
  #pacing: Timer | null = null;
  #drained: (() => void)[] = [];
  #idle: (() => void)[] = [];

  constructor(options: AppendQueueOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether `bytes` more may wait; a single append larger than the queue may when it is alone. */
  hasRoom(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= APPEND_QUEUE_MAX_BYTES;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes were added to a group of the target. */
  added(target: AppendTarget, bytes: number): void {
    this.#bytes += bytes;
    if (this.#pacing !== null && this.#bytes >= COMMIT_MAX_BYTES) this.#hurry();
    if (target.queued) return;
    target.queued = true;
    this.#dirty.push(target);
    if (!this.#running) this.#start();
  }

  move(request: MoveRequest): void {
    this.#moves.push(request);
    if (!this.#running) this.#start();
  }

  /** An empty commit in its turn: the writer rolls when it was asked to. */
  async flush(): Promise<void> {
    await new Promise<unknown>((resolve, reject) => {
      this.move({ batches: [], bytes: 0, resolve, reject });
    });
  }

  whenDrained(task: () => void): void {
    if (this.#bytes <= APPEND_QUEUE_MAX_BYTES / 2) task();
    else this.#drained.push(task);
  }

  #start(): void {
    this.#running = true;
    const wait = this.#wait();
    if (wait > 0) this.#pacing = this.#clock.after(wait, () => void this.#run());
    // What the sockets have ready in this turn belongs into the first commit.
    else this.#clock.soon(() => void this.#run());
  }

  #wait(): number {
    return this.#closed ? 0 : this.#options.pace.waitMs(this.#clock.monotonic(), this.#bytes);
  }

  /** There is no reason to wait any more. */
  #hurry(): void {
    this.#pacing?.cancel();
    this.#pacing = null;
    this.#clock.soon(() => void this.#run());
  }

  async #run(): Promise<void> {
    this.#pacing = null;
    /** It is stored, its answers are due. */
    let stored: Commit | null = null;
    try {
      while (this.#dirty.length > 0 || this.#moves.length > 0) {
        const commit = this.#gather();
        const writing = this.#write(commit);
        // Answered while the next one is on its way to the disk.
        if (stored !== null) this.#answer(stored);
        stored = null;
        if (await writing) stored = commit;
        if (this.#wait() > 0) break;
      }
      if (stored !== null) this.#answer(stored);
    } catch (error) {
      // Nothing in here rejects in normal operation: the commit's own failures are answered.
      this.#options.logger.error({ error }, 'the append queue failed');
    }
    this.#running = false;
    if (this.#dirty.length > 0 || this.#moves.length > 0) this.#start();
    else for (const task of this.#idle.splice(0)) task();
  }

  /** Writes it and takes it into the state of the log. Resolves with whether it is stored; if not, everybody has been told. */
  async #write(commit: Commit): Promise<boolean> {
    const { parts, batches, move } = commit;
    let failure: HeadwaterError | null = null;
    if (batches.length > 0 || move !== null) {
      const began = this.#clock.monotonic();
      try {
        await this.#options.sink.write(batches, commit.bytes);
        this.#options.commits.value++;
        this.#options.storedBytes.value += commit.bytes;
      } catch (error) {
        failure = asHeadwaterError(error);
      }
      const now = this.#clock.monotonic();
      this.#options.syncSeconds.observe((now - began) / 1_000);
      this.#options.pace.committed(now, commit.bytes);
      this.failure = failure;
    }
    for (const { groups } of parts) for (const group of groups) this.#bytes -= group.bytes;
    if (failure !== null) {
      this.onFailure(failure);
      move?.reject(failure);
      this.#reject(parts, failure);
      this.#callDrained();
      return false;
    }
    const { sink } = this.#options;
    for (const { target, groups } of parts) target.stored(groups, sink.slice, sink.writtenChunk);
    move?.resolve({ slice: sink.slice, chunkId: sink.writtenChunk });
    return true;
  }

  #answer({ parts }: Commit): void {
    for (const { target, groups } of parts) target.acknowledge(groups);
    for (const { target, groups } of parts) target.announce(groups);
    this.#callDrained();
  }

  /** Takes groups from the front of every waiting partition until the commit is full. */
  #gather(): Commit {
    const move = this.#moves.shift() ?? null;
    const commit: Commit = {
      parts: [],
      batches: move === null ? [] : [...move.batches],
      move,
      bytes: move?.bytes ?? 0,
    };
    const { parts, batches } = commit;
    let taken = 0;
    const now = this.#clock.now();
    let cut: AppendTarget | null = null;
    for (
      ;
      cut === null && taken < this.#dirty.length && (commit.bytes < COMMIT_MAX_BYTES || parts.length === 0);
      taken++
    ) {
      const target = this.#dirty[taken]!;
      const { pending } = target;
      let count = 0;
      for (; count < pending.length; count++) {
        const group = pending[count]!;
        // The first of all is taken whatever its size and whatever is moved.
        const first = parts.length === 0 && count === 0;
        if (!first && commit.bytes + group.bytes > COMMIT_MAX_BYTES) break;
        if (count === pending.length - 1) target.closeOpenGroup();
        if (!target.prepare(group, now)) continue;
        batches.push(group);
        commit.bytes += group.batch.byteLength;
      }
      if (count > 0) parts.push({ target, groups: target.take(count) });
      if (target.pending.length > 0) cut = target;
      else target.queued = false;
    }
    // Partitions that were not reached come first next time; one that has had a share goes behind them.
    if (taken === this.#dirty.length) this.#dirty = cut === null ? [] : [cut];
    else {
      this.#dirty.splice(0, taken);
      if (cut !== null) this.#dirty.push(cut);
    }
    return commit;
  }

  #reject(parts: readonly Part[], error: HeadwaterError): void {
    if (parts.length === 0) return;
    this.#options.logger.error({ code: error.code, error }, `records could not be stored: ${error.message}`);
    for (const part of parts) part.target.rejected(part.groups, error);
  }

  #callDrained(): void {
    if (this.#drained.length === 0 || this.#bytes > APPEND_QUEUE_MAX_BYTES / 2) return;
    for (const task of this.#drained.splice(0)) task();
  }

  /** Whoever appends from now on is told SHUTTING_DOWN. */
  refuse(): void {
    this.#closed = true;
  }

  /** Commits what waits. */
  async close(): Promise<void> {
    this.refuse();
    if (this.#pacing !== null) this.#hurry();
    if (!this.#running && this.#dirty.length === 0 && this.#moves.length === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle.push(resolve);
    });
    if (this.#bytes !== 0) throw new HeadwaterError('INTERNAL', `${this.#bytes} bytes left in a closed append queue`);
  }
}
