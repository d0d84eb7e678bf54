/**
 * Whose batch goes next: higher priority strictly first; at one priority, live partitions (at the end of their log)
 * and those with a backlog share by `liveShare`; in a lane everyone in turn.
 */
export interface LaneMember {
  readonly priority: number;
  readonly live: boolean;
}

/** Bytes each lane is owed; kept small so that a lane that was idle cannot claim its past. */
const CREDIT_MAX_BYTES = 1024 * 1024;

export class Lanes<T extends LaneMember> {
  readonly #members = new Set<T>();
  /** Positive: live has had less than its share. */
  #liveCredit = 0;
  liveShare: number;

  /** `liveShare`: 0 to 1. */
  constructor(liveShare: number) {
    this.liveShare = liveShare;
  }

  get size(): number {
    return this.#members.size;
  }

  add(member: T): void {
    this.#members.add(member);
  }

  delete(member: T): void {
    this.#members.delete(member);
  }

  /** The next one that `admits` accepts, taken out; undefined when there is none. */
  take(admits: (member: T) => boolean): T | undefined {
    let live: T | undefined;
    let backfill: T | undefined;
    for (const member of this.#members) {
      const best = member.live ? live : backfill;
      if (best !== undefined && best.priority >= member.priority) continue;
      if (!admits(member)) continue;
      if (member.live) live = member;
      else backfill = member;
    }
    const chosen = this.#choose(live, backfill);
    if (chosen !== undefined) this.#members.delete(chosen);
    return chosen;
  }

  #choose(live: T | undefined, backfill: T | undefined): T | undefined {
    if (live === undefined) return backfill;
    if (backfill === undefined) return live;
    if (live.priority !== backfill.priority) return live.priority > backfill.priority ? live : backfill;
    return this.#liveCredit >= 0 ? live : backfill;
  }

  /** `bytes` of a member went out while the other lane had something waiting (`contended`) or not. */
  sent(member: T, bytes: number, contended: boolean): void {
    if (!contended) {
      this.#liveCredit = 0;
      return;
    }
    const change = member.live ? -bytes * (1 - this.liveShare) : bytes * this.liveShare;
    this.#liveCredit = Math.max(-CREDIT_MAX_BYTES, Math.min(CREDIT_MAX_BYTES, this.#liveCredit + change));
  }

  /** Whether both lanes have a member at the highest priority. */
  get contended(): boolean {
    let live = -1;
    let backfill = -1;
    for (const { live: isLive, priority } of this.#members) {
      if (isLive) live = Math.max(live, priority);
      else backfill = Math.max(backfill, priority);
    }
    return live >= 0 && live === backfill;
  }
}
