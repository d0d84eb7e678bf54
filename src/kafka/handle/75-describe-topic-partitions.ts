import type { Topic } from '../../log/types.ts';
import { describeTopicPartitions } from '../../wire/kafka/api/75-describe-topic-partitions.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { type ResponseInput, ZERO_UUID } from '../../wire/kafka/schema.ts';
import { placementOf } from '../brokers.ts';
import { handler } from '../handler.ts';

type Response = ResponseInput<typeof describeTopicPartitions>;

const PARTITIONS_MAX = 2_000;

/** KIP-966: topics in name order, cut at the partition limit; the cursor says where the next request goes on. */
export const describeTopicPartitionsHandler = handler({
  api: describeTopicPartitions,
  handle(context, { topics: wanted, responsePartitionLimit, cursor }, _version, connection) {
    const { log, metrics } = context;
    const visible = (name: string): boolean => connection.allows('describe', 'topic', name);
    const every = [...log.topics()].map(({ name }) => name).filter(visible);
    const all = wanted.length === 0 ? every : wanted.map(({ name }) => name);
    const names = [...new Set(all)].sort();
    let left = Math.max(1, Math.min(responsePartitionLimit, PARTITIONS_MAX));
    const topics: Response['topics'][number][] = [];
    const partitionsOf = (topic: Topic, from: number, to: number) =>
      topic.partitions.slice(from, to).map((partition) => ({
        ...placementOf(context, partition),
        partitionIndex: partition.index,
        leaderEpoch: partition.leaderEpoch,
        // The fields may be null, but Java's client (4.3) does not look before it reads them.
        eligibleLeaderReplicas: [],
        lastKnownElr: [],
        offlineReplicas: [],
      }));
    for (const name of names) {
      if (cursor !== null && name < cursor.topicName) continue;
      const topic = visible(name) ? log.topic(name) : undefined;
      if (topic === undefined) {
        const errorCode = visible(name)
          ? KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION
          : KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED;
        metrics.error(errorCode);
        topics.push({ errorCode, name, topicId: ZERO_UUID, partitions: [] });
        continue;
      }
      const from = cursor?.topicName === name ? Math.max(0, cursor.partitionIndex) : 0;
      if (left === 0) return { topics, nextCursor: { topicName: name, partitionIndex: from } };
      const partitions = partitionsOf(topic, from, from + left);
      left -= partitions.length;
      topics.push({ errorCode: KAFKA_ERROR.NONE, name, topicId: topic.id, isInternal: topic.internal, partitions });
      const next = from + partitions.length;
      if (next < topic.partitions.length) return { topics, nextCursor: { topicName: name, partitionIndex: next } };
    }
    return { topics };
  },
});
