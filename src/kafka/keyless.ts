/**
 * A compacted topic keeps the newest record of each key: a record without a key could never go, and is refused
 * (INVALID_RECORD with the record's index, KIP-467). Only for such topics are records looked at before they are stored.
 */
import { asHeadwaterError } from '../errors.ts';
import type { Topic } from '../log/types.ts';
import { openBatch } from '../wire/batch/compression.ts';
import { BATCH_HEADER_BYTES, batchSizeOf, magicOf } from '../wire/batch/record-batch.ts';
import type { RecordCursor } from '../wire/batch/record-cursor.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';

export interface KeylessRefusal {
  readonly code: number;
  readonly message: string;
  /** Indexes of the records in their batch. */
  readonly indexes: readonly number[];
}

/** A batch with thousands of bad records is told about the first ones. */
const INDEXES_MAX = 100;

export const needsKeys = (topic: Topic | undefined): boolean =>
  topic !== undefined && topic.config['cleanup.policy'] !== 'delete';

function look(cursor: RecordCursor): KeylessRefusal | null {
  const indexes: number[] = [];
  for (let index = 0; cursor.next() && indexes.length < INDEXES_MAX; index++) {
    if (cursor.key === null) indexes.push(index);
  }
  if (indexes.length === 0) return null;
  return { code: KAFKA_ERROR.INVALID_RECORD, message: 'a compacted topic takes no record without a key', indexes };
}

function unreadable(thrown: unknown): KeylessRefusal {
  const error = asHeadwaterError(thrown);
  return { code: error.kafkaCode, message: error.message, indexes: [] };
}

/** null: every record has a key. A promise only when the batch is compressed. */
export function findKeyless(batch: Uint8Array): KeylessRefusal | null | Promise<KeylessRefusal | null> {
  // What is no whole batch is refused elsewhere.
  if (batch.length < BATCH_HEADER_BYTES || magicOf(batch) !== 2 || batchSizeOf(batch) !== batch.length) return null;
  try {
    const cursor = openBatch(batch);
    return cursor instanceof Promise ? cursor.then(look).catch(unreadable) : look(cursor);
  } catch (error) {
    return unreadable(error);
  }
}
