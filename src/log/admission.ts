/** What a partition admits: checks of a batch that need nothing but its bytes and the topic's configuration. */
import { HeadwaterError } from '../errors.ts';
import { isTransactional, validateBatch, validateProducedBatch } from '../wire/batch/record-batch.ts';
import type { TopicConfig } from './topic-config.ts';
import type { AppendOptions } from './types.ts';

export function tooLarge(partition: string, bytes: number, limit: number): HeadwaterError {
  return new HeadwaterError(
    'BATCH_TOO_LARGE',
    `${partition}: a batch of ${bytes} bytes; max.message.bytes allows ${limit}`,
  );
}

/** Throws BATCH_TOO_LARGE, CORRUPT_BATCH, INVALID_RECORD, UNSUPPORTED_COMPRESSION or INVALID_TXN_STATE. */
export function admitBatch(partition: string, config: TopicConfig, batch: Uint8Array, options: AppendOptions): void {
  if (options.origin !== 'client') {
    validateBatch(batch);
    return;
  }
  const limit = config['max.message.bytes'];
  if (batch.byteLength > limit) throw tooLarge(partition, batch.byteLength, limit);
  validateProducedBatch(batch);
  if (isTransactional(batch) && options.transactional !== true) {
    throw new HeadwaterError('INVALID_TXN_STATE', `${partition} was not added to the producer's transaction`);
  }
}
