/** Between the nested layout of offset requests (topics, then partitions) and the flat one of the coordinator. */
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import type { KafkaContext } from './context.ts';

interface CommitTopic {
  readonly name: string;
  readonly partitions: readonly {
    readonly partitionIndex: number;
    readonly committedOffset: number;
    readonly committedLeaderEpoch: number;
    readonly committedMetadata: string | null;
  }[];
}

export function offsetsOf(topics: readonly CommitTopic[]) {
  return topics.flatMap(({ name, partitions }) =>
    partitions.map((partition) => ({
      topic: name,
      partition: partition.partitionIndex,
      offset: partition.committedOffset,
      leaderEpoch: partition.committedLeaderEpoch,
      metadata: partition.committedMetadata,
    })),
  );
}

type NamedPartitions = {
  readonly name: string;
  readonly partitions: readonly { readonly partitionIndex: number }[];
};

/**
 * One result per partition. `run` is asked about the topics that `allows` lets through, and answers one error code per
 * partition in their order, or one for all; the others are TOPIC_AUTHORIZATION_FAILED. Counts the codes.
 */
export async function perPartition<T extends NamedPartitions>(
  context: KafkaContext,
  topics: readonly T[],
  allows: (topic: string) => boolean,
  run: (allowed: readonly T[]) => Promise<readonly number[] | number>,
) {
  const allowed = new Set(topics.filter(({ name }) => allows(name)));
  const errors = allowed.size === 0 ? [] : await run([...allowed]);
  let at = 0;
  return topics.map((topic) => ({
    name: topic.name,
    partitions: topic.partitions.map(({ partitionIndex }) => {
      const answer = typeof errors === 'number' ? errors : allowed.has(topic) ? errors[at++]! : 0;
      const errorCode = allowed.has(topic) ? answer : KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED;
      context.metrics.error(errorCode);
      return { partitionIndex, errorCode };
    }),
  }));
}
