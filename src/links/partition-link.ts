/**
 * One partition on its way upstream. Exactly once, at each instant (docs/links.md has the long form):
 *
 * - A producer id is durable in the cursor before the first batch bears it.
 * - Position moves only with an acknowledgement, in order; the cursor on disk follows in intervals. A crash therefore
 *   resumes at or before what upstream has, never after.
 * - After a start, and after any batch that was not acknowledged (refused, or its connection lost), nothing is sent until upstream's own last
 *   batch of ours was read (evidence.ts): the position moves to exactly there, whatever upstream still remembers.
 * - A batch that failed is sent again under the same sequence, after all batches behind it were answered; those that were
 *   stored meanwhile are dropped by upstream as copies (at most five are ever on their way, as many as it knows).
 * - What goes out from an offset is a run of small batches merged or its first batch alone (runs.ts). If upstream has the
 *   other one where evidence cannot see it yet (not committed there), it refuses the sequence, stores nothing, and the
 *   next attempt is the other one: merged and alone take turns, and only when both were refused may another producer begin.
 */
import type { Connection } from '../client/connection.ts';
import { asHeadwaterError, type HeadwaterError } from '../errors.ts';
import type { Partition } from '../log/types.ts';
import { addToSequence } from '../wire/batch/record-batch.ts';
import { kafkaErrorName } from '../wire/kafka/errors.ts';
import { backlogBytes, backlogRecords, isLive } from './backlog.ts';
import { backoffMs } from './backoff.ts';
import type { Cursor } from './cursor.ts';
import { classifyError, needsPerson } from './error-class.ts';
import { edgeLogOf, type Forwarding } from './forwarding.ts';
import type { LinkContext } from './link-context.ts';
import { OldestRecord } from './oldest-record.ts';
import type { Outgoing } from './outgoing.ts';
import { mayMove, type PartitionState } from './partition-states.ts';
import { takePosition } from './position.ts';
import { ReadAhead, type Reading } from './read-ahead.ts';
import { selectionById } from './selection.ts';
import type { BatchResult, Sender, SendingPartition } from './sender.ts';
import { hashedPartition } from './topic-selection.ts';
import type { Leader } from './upstream.ts';

/** Kafka remembers the last five batches of a producer (section 5 of the protocol facts). */
const IN_FLIGHT_MAX = 5;
/** Upstream surely knows our producer this long after an acknowledgement (`producer.id.expiration.ms`: a day by default). */
const KNOWN_FOR_MS = 10_000;

type Failure =
  | { readonly kind: 'lost'; readonly error: HeadwaterError }
  | { readonly kind: 'refused'; readonly result: BatchResult; readonly outgoing: Outgoing };

export class PartitionLink implements SendingPartition, Reading {
  readonly partition: Partition;
  readonly upstreamTopic: string;
  upstreamPartition: number;
  readonly priority: number;
  readonly #context: LinkContext;
  #state: PartitionState = 'idle';
  #cursor: Cursor | null = null;
  readonly #ahead: ReadAhead;
  /** Sent, in order, not acknowledged yet. */
  #inFlight: Outgoing[] = [];
  #mustLocate = true;
  /** `clock.monotonic()` of the last acknowledgement in this session; null: none yet. */
  #acknowledgedAt: number | null = null;
  /** Times that upstream refused our sequence since the last acknowledgement. */
  #sequenceRefusals = 0;
  /** Upstream's `max.message.bytes` is less than a run. */
  #runsTooLarge = false;
  /** What upstream refused as too large: to be split, or a single record. */
  #tooLarge: Outgoing | null = null;
  #failure: Failure | null = null;
  #attempts = 0;
  #sender: Sender | null = null;
  #wakeLoop: (() => void) | null = null;
  #highestSent = -1;
  #replica: ReturnType<Partition['addReplica']> | null = null;
  /** Why it does not go on, for people. */
  lastError: string | null = null;
  readonly #oldest: OldestRecord;

  constructor(context: LinkContext, partition: Partition, upstreamTopic: string, priority: number) {
    this.#context = context;
    this.partition = partition;
    this.#oldest = new OldestRecord(partition);
    this.upstreamTopic = upstreamTopic;
    this.upstreamPartition = partition.index;
    this.priority = priority;
    this.#ahead = new ReadAhead(this, context);
  }

  get state(): PartitionState {
    return this.#state;
  }

  get name(): string {
    return `${this.partition.topic.name}-${this.partition.index}`;
  }

  /** Everything below it is upstream. */
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

