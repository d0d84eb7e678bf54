/** Between the nested layout of offset requests (topics, then partitions) and the flat one of the coordinator. */
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

/** `errors` in the order of `offsetsOf`, or one for all. Counts them. */
export function commitResults(
  context: KafkaContext,
  topics: readonly { readonly name: string; readonly partitions: readonly { readonly partitionIndex: number }[] }[],
  errors: readonly number[] | number,
) {
  let at = 0;
  return topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partitionIndex }) => {
      const errorCode = typeof errors === 'number' ? errors : errors[at++]!;
      context.metrics.error(errorCode);
      return { partitionIndex, errorCode };
    }),
  }));
}
