/** Leader epochs with the offset each begins at, and the look-up that lets a reader find where logs part (KIP-101). */
export interface EpochStart {
  readonly epoch: number;
  readonly startOffset: number;
}

/**
 * End offset of the largest epoch <= `epoch`; null when `epoch` is above all known ones. An epoch older than all known
 * ones ends where the oldest begins. `epochs` ascend in both fields and are not empty.
 */
export function endOffsetForEpoch(
  epochs: readonly EpochStart[],
  epoch: number,
  logEndOffset: number,
): { epoch: number; endOffset: number } | null {
  const latest = epochs[epochs.length - 1]!;
  if (epoch > latest.epoch || epoch < 0) return null;
  if (epoch === latest.epoch) return { epoch, endOffset: logEndOffset };
  let next = epochs.length - 1;
  while (next > 0 && epochs[next - 1]!.epoch > epoch) next--;
  const found = next === 0 ? epoch : epochs[next - 1]!.epoch;
  return { epoch: found, endOffset: epochs[next]!.startOffset };
}

/** Begins a new epoch at `startOffset`. Epochs that begin there or later hold no records and go. */
export function raiseEpoch(epochs: readonly EpochStart[], startOffset: number, epoch?: number): EpochStart[] {
  const latest = epochs[epochs.length - 1]?.epoch ?? -1;
  const raised = epoch ?? latest + 1;
  return [...epochs.filter((entry) => entry.startOffset < startOffset), { epoch: raised, startOffset }];
}

/** Drops what lies before the log start; the epoch that covers the start is kept and begins there. */
export function trimEpochs(epochs: readonly EpochStart[], logStartOffset: number): EpochStart[] {
  let first = 0;
  while (first + 1 < epochs.length && epochs[first + 1]!.startOffset <= logStartOffset) first++;
  const kept = epochs.slice(first);
  const head = kept[0]!;
  if (head.startOffset < logStartOffset) kept[0] = { epoch: head.epoch, startOffset: logStartOffset };
  return kept;
}

/** Drops what lies at or behind `logEndOffset`, where the log was cut; one epoch is always kept. */
export function truncateEpochs(epochs: readonly EpochStart[], logEndOffset: number): EpochStart[] {
  const kept = epochs.filter((entry) => entry.startOffset < logEndOffset);
  return kept.length > 0 ? kept : [{ epoch: epochs[0]!.epoch, startOffset: logEndOffset }];
}

/** The epoch of the last record of a log that is not empty. */
export function lastEpochBefore(epochs: readonly EpochStart[], logEndOffset: number): number {
  let last = epochs.length - 1;
  while (last > 0 && epochs[last]!.startOffset >= logEndOffset) last--;
  return epochs[last]!.epoch;
}
