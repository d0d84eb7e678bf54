/**
 * The disk ladder as words and a table: numbers in, a state out. `ok`; `low`: topics with `disk.full: drop-oldest` give
 * way; `full`: topics with `reject`, and everything when nothing can give way, are refused. Each step back needs more
 * space than the step there, so that a disk at a mark does not flap.
 */
export type DiskState = 'ok' | 'low' | 'full';

/** What a look at the disk found. `none`: less than the broker itself needs, or a write has met a full disk. */
export type DiskSight = 'roomy' | 'enough' | 'short' | 'scarce' | 'none';

/** disk.full of a topic. */
export type DiskFullPolicy = 'drop-oldest' | 'reject';

export const DISK_STEPS: Readonly<Record<DiskState, Readonly<Record<DiskSight, DiskState>>>> = {
  ok: { roomy: 'ok', enough: 'ok', short: 'low', scarce: 'low', none: 'full' },
  low: { roomy: 'ok', enough: 'low', short: 'low', scarce: 'low', none: 'full' },
  full: { roomy: 'ok', enough: 'low', short: 'low', scarce: 'full', none: 'full' },
};

/** All in bytes that are free beside the reserve. */
export interface DiskMarks {
  /** From here up `low` is left. */
  readonly roomy: number;
  /** Below it `low` begins: disk.low.bytes. */
  readonly low: number;
  /** From here up `full` is left. */
  readonly back: number;
  /** Below it `full` begins. */
  readonly full: number;
  /** Nothing is appended below it: what LevelDB needs for its logs and tables is never used up by records. */
  readonly floor: number;
}

export function diskMarks(lowBytes: number): DiskMarks {
  return { roomy: lowBytes * 1.25, low: lowBytes, back: lowBytes / 2, full: lowBytes / 4, floor: lowBytes / 8 };
}

export function diskSight(available: number, marks: DiskMarks): DiskSight {
  if (available >= marks.roomy) return 'roomy';
  if (available >= marks.low) return 'enough';
  if (available >= marks.back) return 'short';
  return available >= marks.full ? 'scarce' : 'none';
}

/** Whether a topic is refused whatever its size; what is left for the others is the allowance. */
export function isRefused(state: DiskState, policy: DiskFullPolicy, somethingGivesWay: boolean): boolean {
  return state === 'full' && (policy === 'reject' || !somethingGivesWay);
}
