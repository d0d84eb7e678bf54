import type { FetchedOffset } from '../../groups/group-offsets.ts';
import { offsetFetch } from '../../wire/kafka/api/09-offset-fetch.ts';
import type { KafkaContext } from '../context.ts';
import { handler } from '../handler.ts';

type Wanted = readonly { readonly name: string; readonly partitionIndexes: readonly number[] }[] | null;

/** null asks for every committed offset. */
function topicsOf(context: KafkaContext, groupId: string, wanted: Wanted, requireStable: boolean) {
  const { offsets } = context.groups;
  const found =
    wanted === null
      ? offsets.committed(groupId, requireStable)
      : wanted.map(({ name, partitionIndexes }) => ({
          topic: name,
          partitions: offsets.fetch(groupId, name, partitionIndexes, requireStable),
        }));
  const partitionOf = ({ partition, offset, leaderEpoch, metadata, error }: FetchedOffset) => {
    context.metrics.error(error);
    return {
      partitionIndex: partition,
      committedOffset: offset,
      committedLeaderEpoch: leaderEpoch,
      metadata,
      errorCode: error,
    };
  };
  return found.map(({ topic, partitions }) => ({ name: topic, partitions: partitions.map(partitionOf) }));
}

export const offsetFetchHandler = handler({
  api: offsetFetch,
  handle(context, { groupId, topics, groups, requireStable }, version) {
    if (version < 8) return { topics: topicsOf(context, groupId, topics, requireStable) };
    return {
      groups: groups.map((group) => ({
        groupId: group.groupId,
        topics: topicsOf(context, group.groupId, group.topics, requireStable),
      })),
    };
  },
});
