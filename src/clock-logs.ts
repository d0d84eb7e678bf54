/** What the history of the clock asks of the log, and what the log is told of it. */
import type { HeadwaterLog } from './log/headwater-log.ts';
import type { LogPartition } from './log/partition.ts';
import type { Correction, TimeCorrections } from './log/time-corrections.ts';
import type { Logs } from './time/clock-history.ts';
import type { Corrected } from './time/stretches.ts';
import { maxTimestampOf } from './wire/batch/record-batch.ts';

export function clockLogs(log: HeadwaterLog): Logs {
  const marks = (of: (partition: LogPartition) => number) =>
    new Map([...log.partitions()].map((one) => [one.id, of(one)] as const));
  return {
    starts: () => marks(({ logStartOffset }) => logStartOffset),
    ends: () => marks(({ logEndOffset }) => logEndOffset),
    lastTimestamp: async (id) => {
      const partition = log.partitionById(id);
      if (partition === undefined || partition.logEndOffset <= partition.logStartOffset) return null;
      const { logEndOffset } = partition;
      const { batches } = await partition.read({ from: logEndOffset - 1, upTo: logEndOffset, maxBytes: 1 });
      const batch = batches.at(-1);
      return batch === undefined ? null : maxTimestampOf(batch);
    },
  };
}

export function applyTo(corrections: TimeCorrections): (corrected: readonly Corrected[]) => void {
  return (corrected) => {
    const all = new Map<number, Correction[]>();
    for (const one of corrected) {
      const list = all.get(one.partition);
      if (list === undefined) all.set(one.partition, [one]);
      else list.push(one);
    }
    corrections.replace(all);
  };
}
