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
