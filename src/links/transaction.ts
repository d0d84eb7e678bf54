/**
 * Transactions upstream (KIP-98): one producer for all partitions of a link. Its transactional id names broker and link, so
 * that InitProducerId ends what an earlier process left open, and fences it. The positions of the link go as offsets of a
 * group of the same name, in the same transaction.
 */
import type { Cluster } from '../client/cluster.ts';
import type { Connection } from '../client/connection.ts';
import { checkCode, UpstreamError } from '../client/error.ts';
import { delay, type Env } from '../env.ts';
import { offsetFetch } from '../wire/kafka/api/09-offset-fetch.ts';
import { initProducerId } from '../wire/kafka/api/22-init-producer-id.ts';
import { addPartitionsToTxn } from '../wire/kafka/api/24-add-partitions-to-txn.ts';
import { addOffsetsToTxn } from '../wire/kafka/api/25-add-offsets-to-txn.ts';
import { endTxn } from '../wire/kafka/api/26-end-txn.ts';
import { txnOffsetCommit } from '../wire/kafka/api/28-txn-offset-commit.ts';

/** A reader waits at most this long for a transaction of an edge that is gone. */
const TRANSACTION_TIMEOUT_MS = 60_000;
/** While the coordinator moves, loads, or still writes the markers of the transaction before. */
const COORDINATOR_BUSY = new Set([14, 15, 16, 51]);
const BUSY_PAUSE_MS = 50;
const BUSY_ATTEMPTS = 200;
const UNSTABLE_OFFSET = 88;

/** Per partition: an error code of a partition in an answer about several. */
export class PartitionRefused extends UpstreamError {
  readonly topic: string;
  readonly partition: number;

  constructor(code: number, topic: string, partition: number, detail?: string | null) {
    super(code, `${topic}-${partition}`, detail);
    this.topic = topic;
    this.partition = partition;
  }
}

export interface UpstreamPosition {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly metadata: string;
}

interface At {
  readonly topic: string;
  readonly partition: number;
}

function byTopic<T extends At>(list: readonly T[]): Map<string, T[]> {
  const topics = new Map<string, T[]>();
  for (const one of list) {
    const rows = topics.get(one.topic);
    if (rows === undefined) topics.set(one.topic, [one]);
    else rows.push(one);
  }
  return topics;
}

export class TransactionalProducer {
  readonly #env: Env;
  readonly #cluster: Cluster;
  readonly #id: string;
  readonly producerId: number;
  readonly producerEpoch: number;
  /** Partitions in the present transaction, `topic/partition`. */
  readonly #added = new Set<string>();
  #offsetsAdded = false;
  /** Next sequence, by `topic/partition`. */
  readonly #sequences = new Map<string, number>();

  private constructor(env: Env, cluster: Cluster, id: string, producerId: number, producerEpoch: number) {
    this.#env = env;
    this.#cluster = cluster;
    this.#id = id;
    this.producerId = producerId;
    this.producerEpoch = producerEpoch;
  }

  /** Ends what was open under `id`, and fences whoever had it before. */
  static async open(env: Env, cluster: Cluster, id: string): Promise<TransactionalProducer> {
    const { producerId, producerEpoch } = await atCoordinator(env, cluster, id, 'transaction', async (connection) => {
      const body = { transactionalId: id, transactionTimeoutMs: TRANSACTION_TIMEOUT_MS };
      const answer = await connection.send(initProducerId, body);
      checkCode(answer.errorCode, `transactional id ${id}`);
      return answer;
    });
    return new TransactionalProducer(env, cluster, id, producerId, producerEpoch);
  }

  sequenceOf({ topic, partition }: At): number {
    return this.#sequences.get(`${topic}/${partition}`) ?? 0;
  }

  setSequence({ topic, partition }: At, sequence: number): void {
    this.#sequences.set(`${topic}/${partition}`, sequence);
  }

  #atCoordinator<T>(kind: 'group' | 'transaction', task: (connection: Connection) => Promise<T>): Promise<T> {
    return atCoordinator(this.#env, this.#cluster, this.#id, kind, task);
  }

