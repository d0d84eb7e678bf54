/**
 * What the clock was wrong about, by stretches in which it ran undisturbed: which records were stored in each, and by how much
 * they are early once the clock is believed. Numbers in, numbers out; clock-history.ts keeps them.
 */
import { STEP_TOLERANCE_MS } from './trust.ts';

/** Partition id -> offset. */
export type Marks = ReadonlyMap<number, number>;

export interface Stretch {
  readonly bootId: string;
  /** Wall clock minus uptime, ms: what the clock says about when this boot began. */
  readonly difference: number;
  /** Wall clock at its first and at its last record or moment, ms. */
  readonly from: number;
  readonly to: number;
  /** The clock was believed in it. */
  readonly believed: boolean;
  /** Where the logs ended when it began. */
  readonly marks: Marks;
}

export interface Corrected {
  readonly partition: number;
  readonly start: number;
  readonly end: number;
  readonly from: number;
  readonly to: number;
  readonly by: number;
}

/** Until the next stretch begins: what is still on its way to the disk belongs to it. Newer timestamps do not fit its times. */
export const OPEN_END = Number.MAX_SAFE_INTEGER;

/**
 * The corrections of all `stretches` but the last one, which is now and whose clock is believed. `ends`: where the logs end.
 *
 * Earlier in this boot: exact, for uptime ran on. A boot in which nobody learned the time has run before this one began, and
 * nobody knows how long before: its last record is taken for as old as the next boot, the latest that is possible, so order
 * and distances are kept and nothing looks older than it is.
 */
export function correctionsOf(stretches: readonly Stretch[], ends: Marks): Corrected[] {
  const now = stretches.at(-1);
  if (now === undefined) return [];
  const corrected: Corrected[] = [];
  /** When the boot that is looked at truly began. */
  let began = now.difference;
  let { bootId } = now;
  for (let i = stretches.length - 2; i >= 0; i--) {
    const stretch = stretches[i]!;
    if (stretch.bootId !== bootId) {
      // What was believed to its end was right, and so was all before it.
      if (stretch.believed) break;
      bootId = stretch.bootId;
      began = stretch.difference + (began - stretch.to);
    }
    const by = began - stretch.difference;
    if (by <= STEP_TOLERANCE_MS) continue;
    const isThisBoot = bootId === now.bootId;
    for (const [partition, end] of isThisBoot ? ends : stretches[i + 1]!.marks) {
      const start = stretch.marks.get(partition) ?? 0;
      // A clock that was slewed is off by less than a step.
      const from = stretch.from - STEP_TOLERANCE_MS;
      const to = stretch.to + STEP_TOLERANCE_MS;
      if (isThisBoot) corrected.push({ partition, start, end: OPEN_END, from, to, by });
      else if (end > start) corrected.push({ partition, start, end, from, to, by });
    }
  }
  return corrected;
}

/** Earlier corrections when a new stretch begins: their offsets end at the end of the logs. Those that hold nothing go. */
export function closed(corrected: readonly Corrected[], starts: Marks, ends: Marks): Corrected[] {
  return corrected
    .map((one) => ({ ...one, end: Math.min(one.end, ends.get(one.partition) ?? 0) }))
    .filter(({ partition, start, end }) => end > Math.max(start, starts.get(partition) ?? Number.POSITIVE_INFINITY));
}
