/** What is stored of an append group: its records packed into one batch, or its producer's batch, with the offsets given to it. */
import { HeadwaterError } from '../errors.ts';
import {
  baseOffsetOf,
  lastOffsetDeltaOf,
  patchBaseOffset,
  patchLeaderEpoch,
  patchLogAppendTime,
  producerIdOf,
} from '../wire/batch/record-batch.ts';
import { compressBatch, encodeBatch } from '../wire/batch/record-encoder.ts';
import type { AppendGroup } from './append-queue.ts';
import type { ProducerState } from './producer-state.ts';
import type { LogTopic } from './topic.ts';
import type { LogRecord } from './types.ts';

interface Assigning {
  readonly name: string;
  readonly topic: LogTopic;
  readonly leaderEpoch: number;
  readonly producers: ProducerState;
}

/** The group's batch from `baseOffset` on; null when it repeats one that is stored. Throws what refuses it. */
export function assignOffsets(
  partition: Assigning,
  group: AppendGroup,
  baseOffset: number,
  now: number,
): Uint8Array | null {
  return group.records === null
    ? numbered(partition, group, baseOffset, now)
    : packed(partition, group.records, baseOffset, now);
}

function packed(partition: Assigning, records: readonly LogRecord[], baseOffset: number, now: number): Uint8Array {
  const { compressor, config } = partition.topic;
  const plain = encodeBatch(records, { now, baseOffset, leaderEpoch: partition.leaderEpoch });
  const batch = compressor === null ? plain : compressBatch(plain, compressor);
  if (config['message.timestamp.type'] === 'LogAppendTime') patchLogAppendTime(batch, now);
  return batch;
}

function numbered(partition: Assigning, group: AppendGroup, baseOffset: number, now: number): Uint8Array | null {
  const { producers } = partition;
  const { batch } = group;
  if (group.origin === 'replication') {
    if (baseOffsetOf(batch) !== baseOffset) {
      const at = baseOffsetOf(batch);
      throw new HeadwaterError('OFFSET_OUT_OF_RANGE', `${partition.name}: a batch at ${at}; ${baseOffset} is due`);
    }
    return batch;
  }
  const idempotent = producerIdOf(batch) >= 0;
  if (idempotent) {
    const original = producers.check(batch);
    if (original >= 0) {
      group.duplicate = true;
      group.baseOffset = original;
      group.lastOffset = original + lastOffsetDeltaOf(batch);
      return null;
    }
  }
  patchBaseOffset(batch, baseOffset);
  patchLeaderEpoch(batch, partition.leaderEpoch);
  if (partition.topic.config['message.timestamp.type'] === 'LogAppendTime') patchLogAppendTime(batch, now);
  if (idempotent) producers.stage(batch);
  return batch;
}
