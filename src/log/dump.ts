/** What lies in a stopped data directory, batch by batch, for people: `headwater dump`. */
import { decode } from 'cbor-x';
import { HeadwaterError } from '../errors.ts';
import { unseal } from '../store/checksum.ts';
import {
  CHUNK_RECORD_PARTITION,
  META_DATABASE,
  metaRange,
  parseBatchKey,
  parseMetaKey,
  parseSliceName,
} from '../store/keys.ts';
import type { Store } from '../store/store.ts';
import {
  baseOffsetOf,
  baseSequenceOf,
  CODECS,
  codecNumberOf,
  isControl,
  isTransactional,
  leaderEpochOf,
  maxTimestampOf,
  producerEpochOf,
  producerIdOf,
  recordCountOf,
} from '../wire/batch/record-batch.ts';
import type { TopicRow } from './catalog.ts';
import { batchDamage } from './chunk-scan.ts';

export interface DumpedBatch {
  readonly slice: string;
  readonly chunk: number;
  /** null: of a topic that was deleted. */
  readonly topic: string | null;
  readonly partition: number;
  readonly lastOffset: number;
  readonly bytes: number;
  /** null: the batch is sound, and what follows is there. */
  readonly damage: string | null;
  readonly baseOffset?: number;
  readonly records?: number;
  readonly codec?: string;
  readonly maxTimestamp?: number;
  readonly leaderEpoch?: number;
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
  readonly transactional?: boolean;
  readonly control?: boolean;
}

async function partitionNames(store: Store): Promise<Map<number, { topic: string; partition: number }>> {
  const names = new Map<number, { topic: string; partition: number }>();
  const database = await store.open(META_DATABASE, { mustExist: true });
  const scanner = database.scan(metaRange('catalog'));
  for (;;) {
    const entries = await scanner.next(256, 1 << 20);
    if (entries.length === 0) break;
    for (const { key, value } of entries) {
      const content = unseal(value);
      if (content === null || parseMetaKey(key)[0] !== 'topic') continue;
      const row = decode(content) as TopicRow;
      for (const [partition, id] of row.partitionIds.entries()) names.set(id, { topic: row.name, partition });
    }
  }
  await scanner.close();
  await database.close();
  return names;
}

interface Wanted {
  readonly topic?: string;
  readonly partition?: number;
}

/** Nothing printed would say that it is empty. */
function checkWanted({ topic, partition }: Wanted, owners: readonly { topic: string; partition: number }[]): void {
  const inTopic = topic === undefined ? owners : owners.filter((owner) => owner.topic === topic);
  if (topic !== undefined && inTopic.length === 0) {
    throw new HeadwaterError('UNKNOWN_TOPIC', `this data directory has no topic "${topic}"`);
  }
  if (partition === undefined || inTopic.some((owner) => owner.partition === partition)) return;
  const which = topic === undefined ? 'no topic of this data directory has a' : `topic "${topic}" has no`;
  const last = inTopic.reduce((most, owner) => Math.max(most, owner.partition), 0);
  const range = topic === undefined ? '' : `; it has ${last === 0 ? 'only 0' : `0 to ${last}`}`;
  throw new HeadwaterError('UNKNOWN_TOPIC', `${which} partition ${partition}${range}`);
}

/** All batches in the order of the store; `topic` and `partition` narrow it. UNKNOWN_TOPIC for what is not there. */
export async function* dumpStore(store: Store, wanted: Wanted = {}): AsyncIterable<DumpedBatch> {
  const names = await partitionNames(store);
  checkWanted(wanted, [...names.values()]);
  for (const name of await store.list()) {
    if (parseSliceName(name) === null) continue;
    const database = await store.open(name, { mustExist: true });
    const scanner = database.scan({ gte: Buffer.alloc(1) });
    try {
      for (;;) {
        const entries = await scanner.next(256, 1 << 20);
        if (entries.length === 0) break;
        for (const { key, value } of entries) {
          const parsed = parseBatchKey(key);
          if (parsed === null || parsed.partitionId === CHUNK_RECORD_PARTITION) continue;
          const owner = names.get(parsed.partitionId);
          if (wanted.topic !== undefined && owner?.topic !== wanted.topic) continue;
          if (wanted.partition !== undefined && owner?.partition !== wanted.partition) continue;
          yield describe(name, parsed.chunkId, owner, parsed.partitionId, parsed.lastOffset, value);
        }
      }
    } finally {
      await scanner.close();
      await database.close();
    }
  }
}

function describe(
  slice: string,
  chunk: number,
  owner: { topic: string; partition: number } | undefined,
  partitionId: number,
  lastOffset: number,
  batch: Uint8Array,
): DumpedBatch {
  const damage = batchDamage(batch, lastOffset);
  const place = { slice, chunk, topic: owner?.topic ?? null, partition: owner?.partition ?? partitionId };
  const common = { ...place, lastOffset, bytes: batch.byteLength, damage };
  if (damage !== null) return common;
  return {
    ...common,
    baseOffset: baseOffsetOf(batch),
    records: recordCountOf(batch),
    codec: CODECS[codecNumberOf(batch)] ?? 'unknown',
    maxTimestamp: maxTimestampOf(batch),
    leaderEpoch: leaderEpochOf(batch),
    producerId: producerIdOf(batch),
    producerEpoch: producerEpochOf(batch),
    baseSequence: baseSequenceOf(batch),
    transactional: isTransactional(batch),
    control: isControl(batch),
  };
}
