import type { FetchedOffset } from '../../groups/group-offsets.ts';
import { offsetFetch } from '../../wire/kafka/api/09-offset-fetch.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import type { KafkaContext } from '../context.ts';
import { handler } from '../handler.ts';

const UNKNOWN = { offset: -1, leaderEpoch: -1, metadata: '' };

interface Question {
  readonly groupId: string;
  /** null asks for every committed offset. */
  readonly topics: readonly { readonly name: string; readonly partitionIndexes: readonly number[] }[] | null;
}

type MayDescribe = (topic: string) => boolean;

function topicsOf(context: KafkaContext, { groupId, topics }: Question, requireStable: boolean, allows: MayDescribe) {
  const { offsets } = context.groups;
  const refuse = (partition: number) => ({ ...UNKNOWN, partition, error: KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED });
  const found =
    topics === null
      ? offsets.committed(groupId, requireStable).filter(({ topic }) => allows(topic))
      : topics.map(({ name, partitionIndexes }) => ({
          topic: name,
          partitions: allows(name)
            ? offsets.fetch(groupId, name, partitionIndexes, requireStable)
            : partitionIndexes.map(refuse),
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
  handle(context, { groupId, topics, groups, requireStable }, version, connection) {
    const allows = (topic: string) => connection.allows('describe', 'topic', topic);
    const answer = (question: Question) => topicsOf(context, question, requireStable, allows);
    if (version < 8) return { topics: answer({ groupId, topics }) };
    return { groups: groups.map((group) => ({ groupId: group.groupId, topics: answer(group) })) };
  },
});
