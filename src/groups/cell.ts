/**
 * One group at work: its state, its offsets, its mailbox and its one timer. Steps run one after another; while a step's
 * durable changes are being written the next ones wait, so nobody sees a state that is not stored. Offset commits only
 * pass through the mailbox for their check: their writes overlap, and the metadata store syncs many of them at once.
 */
import type { Clock, Timer } from '../env.ts';
import { asHeadwaterError, type HeadwaterError } from '../errors.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';
import { apply, type Change } from './apply.ts';
import { emptyGroup, type Group, type GroupValue, groupBytes, nextDeadline } from './group.ts';
import { OffsetTable } from './offsets.ts';
import { encodeGroup, groupKey, offsetKey, pendingKey } from './records.ts';
import type { Decision, StepContext } from './step.ts';
import { tick } from './step-member.ts';

/** After a failed write of its own (a rebalance that completes), a group tries again after this. */
const RETRY_MS = 1_000;

export interface CellHost {
  readonly meta: MetaStore;
  readonly clock: Clock;
  context(): StepContext;
  /** `bytes` more (or fewer) are held by groups. */
  account(bytes: number): void;
  /** Nothing is left in memory or in the store that would have to be kept. */
  idle(cell: GroupCell): void;
  writeFailed(cell: GroupCell, error: HeadwaterError): void;
  rebalanced(): void;
}

interface Task {
  /** Waits until no commit of the group is being written (deletions must not be overtaken). */
  readonly exclusive: boolean;
  run(): void;
}

export class GroupCell {
  readonly group: Group;
  readonly offsets = new OffsetTable();
  readonly #host: CellHost;
  readonly #queue: Task[] = [];
  #stored = false;
  #writing = false;
  #commits = 0;
  /** A write failed: the disk may have it all the same, and memory does not know. */
  #doubtful = false;
  #draining = false;
  #retryAt = 0;
  #timer: Timer | null = null;
  #timerAt = 0;
  #accounted = 0;
  #stopped = false;

  constructor(groupId: string, host: CellHost) {
    this.group = emptyGroup(groupId);
    this.#host = host;
  }

  /** Puts back what is stored. The sessions of its members begin anew. */
  load(value: GroupValue): void {
    this.#stored = true;
    apply(this.group, { kind: 'metadata', move: 'loaded', value }, this.#host.clock.monotonic());
  }

  /** After everything is loaded. */
  begin(): void {
    this.#drain();
  }

  /** Decides and executes in turn. */
  step(decide: (context: StepContext) => Decision, exclusive = false): void {
    this.enqueue(() => this.#execute(decide(this.#host.context())), exclusive);
  }

  /** Runs in turn: after what was decided before is stored. */
  enqueue(run: () => void, exclusive = false): void {
    this.#queue.push({ exclusive, run });
    this.#drain();
  }

  /** Writes records of offsets; `done` runs before any later task that is exclusive. */
  write(operations: readonly MetaOperation[], done: (error: HeadwaterError | null) => void): void {
    this.#commits++;
    const finish = (error: HeadwaterError | null) => {
      this.#commits--;
      if (error !== null) {
        this.#doubtful = true;
        this.#host.writeFailed(this, error);
      }
      done(error);
      this.#account();
      this.#drain();
    };
    this.#host.meta.write(operations).then(
      () => finish(null),
      (cause) => finish(asHeadwaterError(cause)),
    );
  }

  /** The offsets in memory are those on the disk. Not while commits are being written, nor after one failed. */
  get offsetsAreStored(): boolean {
    return this.#commits === 0 && !this.#doubtful;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #execute(decision: Decision): void {
    const operations = decision.changes.flatMap((change) => this.#operations(change));
    if (operations.length === 0) {
      this.#finish(decision);
      return;
    }
    this.#writing = true;
    this.#host.meta.write(operations).then(
      () => {
        this.#writing = false;
        this.#finish(decision);
        this.#drain();
      },
      (cause) => {
        this.#writing = false;
        // It may have removed the group, offsets and all.
        this.#doubtful = true;
        this.#host.writeFailed(this, asHeadwaterError(cause));
        for (const refuse of decision.refusals ?? []) refuse();
        this.#retryAt = this.#host.clock.monotonic() + RETRY_MS;
        this.#drain();
      },
    );
  }

  #operations(change: Change): MetaOperation[] {
    const { id } = this.group;
    if (change.kind === 'metadata') return [{ key: groupKey(id), value: encodeGroup(change.value) }];
    if (change.kind !== 'removed') return [];
    const gone: MetaOperation[] = [{ key: groupKey(id), value: null }];
    for (const { topic, partition } of this.offsets.entries()) {
      gone.push({ key: offsetKey(id, topic, partition), value: null });
    }
    for (const { producerId, entry } of this.offsets.pending()) {
      gone.push({ key: pendingKey(producerId, id, entry.topic, entry.partition), value: null });
    }
    return gone;
  }

  #finish(decision: Decision): void {
    const now = this.#host.clock.monotonic();
    let counts = false;
    for (const change of decision.changes) {
      apply(this.group, change, now);
      if (change.kind === 'metadata') this.#stored = true;
      if (change.kind === 'metadata' && change.move === 'joined') this.#host.rebalanced();
      if (change.kind !== 'alive') counts = true;
    }
    for (const answer of decision.answers) answer();
    if (counts) this.#account();
  }

  #drain(): void {
    if (this.#draining || this.#stopped) return;
    this.#draining = true;
    while (!this.#writing) {
      const context = this.#host.context();
      const own = context.now >= this.#retryAt ? tick(this.group, context) : null;
      if (own !== null) {
        this.#execute(own);
        continue;
      }
      const task = this.#queue[0];
      if (task === undefined || (task.exclusive && this.#commits > 0)) break;
      this.#queue.shift();
      task.run();
    }
    this.#draining = false;
    this.#arm();
    if (this.#isIdle()) this.#host.idle(this);
  }

  #isIdle(): boolean {
    if (this.#writing || this.#commits > 0 || this.#queue.length > 0) return false;
    const { state, members, pending } = this.group;
    if (state === 'Dead') return true;
    return state === 'Empty' && !this.#stored && members.size === 0 && pending.size === 0 && this.offsets.isEmpty;
  }

  #arm(): void {
    const now = this.#host.clock.monotonic();
    const deadline = this.#retryAt > now ? this.#retryAt : nextDeadline(this.group);
    if (this.#writing || deadline === null || this.group.state === 'Dead') {
      this.#timer?.cancel();
      this.#timer = null;
      return;
    }
    // A timer that fires too early only looks and is armed again: a heartbeat need not touch it.
    if (this.#timer !== null && this.#timerAt <= deadline) return;
    this.#timer?.cancel();
    this.#timerAt = deadline;
    const wait = Math.min(Math.max(Math.ceil(deadline - now), 0), 0x7fff_ffff);
    this.#timer = this.#host.clock.after(wait, () => {
      this.#timer = null;
      this.#drain();
    });
  }

  #account(): void {
    const bytes = this.group.state === 'Dead' ? 0 : groupBytes(this.group) + this.offsets.bytes;
    this.#host.account(bytes - this.#accounted);
    this.#accounted = bytes;
  }

  /** To be called when offsets were put from outside (at load). */
  settle(): void {
    this.#account();
  }

  /** The memory it held is given back. */
  forget(): void {
    this.#host.account(-this.#accounted);
    this.#accounted = 0;
    this.stop();
  }
}
