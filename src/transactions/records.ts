/** What the metadata database keeps of a transactional id: key `transaction id`, value CBOR with its format version. */
import { Encoder } from 'cbor-x';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { TxnValue } from './step.ts';

const VERSION = 1;
const cbor = new Encoder({ useRecords: false, tagUint8Array: false });

export const transactionKey = (transactionalId: string) => metaKey('transaction', transactionalId);

export const TRANSACTION_RECORDS = metaRange('transaction');

export function encodeTransaction(value: TxnValue): Uint8Array {
  const { state, producerId, epoch, lastProducerId, lastEpoch, timeoutMs, groups, startedAt, updatedAt } = value;
  const partitions = value.partitions.map(({ topic, topicId, partition }) => [topic, topicId, partition]);
  const producer = [producerId, epoch, lastProducerId, lastEpoch];
  return cbor.encode([VERSION, state, producer, timeoutMs, partitions, groups, startedAt, updatedAt]);
}

/** Throws RangeError for a record that this version cannot read. */
export function decodeTransaction(key: Uint8Array, bytes: Uint8Array): { transactionalId: string; value: TxnValue } {
  const stored = cbor.decode(bytes);
  if (!Array.isArray(stored) || stored[0] !== VERSION) {
    throw new RangeError(`a transaction record has format version ${String(stored?.[0])}; known: ${VERSION}`);
  }
  const [, state, producer, timeoutMs, partitions, groups, startedAt, updatedAt] = stored;
  const [producerId, epoch, lastProducerId, lastEpoch] = producer as number[];
  return {
    transactionalId: parseMetaKey(key)[0] as string,
    value: {
      state,
      producerId: producerId!,
      epoch: epoch!,
      lastProducerId: lastProducerId!,
      lastEpoch: lastEpoch!,
      timeoutMs,
      partitions: (partitions as [string, string, number][]).map(([topic, topicId, partition]) => ({
        topic,
        topicId,
        partition,
      })),
      groups,
      startedAt,
      updatedAt,
    },
  };
}
