/** The replicas of one partition: this broker and its sync links. Keeps the ISR and the high watermark by Kafka's rules. */
import type { Clock, Timer } from '../env.ts';
import { caughtUpTime, mayJoin, nextHighWatermark, staysInSync } from './high-watermark.ts';
import type { Replica } from './types.ts';

/** replica.lag.time.max.ms of Kafka: how long after a start a replica that was in sync is waited for. */
const HOLD_MS = 30_000;

class Member implements Replica {
  readonly id: number;
  readonly maxLagMs: number;
  readonly #set: ReplicaSet;
  end = 0;
  inSync = false;
  caughtUpAt: number;
  previous: { at: number; localEnd: number };

  constructor(set: ReplicaSet, id: number, maxLagMs: number, now: number, localEnd: number) {
    this.#set = set;
    this.id = id;
    this.maxLagMs = maxLagMs;
    this.caughtUpAt = Number.NEGATIVE_INFINITY;
    this.previous = { at: now, localEnd };
  }

  advance(logEndOffset: number): void {
    this.#set.advance(this, logEndOffset);
  }

  remove(): void {
    this.#set.remove(this);
  }
}

export class ReplicaSet {
  readonly #clock: Clock;
  readonly #ownId: number;
  readonly #onChange: () => void;
  #members: Member[] = [];
  #localEnd: number;
  #timer: Timer | null = null;
  highWatermark: number;
  /**
   * Before the stop a replica in sync had not confirmed everything: it counts as in sync, and holds the high watermark, until
   * one is or the time to wait for it is over.
   */
  #holds = false;
  #holdTimer: Timer | null = null;

  /** `onChange`: the high watermark or the ISR changed other than by `appended`. */
  constructor(
    clock: Clock,
    ownId: number,
    start: { readonly logEndOffset: number; readonly highWatermark: number },
    onChange: () => void,
  ) {
    this.#clock = clock;
    this.#ownId = ownId;
    this.#localEnd = start.logEndOffset;
    this.highWatermark = start.highWatermark;
    this.#onChange = onChange;
    if (this.highWatermark >= this.#localEnd) return;
    this.#holds = true;
    this.#holdTimer = clock.after(HOLD_MS, () => {
      this.#release();
      this.#changed();
    });
  }

  #release(): void {
    this.#holds = false;
    this.#holdTimer?.cancel();
    this.#holdTimer = null;
  }

  get replicas(): number[] {
    return [this.#ownId, ...this.#members.map((member) => member.id)];
  }

  get inSyncReplicas(): number[] {
    return [this.#ownId, ...this.#members.filter((member) => member.inSync).map((member) => member.id)];
  }

  get inSyncCount(): number {
    let count = 1;
    for (const member of this.#members) if (member.inSync) count++;
    return count;
  }

  /** The high watermark waits for another replica: one that is in sync, or was before the stop. */
  get replicated(): boolean {
    return this.#holds || this.inSyncCount > 1;
  }

  /** The local log was truncated. */
  reset(localEnd: number): void {
    this.#release();
    this.#localEnd = localEnd;
    this.highWatermark = localEnd;
    for (const member of this.#members) member.end = Math.min(member.end, localEnd);
    this.#onChange();
  }

  /** The local log grew. */
  appended(localEnd: number): void {
    if (this.#members.length === 0 && !this.#holds) {
      this.#localEnd = localEnd;
      this.highWatermark = localEnd;
      return;
    }
    const now = this.#clock.monotonic();
    for (const member of this.#members) {
      // It had everything until this moment.
      if (member.end >= this.#localEnd) member.caughtUpAt = now;
    }
    this.#localEnd = localEnd;
    this.#expire(now);
    this.#raise();
  }

  add(id: number, maxLagMs: number): Replica {
    const member = new Member(this, id, maxLagMs, this.#clock.monotonic(), this.#localEnd);
    this.#members.push(member);
    this.#timer ??= this.#clock.every(Math.max(10, Math.floor(maxLagMs / 2)), () => {
      if (this.#expire(this.#clock.monotonic())) this.#changed();
    });
    this.#onChange();
    return member;
  }

  advance(member: Member, end: number): void {
    if (!this.#members.includes(member)) return;
    const now = this.#clock.monotonic();
    const before = this.highWatermark;
    member.end = Math.min(Math.max(member.end, end), this.#localEnd);
    member.caughtUpAt = caughtUpTime(member.end, this.#localEnd, now, member.previous, member.caughtUpAt);
    member.previous = { at: now, localEnd: this.#localEnd };
    const keepsUp = staysInSync(member.end, this.#localEnd, now, member.caughtUpAt, member.maxLagMs);
    const joins = !member.inSync && keepsUp && mayJoin(member.end, this.highWatermark);
    if (joins) {
      member.inSync = true;
      this.#release();
    }
    this.#raise();
    if (joins || this.highWatermark !== before) this.#onChange();
  }

  remove(member: Member): void {
    const at = this.#members.indexOf(member);
    if (at < 0) return;
    this.#members.splice(at, 1);
    member.inSync = false;
    if (this.#members.length === 0) this.close();
    // Taken out by its owner: nobody is waited for.
    if (this.#members.length === 0) this.#release();
    this.#changed();
  }

  /** Puts members that lag out of the ISR. Returns whether there were any. */
  #expire(now: number): boolean {
    let any = false;
    for (const member of this.#members) {
      if (!member.inSync) continue;
      if (staysInSync(member.end, this.#localEnd, now, member.caughtUpAt, member.maxLagMs)) continue;
      member.inSync = false;
      any = true;
    }
    return any;
  }

  #raise(): void {
    if (this.#holds) return;
    const ends = this.#members.filter((member) => member.inSync).map((member) => member.end);
    this.highWatermark = nextHighWatermark(this.highWatermark, this.#localEnd, ends);
  }

  #changed(): void {
    this.#raise();
    this.#onChange();
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#holdTimer?.cancel();
    this.#holdTimer = null;
  }
}
