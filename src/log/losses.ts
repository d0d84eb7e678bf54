/** Which offsets of a partition are gone: numbers in, ranges out. */
export interface OffsetRange {
  readonly firstOffset: number;
  /** Inclusive. */
  readonly lastOffset: number;
}

/** Stretches of offsets that ascend and do not overlap. */
export interface Spans {
  readonly length: number;
  baseOffset(i: number): number;
  /** Inclusive. */
  lastOffset(i: number): number;
}

/** The stretches of [start, end) that none of `spans` covers. */
export function missingRanges(start: number, end: number, spans: Spans): OffsetRange[] {
  const missing: OffsetRange[] = [];
  let next = start;
  for (let i = 0; i < spans.length; i++) {
    const baseOffset = spans.baseOffset(i);
    const lastOffset = spans.lastOffset(i);
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
    const fresh = missingRanges(firstOffset, lastOffset + 1, {
      length: known.length,
      baseOffset: (i) => known[i]!.baseOffset,
      lastOffset: (i) => known[i]!.lastOffset,
    });
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
