/** Where a partition begins and ends after a start, and what of it is lost: from what was found, known and stamped. */
import { cutBeforeOf } from './cuts.ts';
import type { EndStamp } from './end-stamps.ts';
import { raiseEpoch, trimEpochs } from './leader-epochs.ts';
import { type KnownLosses, missingRanges, type OffsetRange } from './losses.ts';
import type { PartitionStart } from './partition-host.ts';
import { cutsOf, epochsOf, type PartitionRow } from './partition-store.ts';
import { ProducerState } from './producer-state.ts';
import type { Recovered } from './recovery.ts';
import type { Segments } from './segments.ts';

/**
 * Offsets skipped where the end of the log is damaged and the last stop was none: more records than fit into what was
 * written behind the last stamp and the last closed chunk, so that none that was acknowledged is given to another record.
 */
export const DAMAGE_SKIP_OFFSETS = 1_000_000;

export interface Known {
  /** What the metadata database has. */
  readonly row: PartitionRow | undefined;
  readonly stamp: EndStamp | undefined;
  /** Gets what is lost now. */
  readonly losses: KnownLosses;
  readonly recovered: Pick<Recovered, 'troubled' | 'damaged' | 'producers'>;
  /** 0: there is no slice. */
  readonly oldestSliceId: number;
  /** Rows may be missing or old. */
  readonly metaDamaged: boolean;
  /** The last stop closed the log: rows and stamps say where it ended. */
  readonly closed: boolean;
}

export interface Placed {
  readonly start: PartitionStart;
  readonly losses: readonly (OffsetRange & { readonly reason: string })[];
}

/** Log start, log end, epochs and what is missing. */
export function placePartition(id: number, segments: Segments, known: Known): Placed {
  const { row, recovered, metaDamaged, closed } = known;
  const cuts = cutsOf(row);
  // An older stamp than the last truncation says where another log ended.
  const stamp = known.stamp !== undefined && known.stamp.cutBefore >= cutBeforeOf(cuts) ? known.stamp : undefined;
  const before = known.losses.of(id);
  const first = segments.at(0);
  // A row is written before anything is let go: without one, and with the database sound, the log begins at 0.
  const startInRow = row?.start ?? (metaDamaged && first !== undefined ? first.baseOffset : 0);
  segments.trim(startInRow);
  const foundEnd = (segments.last?.lastOffset ?? startInRow - 1) + 1;
  const lostEnd = (before[before.length - 1]?.lastOffset ?? -1) + 1;
  /** Every offset below it was given. */
  const given = Math.max(foundEnd, row?.end ?? 0, stamp?.end ?? 0, lostEnd, startInRow);
  const tailDamaged = recovered.troubled.some((trouble) => trouble.last) || Math.max(foundEnd, lostEnd) < given;
  const skip = tailDamaged && !closed && given > 0 ? DAMAGE_SKIP_OFFSETS : 0;
  const end = given + skip;
  const fresh = (range: OffsetRange) => known.losses.add(id, range);
  const missing = missingRanges(startInRow, given, segments).flatMap(fresh);
  const trouble = recovered.troubled.map(({ slice, reason }) => `${slice} ${reason}`).join('; ');
  const losses = missing.map((range) => ({
    ...range,
    reason: `corruption: ${trouble === '' ? 'records are missing' : trouble}`,
  }));
  if (skip > 0) {
    const reason = 'skipped: the end of the log was damaged; offsets that may have been given since the last stamp';
    losses.push(...fresh({ firstOffset: given, lastOffset: end - 1 }).map((range) => ({ ...range, reason })));
  }
  const damaged = recovered.damaged
    .filter((range) => range.partitionId === id && range.lastOffset >= startInRow)
    .flatMap(({ firstOffset, lastOffset, reason }) =>
      fresh({ firstOffset: Math.max(firstOffset, startInRow), lastOffset }).map((range) => ({ ...range, reason })),
    );
  let epochs = row === undefined ? [{ epoch: 0, startOffset: startInRow }] : epochsOf(row);
  if (losses.length > 0 || damaged.length > 0) epochs = raiseEpoch(epochs, end);
  // Nothing can be read before the first segment: that is where the log begins now.
  let logStart = startInRow;
  for (const gap of missingRanges(startInRow, end, segments)) {
    if (gap.firstOffset === logStart) logStart = gap.lastOffset + 1;
  }
  return {
    start: {
      logStartOffset: logStart,
      logEndOffset: end,
      // Without a replica what is stored is committed, however old the stamp is; behind damage the replicas cannot have what
      // was to come: there is nothing to wait for.
      highWatermark:
        stamp === undefined || !stamp.replicated || losses.length > 0
          ? end
          : Math.min(Math.max(stamp.highWatermark, logStart), end),
      epochs: trimEpochs(epochs, logStart),
      // Slices that a truncation concerned go in time, and it with them.
      cuts: cuts.filter(({ beforeSlice }) => known.oldestSliceId > 0 && known.oldestSliceId < beforeSlice),
      segments,
      producers: recovered.producers.get(id) ?? new ProducerState(),
    },
    losses: [...losses, ...damaged.map((range) => ({ ...range, reason: `corruption: ${range.reason}` }))],
  };
}
