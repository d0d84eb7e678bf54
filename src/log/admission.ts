/** What a partition admits: checks of a batch's bytes against the topic's configuration, and of the state of the broker. */
import { HeadwaterError } from '../errors.ts';
import { isTransactional, validateBatch, validateProducedBatch } from '../wire/batch/record-batch.ts';
import type { PartitionHost } from './partition-host.ts';
import type { TopicConfig } from './topic-config.ts';
import type { Acks, AppendOptions } from './types.ts';

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

interface Admitting {
  readonly name: string;
  readonly topic: { readonly name: string; readonly config: TopicConfig };
  readonly deleted: boolean;
  readonly inSyncCount: number;
}

/** Why `bytes` may not be appended now; null: they may. */
export function appendRefusal(
  host: PartitionHost,
  partition: Admitting,
  bytes: number,
  acks: Acks,
  origin: AppendOptions['origin'],
): HeadwaterError | null {
  const { queue } = host;
  const { topic } = partition;
  // A standby: another broker leads.
  if (origin !== 'replication' && host.follows()) {
    return new HeadwaterError('NOT_LEADER', `${partition.name}: this broker follows another, which leads`);
  }
  if (partition.deleted) return new HeadwaterError('UNKNOWN_TOPIC', `topic ${topic.name} was deleted`);
  if (queue.closed) return new HeadwaterError('SHUTTING_DOWN', 'the broker is stopping');
  if (!queue.hasRoom(bytes)) {
    return new HeadwaterError('QUOTA_EXCEEDED', `${queue.bytes} bytes wait to be stored: the append queue is full`);
  }
  if (acks === -1) {
    const wanted = topic.config['min.insync.replicas'];
    const have = partition.inSyncCount;
    if (have < wanted) {
      const message = `${partition.name} has ${have} replicas in sync; ${wanted} are needed`;
      return new HeadwaterError('NOT_ENOUGH_REPLICAS', message);
    }
  }
  // A transaction must be able to end on a full disk: its few bytes come out of what records may not use.
  return origin === 'coordinator' ? null : host.diskRefusal(topic.name, bytes);
}
