/**
 * What the outside knows of a compacted partition: the newest acknowledged record of each key is there, at its offset; an
 * older one may be gone, a tombstone when it is old enough. Nothing is served that was not sent.
 */
import { recordsOf } from '../../src/log/reader.ts';
import type { Partition } from '../../src/log/types.ts';
import type { SeededRandom } from './clock.ts';

export interface Keyed {
  readonly key: string;
  /** null: a tombstone. */
  readonly value: string | null;
}

const KEYS = 12;

export class KeyedModel {
  readonly deleteRetentionMs = 20_000;
  readonly #acknowledged = new Map<number, Keyed & { readonly at: number }>();
  readonly #sent = new Set<string>();
  /** Keys with a tombstone on its way that was never acknowledged: it may be stored all the same. */
  readonly #openTombstones = new Map<string, number>();
  #counter = 0;
  /** Records that compaction had taken at the last check. */
  compacted = 0;
  #logEnd = 0;

  /** The next record to send; its value is there once. */
  next(random: SeededRandom): Keyed {
    const key = `k${random.below(KEYS)}`;
    const value = random.chance(0.15) ? null : `${key}.${this.#counter++} ${'.'.repeat(random.below(150))}`;
    this.#sent.add(`${key} ${value}`);
    if (value === null) this.#openTombstones.set(key, (this.#openTombstones.get(key) ?? 0) + 1);
    return { key, value };
  }

  acknowledge(offset: number, { key, value }: Keyed, now: number): void {
    if (this.#acknowledged.has(offset)) throw new Error(`keyed: offset ${offset} was given twice`);
    this.#acknowledged.set(offset, { key, value, at: now });
    if (value === null) this.#openTombstones.set(key, this.#openTombstones.get(key)! - 1);
  }

  /** What is wrong with what is served now. */
  check(
    served: ReadonlyMap<number, Keyed>,
    { logStartOffset: start, logEndOffset: end }: { readonly logStartOffset: number; readonly logEndOffset: number },
    now: number,
    isLost: (offset: number) => boolean,
  ): string[] {
    const problems: string[] = [];
    if (end < this.#logEnd) problems.push(`keyed: the log end went back from ${this.#logEnd} to ${end}`);
    this.#logEnd = end;
    /** The largest offset of each key that is known to be stored. */
    const newest = new Map<string, number>();
    const note = (key: string, offset: number) => newest.set(key, Math.max(newest.get(key) ?? -1, offset));
    for (const [offset, { key, value }] of served) {
      const wanted = this.#acknowledged.get(offset);
      const right =
        wanted === undefined ? this.#sent.has(`${key} ${value}`) : wanted.key === key && wanted.value === value;
      if (!right) problems.push(`keyed: ${offset} serves ${key} ${value}`);
      if (isLost(offset)) problems.push(`keyed: ${offset} is in the ledger and served`);
      note(key, offset);
    }
    for (const [offset, { key }] of this.#acknowledged) note(key, offset);
    this.compacted = 0;
    for (const [offset, { key, value, at }] of this.#acknowledged) {
      if (offset < start) {
        this.#acknowledged.delete(offset);
        continue;
      }
      if (offset >= end) problems.push(`keyed: acknowledged ${offset} is behind the log end ${end}`);
      if (served.has(offset) || isLost(offset)) continue;
      this.compacted++;
      if (newest.get(key)! > offset) continue;
      if (value === null && now - at >= this.deleteRetentionMs) continue;
      // A tombstone that was stored, not acknowledged, and has had its time.
      if ((this.#openTombstones.get(key) ?? 0) > 0) continue;
      problems.push(`keyed: ${offset}, the newest of ${key}, is missing (${value})`);
    }
    return problems;
  }
}

/** All records of the partition by offset. */
export async function readKeyed(partition: Partition): Promise<Map<number, Keyed>> {
  const served = new Map<number, Keyed>();
  const upTo = partition.logEndOffset;
  for (let next = partition.logStartOffset; next < upTo; ) {
    const { batches, nextOffset } = await partition.read({ from: next, upTo, maxBytes: 4_096 });
    for (const batch of batches) {
      const cursor = await recordsOf(batch);
      while (cursor.next()) {
        const { offset, key, value } = cursor;
        if (offset >= next) served.set(offset, { key: String(key), value: value === null ? null : String(value) });
      }
    }
    if (nextOffset <= next) throw new Error(`keyed: reading makes no progress at ${next}`);
    next = nextOffset;
  }
  return served;
}
