/**
 * A batch as it goes upstream. Its record bytes are sent as they are: only a new header is made (producer, epoch, sequence,
 * CRC). What cannot go as it is was encoded again before (forwarding.ts).
 */
import { crc32c } from '../wire/batch/crc32c.ts';
import {
  attributesOf,
  BATCH_HEADER_BYTES,
  lastOffsetDeltaOf,
  maxTimestampOf,
  TRANSACTIONAL,
  writeInt16,
  writeInt32,
  writeInt64,
} from '../wire/batch/record-batch.ts';

/** A stored batch that goes upstream, or what is sent of it. Offsets are those of this broker. */
export interface Forwarded {
  /** Dense; its header still has to be made. */
  readonly batch: Uint8Array;
  /** Records, as upstream counts sequences. */
  readonly count: number;
  /** Of the first record. */
  readonly first: number;
  /** Where to go on behind it. */
  readonly next: number;
  /** Of each record; null: one after the other from `first`. */
  readonly offsets: readonly number[] | null;
}

/** Behind the first `count` records of `forwarded` (1 at least). */
export function offsetBehind({ first, next, offsets, count: all }: Forwarded, count: number): number {
  if (count === all) return next;
  return 1 + (offsets === null ? first + count - 1 : offsets[count - 1]!);
}

/** A batch on its way. Offsets are those of this broker. */
export interface Outgoing {
  readonly baseOffset: number;
  /** The offset after the batch. */
  readonly nextOffset: number;
  /** Several stored batches (runs.ts). */
  readonly merged: boolean;
  readonly sequence: number;
  /** Records, as upstream counts sequences. */
  readonly count: number;
  /** Header and records. */
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
}

export interface ProducerIdentity {
  readonly id: number;
  readonly epoch: number;
}

/** `first` to `last` go out as `batch` (their offsets count): one, or a run that was merged. */
export function toOutgoing(
  first: Forwarded,
  last: Forwarded,
  batch: Uint8Array,
  producer: ProducerIdentity,
  sequence: number,
  transactional = false,
): Outgoing {
  const header = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES);
  header.set(batch.subarray(0, BATCH_HEADER_BYTES));
  writeInt64(header, 0, 0);
  writeInt32(header, 12, -1);
  writeInt16(header, 21, (attributesOf(batch) & ~TRANSACTIONAL) | (transactional ? TRANSACTIONAL : 0));
  writeInt64(header, 43, producer.id);
  writeInt16(header, 51, producer.epoch);
  writeInt32(header, 53, sequence);
  const records = batch.subarray(BATCH_HEADER_BYTES);
  writeInt32(header, 17, crc32c(records, 0, records.length, crc32c(header, 21, BATCH_HEADER_BYTES)));
  return {
    baseOffset: first.first,
    nextOffset: last.next,
    merged: first !== last,
    sequence,
    count: lastOffsetDeltaOf(batch) + 1,
    chunks: [header, records],
    bytes: batch.length,
    timestamp: maxTimestampOf(first.batch),
  };
}
