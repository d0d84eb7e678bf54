/** Stored batches as they go up in a transaction, and their Produce requests. */
import type { Connection } from '../client/connection.ts';
import { isMergeable, mergeBatches } from '../wire/batch/merge.ts';
import { addToSequence } from '../wire/batch/record-batch.ts';
import { type BatchCompressor, compressBatch } from '../wire/batch/record-encoder.ts';
import { produce } from '../wire/kafka/api/00-produce.ts';
import { type Forwarded, type Outgoing, toOutgoing } from './outgoing.ts';
import type { TransactionalProducer } from './transaction.ts';
import type { TransactionalPartition } from './transactional-partition.ts';
import type { Upstream } from './upstream.ts';

const MERGED_MAX_BYTES = 64 * 1024;

/** Batches in the one that begins at `from`. */
function runLength(batches: readonly Forwarded[], from: number, mostBytes: number): number {
  let bytes = 0;
  let to = from;
  for (; to < batches.length; to++) {
    const { batch } = batches[to]!;
    bytes += batch.length;
    if (!isMergeable(batch) || (to > from && bytes > mostBytes)) break;
  }
  return Math.max(1, to - from);
}

/** Neighbouring small batches as one: a transaction that fails is void, so where batches end does not matter. */
export function pack(
  batches: readonly Forwarded[],
  limit: number,
  codec: BatchCompressor | null,
  producer: TransactionalProducer,
  to: { readonly topic: string; readonly partition: number },
): Outgoing[] {
  const identity = { id: producer.producerId, epoch: producer.producerEpoch };
  const outgoings: Outgoing[] = [];
  for (let from = 0; from < batches.length; ) {
    const run = batches.slice(from, from + runLength(batches, from, Math.min(MERGED_MAX_BYTES, limit)));
    const merged = run.length === 1 ? null : mergeBatches(run.map(({ batch }) => batch));
    const first = run[0]!;
    const plain = merged ?? first.batch;
    const batch = codec === null ? plain : compressBatch(plain, codec);
    const sequence = producer.sequenceOf(to);
    const outgoing = toOutgoing(first, merged === null ? first : run.at(-1)!, batch, identity, sequence, true);
    producer.setSequence(to, addToSequence(sequence, outgoing.count));
    outgoings.push(outgoing);
    from += merged === null ? 1 : run.length;
  }
  return outgoings;
}

/** What a transaction holds of one partition. */
export interface Sent {
  readonly partition: TransactionalPartition;
  readonly outgoings: Outgoing[];
  /** Behind all that was read. */
  nextOffset: number;
  upstreamNext: number;
}

export interface ProduceRules {
  readonly upstream: Upstream;
  readonly id: string;
  readonly requestTimeoutMs: number;
  sending(bytes: number): void;
  throttled(ms: number): void;
  /** Rejects: the transaction is void. */
  refused(partition: TransactionalPartition, outgoing: Outgoing, code: number, message: string | null): Promise<never>;
}

/** The n-th batch of every partition in one request a leader; requests of one connection stay in order. */
export async function produceAll(sent: readonly Sent[], rules: ProduceRules): Promise<void> {
  const requests: Promise<void>[] = [];
  const leaders = await Promise.all(
    sent.map(({ partition }) => rules.upstream.leader(partition.upstreamTopic, partition.upstreamPartition)),
  );
  const rounds = Math.max(...sent.map(({ outgoings }) => outgoings.length));
  for (let round = 0; round < rounds; round++) {
    const byConnection = new Map<Connection, Sent[]>();
    for (const [index, one] of sent.entries()) {
      if (one.outgoings.length <= round) continue;
      const { connection } = leaders[index]!;
      const list = byConnection.get(connection);
      if (list === undefined) byConnection.set(connection, [one]);
      else list.push(one);
    }
    for (const [connection, list] of byConnection) requests.push(produceOne(connection, list, round, rules));
  }
  // All answers are awaited: the next producer begins when nothing is on its way.
  const results = await Promise.allSettled(requests);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function produceOne(
  connection: Connection,
  list: readonly Sent[],
  round: number,
  { id, requestTimeoutMs, sending, throttled, refused }: ProduceRules,
): Promise<void> {
  const topics = new Map<string, { index: number; records: readonly Uint8Array[] }[]>();
  let bytes = 0;
  for (const { partition, outgoings } of list) {
    const row = { index: partition.upstreamPartition, records: outgoings[round]!.chunks };
    bytes += outgoings[round]!.bytes;
    const rows = topics.get(partition.upstreamTopic);
    if (rows === undefined) topics.set(partition.upstreamTopic, [row]);
    else rows.push(row);
  }
  sending(bytes);
  const body = {
    transactionalId: id,
    acks: -1,
    timeoutMs: Math.max(1_000, Math.floor(requestTimeoutMs * 0.8)),
    topicData: [...topics].map(([name, partitionData]) => ({ name, partitionData })),
  };
  const answer = await connection.send(produce, body, { timeoutMs: requestTimeoutMs });
  throttled(answer.throttleTimeMs);
  for (const { name, partitionResponses } of answer.responses) {
    for (const { index, errorCode, baseOffset, errorMessage } of partitionResponses) {
      const one = list.find(({ partition }) => {
        return partition.upstreamTopic === name && partition.upstreamPartition === index;
      });
      if (one === undefined) continue;
      const outgoing = one.outgoings[round]!;
      if (errorCode !== 0) await refused(one.partition, outgoing, errorCode, errorMessage);
      one.upstreamNext = Math.max(one.upstreamNext, baseOffset + outgoing.count);
    }
  }
}
