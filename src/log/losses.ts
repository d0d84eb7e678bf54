/** Which offsets of a partition are gone: numbers in, ranges out. */
export interface OffsetRange {
  readonly firstOffset: number;
  /** Inclusive. */
  readonly lastOffset: number;
}

/** The stretches of [start, end) that no segment covers. `segments` ascend and do not overlap. */
export function missingRanges(
  start: number,
  end: number,
  segments: Iterable<{ readonly baseOffset: number; readonly lastOffset: number }>,
): OffsetRange[] {
  const missing: OffsetRange[] = [];
  let next = start;
  for (const { baseOffset, lastOffset } of segments) {
    if (baseOffset >= end) break;
    if (baseOffset > next) missing.push({ firstOffset: next, lastOffset: baseOffset - 1 });
    if (lastOffset >= next) next = lastOffset + 1;
  }
  if (next < end) missing.push({ firstOffset: next, lastOffset: end - 1 });
  return missing;
}

/** The ranges of each partition that are in the loss ledger already: nothing is counted twice, whoever meets it again. */
export class KnownLosses {
  readonly #byPartition = new Map<number, { baseOffset: number; lastOffset: number }[]>();

  /** Ascending, without overlap. */
  of(partitionId: number): readonly { readonly baseOffset: number; readonly lastOffset: number }[] {
    return this.#byPartition.get(partitionId) ?? [];
  }

  /** Notes the range and returns what of it is new. */
  add(partitionId: number, { firstOffset, lastOffset }: OffsetRange): OffsetRange[] {
    const known = this.#byPartition.get(partitionId) ?? [];
    const fresh = missingRanges(firstOffset, lastOffset + 1, known);
    for (const range of fresh) known.push({ baseOffset: range.firstOffset, lastOffset: range.lastOffset });
    this.#byPartition.set(
      partitionId,
      known.sort((a, b) => a.baseOffset - b.baseOffset),
    );
    return fresh;
  }

  /** What was to be recorded could not be. */
  forget(partitionId: number, range: OffsetRange): void {
    const known = this.#byPartition.get(partitionId) ?? [];
    const kept = known.filter((k) => k.baseOffset !== range.firstOffset || k.lastOffset !== range.lastOffset);
    this.#byPartition.set(partitionId, kept);
  }
}