  #move(to: PartitionState): void {
    if (!mayMove(this.#state, to)) throw new TypeError(`partition ${this.name}: ${this.#state} may not become ${to}`);
    this.#state = to;
  }

  start(): void {
    this.#cursor = this.#context.cursors.get(this.partition.topic.id, this.partition.index) ?? null;
    if (this.#context.replicaId !== null) {
      this.#replica = this.partition.addReplica(this.#context.replicaId, this.#context.replicaMaxLagMs);
      if (this.#cursor !== null) this.#replica.advance(this.#cursor.offset);
    }
    this.partition.wait(this);
    void this.#run();
  }

  /** New records, or a high watermark that moved. */
  wake(): void {
    this.#ahead.fill();
  }

  stop(): void {
    if (this.#state === 'stopped') return;
    this.#move('stopped');
    this.partition.cancelWait(this);
    this.#replica?.remove();
    this.#dropUnsent();
    this.#wakeLoop?.();
  }

  get #stopped(): boolean {
    return this.#state === 'stopped';
  }

  // The life of the partition: connect, locate, send until something fails, settle, pause, again

  async #run(): Promise<void> {
    while (!this.#stopped) {
      if (this.#state !== 'connecting') this.#move('connecting');
      try {
        const leader = await this.#context.connect(this);
        if (this.#stopped) return;
        if (this.#mustLocate || this.#cursor === null) {
          this.#move('locating');
          await this.#context.locating(() => this.#locate(leader));
          if (this.#stopped) return;
        }
        await this.#sendUntilFailure(leader.connection);
      } catch (error) {
        if (this.#stopped) return;
        const failure = asHeadwaterError(error);
        this.#note(failure);
        this.#move(needsPerson(failure) ? 'blocked' : 'backing-off');
      }
      if (this.#stopped) return;
      if (this.#state === 'backing-off' || this.#state === 'blocked') await this.#pause();
    }
  }

  #note(error: HeadwaterError): void {
    this.lastError = error.message;
    if (error.code === 'INTERNAL') {
      this.#context.logger.error(
        { err: error.cause ?? error, partition: this.name },
        'a link failed in a way it should not',
      );
    } else this.#context.logger.debug({ partition: this.name, reason: error.message }, 'a link has to try again');
  }

  #pause(): Promise<void> {
    const { env, settings } = this.#context;
    const base = this.#state === 'blocked' ? settings.backoffMaxMs : settings.backoffBaseMs;
    const ms = backoffMs(this.#attempts++, base, settings.backoffMaxMs, env.random.unit());
    return this.#until((done) => {
      const timer = env.clock.after(ms, done);
      return () => timer.cancel();
    });
  }

  /** Resolves when `begin`'s `done` is called, or by `stop`. */
  #until(begin: (done: () => void) => () => void): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#wakeLoop = null;
        cancel();
        resolve();
      };
      this.#wakeLoop = done;
      let cancel = (): void => {};
      cancel = begin(done);
    });
  }

  async #sendUntilFailure(connection: Connection): Promise<void> {
    this.#move('sending');
    this.#failure = null;
    this.#acknowledgedAt = null;
    this.#ahead.begin(this.#cursor!);
    const sender = this.#context.senderOf(connection);
    this.#sender = sender;
    sender.attach(this);
    await this.#until((done) => {
      if (connection.closed) done();
      else this.#ahead.fill();
      return () => {};
    });
    sender.detach(this);
    this.#sender = null;
    if (this.#state === 'sending') this.#leaveSending();
  }

  /** The connection ended with nothing on its way: nothing is in doubt. */
  #leaveSending(): void {
    this.#dropUnsent();
    this.#move('settling');
    this.#move('connecting');
  }

  disconnected(error: HeadwaterError): void {
    if (this.#state !== 'sending' || this.#inFlight.length > 0) return;
    this.lastError = error.message;
    this.#wakeLoop?.();
  }

  // Position

  async #locate(leader: Leader): Promise<void> {
    const { partition } = this;
    const { broker, cursors, upstream } = this.#context;
    if (broker !== null) {
      const { length } = leader.topic.partitions;
      this.upstreamPartition = hashedPartition(broker, partition.topic.name, partition.index, length);
    }
    if (this.#tooLarge !== null) await upstream.learnLimit(this.upstreamTopic, this.#tooLarge.bytes);
    const before = this.#cursor;
    const { selection } = this.#context;
    // What was sent was chosen by the rules of that time: it is compared by them.
    const sentBy =
      before === null || before.selection === selection.id ? selection : await selectionById(before.selection);
    const { kind, cursor } = await takePosition({
      upstream,
      leader,
      edge: edgeLogOf(partition, this.isReplica, sentBy),
      upstreamTopic: this.upstreamTopic,
      upstreamPartition: this.upstreamPartition,
      cursor: before,
      refusedBefore: this.#sequenceRefusals > 2,
    });
    if (this.#stopped) return;
    if (kind !== 'confirmed') {
      this.#context.logger.info({ partition: this.name, kind, offset: cursor.offset }, 'position taken from upstream');
    }
    if (before !== null && cursor.offset > before.offset) {
      this.#context.counters.avoided.value += cursor.offset - before.offset;
    }
    this.#setCursor({ ...cursor, selection: selection.id });
    await cursors.flush();
    this.#mustLocate = false;
    await this.#skipLost();
    await this.#skipTooLarge();
  }

  #setCursor(cursor: Cursor): void {
    this.#cursor = cursor;
    this.#context.cursors.set(this.partition.topic.id, this.partition.index, cursor);
    this.#replica?.advance(cursor.offset);
  }

  /** What retention removed before it was sent goes to the ledger, in one write with the cursor. */
  async #skipLost(): Promise<void> {
    const cursor = this.#cursor;
    const { logStartOffset } = this.partition;
    if (cursor === null || cursor.offset >= logStartOffset) return;
    const reason = 'retention: removed before it was sent upstream';
    await this.#skip(cursor, logStartOffset, { first: cursor.offset, last: logStartOffset - 1, reason });
  }

  /** `oversize: skip`: the record that upstream refuses for its size goes to the ledger, and the position behind it. */
  async #skipTooLarge(): Promise<void> {
    const tooLarge = this.#tooLarge;
    this.#tooLarge = null;
    const cursor = this.#cursor;
    if (tooLarge === null || tooLarge.count > 1 || !this.#context.skipsOversize) return;
    if (cursor === null || cursor.offset > tooLarge.baseOffset) return;
    const { baseOffset: first, nextOffset, bytes } = tooLarge;
    const limit = this.#context.upstream.maxBatchBytes(this.upstreamTopic);
    const reason = `oversize: ${bytes} bytes, max.message.bytes upstream is ${limit}`;
    await this.#skip(cursor, nextOffset, { first, last: first, reason });
    this.#context.counters.oversize.value++;
  }

  async #skip(
    cursor: Cursor,
    offset: number,
    lost: { readonly first: number; readonly last: number; readonly reason: string },
  ): Promise<void> {
    const { topic, index } = this.partition;
    this.#setCursor({ ...cursor, offset });
    try {
      await this.#context.recordLoss({
        topic: topic.name,
        topicId: topic.id,
        partition: index,
        firstOffset: lost.first,
        lastOffset: lost.last,
        reason: lost.reason,
      });
    } catch (error) {
      // Neither of both is on disk.
      this.#setCursor(cursor);
      this.#mustLocate = true;
      throw error;
    }
  }

  // Reading

  get isReplica(): boolean {
    return this.#replica !== null;
  }

  get sending(): boolean {
    return this.#state === 'sending';
  }

  get forwarding(): Forwarding {
    const { selection, upstream } = this.#context;
    return { selection, maxBatchBytes: upstream.maxBatchBytes(this.upstreamTopic) };
  }

  prepared(): void {
    this.#sender?.offer(this);
  }

  /** Batches that are not for upstream move the position when nothing is due before them. */
  readTo(offset: number): void {
    if (this.#ahead.prepared.length > 0 || this.#inFlight.length > 0 || this.#cursor === null) return;
    if (offset > this.#cursor.offset) this.#setCursor({ ...this.#cursor, offset });
  }

  /** Retention may have overtaken us: that is found when the position is taken again. */
  readFailed(error: HeadwaterError): void {
    this.#failure ??= { kind: 'lost', error };
    this.#settle();
  }

  // Sending, as the sender sees it

  peek(): Outgoing | null {
    if (this.#state !== 'sending' || this.#inFlight.length >= this.#window()) return null;
    return this.#ahead.prepared.first(!this.#runsTooLarge && this.#sequenceRefusals % 2 === 0);
  }

  /**
   * One batch until upstream has acknowledged one: of a producer that it does not know (new, or expired) it takes any
   * first sequence, so a second batch could be stored although the first one was refused.
   */
  #window(): number {
    const at = this.#acknowledgedAt;
    const fresh = at !== null && this.#context.env.clock.monotonic() - at < KNOWN_FOR_MS;
    return fresh ? IN_FLIGHT_MAX : 1;
  }

  sent(): Outgoing {
    const { outgoing, readBytes } = this.#ahead.prepared.take();
    this.#context.memory.adjust(outgoing.bytes - readBytes);
    this.#inFlight.push(outgoing);
    if (outgoing.nextOffset <= this.#highestSent) this.#context.counters.resends.value += 1;
    else this.#highestSent = outgoing.nextOffset;
    return outgoing;
  }

  answered(outgoing: Outgoing, result: BatchResult): void {
    const index = this.#inFlight.indexOf(outgoing);
    if (index < 0) return;
    this.#inFlight.splice(index, 1);
    this.#context.memory.give(outgoing.bytes);
    if (result.code !== 0) this.#failure ??= { kind: 'refused', result, outgoing };
    if (this.#failure !== null) {
      this.#settle();
      return;
    }
    this.#acknowledged(outgoing, result.baseOffset);
    if (this.#state === 'stopped') return;
    if (this.#ahead.prepared.length > 0) this.#sender?.offer(this);
    this.#ahead.fill();
  }

  lost(outgoing: Outgoing, error: HeadwaterError): void {
    const index = this.#inFlight.indexOf(outgoing);
    if (index < 0) return;
    this.#inFlight.splice(index, 1);
    this.#context.memory.give(outgoing.bytes);
    this.#failure ??= { kind: 'lost', error };
    this.#settle();
  }

  #acknowledged(outgoing: Outgoing, baseOffset: number): void {
    const cursor = this.#cursor!;
    this.#attempts = 0;
    this.#acknowledgedAt = this.#context.env.clock.monotonic();
    this.#sequenceRefusals = 0;
    this.lastError = null;
    // Batches behind it that were skipped need no answer.
    const last = this.#inFlight.length === 0 && this.#ahead.prepared.length === 0;
    const offset = last ? Math.max(outgoing.nextOffset, this.#ahead.offset) : outgoing.nextOffset;
    const stored = baseOffset + outgoing.count;
    if (stored <= cursor.upstreamNext) this.#context.counters.avoided.value += outgoing.count;
    this.#setCursor({
      ...cursor,
      offset,
      sequence: addToSequence(outgoing.sequence, outgoing.count),
      upstreamNext: Math.max(cursor.upstreamNext, stored),
    });
    this.#context.delivered(outgoing.count, outgoing.bytes);
  }

  /** What was read and not sent goes; it is read again from the cursor. */
  #dropUnsent(): void {
    this.#sender?.withdraw(this);
    this.#ahead.clear();
  }

  /** A batch failed: nothing more goes out; once all are answered the failure decides how to go on. */
  #settle(): void {
    if (this.#state === 'sending') {
      this.#move('settling');
      this.#dropUnsent();
    }
    if (this.#state !== 'settling' || this.#inFlight.length > 0) return;
    const failure = this.#failure!;
    this.#failure = null;
    // Also after an answer: REQUEST_TIMED_OUT and others may have stored it, and the next attempt may be days away.
    this.#mustLocate = true;
    this.#decide(failure);
    this.#wakeLoop?.();
  }

  #decide(failure: Failure): void {
    if (failure.kind === 'lost') {
      this.#note(failure.error);
      this.#move('backing-off');
      return;
    }
    const { code, message } = failure.result;
    const name = kafkaErrorName(code);
    this.lastError = `${this.upstreamTopic}-${this.upstreamPartition}: ${name}${message === null ? '' : `: ${message}`}`;
    this.#context.counters.refused(name);
    const kind = classifyError(code);
    this.#context.logger.warn({ partition: this.name, error: name, kind }, 'upstream refused a batch');
    if (kind === 'locate') this.#sequenceRefusals++;
    if (kind === 'refresh') this.#context.upstream.invalidate(this.upstreamTopic);
    this.#move(
      kind === 'blocked' || (kind === 'too-large' && !this.#makeSmaller(failure.outgoing)) ? 'blocked' : 'backing-off',
    );
  }

  /** A run goes batch by batch, a batch in parts, a single record to the ledger or not at all: then false. */
  #makeSmaller(outgoing: Outgoing): boolean {
    if (outgoing.merged) {
      this.#runsTooLarge = true;
      return true;
    }
    this.#tooLarge = outgoing;
    if (outgoing.count > 1 || this.#context.skipsOversize) return true;
    this.lastError += `: record ${outgoing.baseOffset} of ${this.name} has ${outgoing.bytes} bytes (oversize: block)`;
    return false;
  }

  // For people

  /** When the oldest record that is not upstream yet was written, milliseconds since 1970; null: none, or not known yet. */
  oldestTimestamp(): number | null {
    if (this.backlogRecords === 0) return null;
    const timestamp = this.#inFlight[0]?.timestamp ?? this.#ahead.prepared.timestamp;
    if (timestamp !== null) return timestamp;
    return this.#oldest.timestampAt(this.nextOffset);
  }
}