  /** Takes partitions and the group into the transaction; begins it. */
  async add(partitions: readonly At[]): Promise<void> {
    const fresh = partitions.filter(({ topic, partition }) => !this.#added.has(`${topic}/${partition}`));
    const { producerId, producerEpoch } = this;
    if (fresh.length > 0) {
      await this.#atCoordinator('transaction', async (connection) => {
        const answer = await connection.send(
          addPartitionsToTxn,
          {
            v3AndBelowTransactionalId: this.#id,
            v3AndBelowProducerId: producerId,
            v3AndBelowProducerEpoch: producerEpoch,
            v3AndBelowTopics: [...byTopic(fresh)].map(([name, list]) => ({
              name,
              partitions: list.map(({ partition }) => partition),
            })),
          },
          { maxVersion: 3 },
        );
        let refused: PartitionRefused | null = null;
        for (const { name, resultsByPartition } of answer.resultsByTopicV3AndBelow) {
          for (const { partitionIndex, partitionErrorCode } of resultsByPartition) {
            // OPERATION_NOT_ATTEMPTED (55): another one of the request is to blame.
            if (partitionErrorCode === 0 || (partitionErrorCode === 55 && refused !== null)) continue;
            if (refused === null || refused.kafka === 55)
              refused = new PartitionRefused(partitionErrorCode, name, partitionIndex);
          }
        }
        if (refused !== null) throw refused;
      });
      for (const { topic, partition } of fresh) this.#added.add(`${topic}/${partition}`);
    }
    if (this.#offsetsAdded) return;
    await this.#atCoordinator('transaction', async (connection) => {
      const body = { transactionalId: this.#id, producerId, producerEpoch, groupId: this.#id };
      const { errorCode } = await connection.send(addOffsetsToTxn, body);
      checkCode(errorCode, `group ${this.#id} in a transaction`);
    });
    this.#offsetsAdded = true;
  }

  async commitPositions(positions: readonly UpstreamPosition[]): Promise<void> {
    await this.#atCoordinator('group', async (connection) => {
      const answer = await connection.send(
        txnOffsetCommit,
        {
          transactionalId: this.#id,
          groupId: this.#id,
          producerId: this.producerId,
          producerEpoch: this.producerEpoch,
          topics: [...byTopic(positions)].map(([name, list]) => ({
            name,
            partitions: list.map(({ partition, offset, metadata }) => ({
              partitionIndex: partition,
              committedOffset: offset,
              committedMetadata: metadata,
            })),
          })),
        },
        { maxVersion: 4 },
      );
      for (const { name, partitions } of answer.topics) {
        for (const { partitionIndex, errorCode } of partitions) {
          if (errorCode !== 0) throw new PartitionRefused(errorCode, name, partitionIndex);
        }
      }
    });
  }

  async end(committed: boolean): Promise<void> {
    if (this.#added.size === 0 && !this.#offsetsAdded) return;
    await this.#atCoordinator('transaction', async (connection) => {
      const { producerId, producerEpoch } = this;
      const body = { transactionalId: this.#id, producerId, producerEpoch, committed };
      const { errorCode } = await connection.send(endTxn, body, { maxVersion: 4 });
      checkCode(errorCode, `${committed ? 'commit' : 'abort'} of ${this.#id}`);
    });
    this.#added.clear();
    this.#offsetsAdded = false;
  }

  /** What the last committed transactions said; partitions without a position are left out. */
  positions(partitions: readonly At[]): Promise<UpstreamPosition[]> {
    return this.#atCoordinator('group', async (connection) => {
      const answer = await connection.send(
        offsetFetch,
        {
          groupId: this.#id,
          topics: [...byTopic(partitions)].map(([name, list]) => ({
            name,
            partitionIndexes: list.map(({ partition }) => partition),
          })),
          requireStable: true,
        },
        { maxVersion: 7 },
      );
      checkCode(answer.errorCode, `positions of ${this.#id}`);
      return answer.topics.flatMap(({ name, partitions: rows }) =>
        rows.flatMap(({ partitionIndex, committedOffset, metadata, errorCode }) => {
          checkCode(errorCode, `position of ${name}-${partitionIndex}`);
          if (committedOffset < 0) return [];
          return [{ topic: name, partition: partitionIndex, offset: committedOffset, metadata: metadata ?? '' }];
        }),
      );
    });
  }
}

/** Asks again while the coordinator is busy. */
async function atCoordinator<T>(
  env: Env,
  cluster: Cluster,
  id: string,
  kind: 'group' | 'transaction',
  task: (connection: Connection) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await task(await cluster.coordinator(id, kind));
    } catch (error) {
      const busy =
        error instanceof UpstreamError && (COORDINATOR_BUSY.has(error.kafka) || error.kafka === UNSTABLE_OFFSET);
      if (!busy || attempt >= BUSY_ATTEMPTS) throw error;
      await delay(env.clock, BUSY_PAUSE_MS);
    }
  }
}
