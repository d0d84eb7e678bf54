import { electLeaders } from '../../wire/kafka/api/43-elect-leaders.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import type { KafkaContext } from '../context.ts';
import { handler } from '../handler.ts';

function outcome({ log, metrics, identity }: KafkaContext, topic: string, partitionId: number) {
  const known = log.topic(topic)?.partitions[partitionId] !== undefined;
  const errorCode = known ? KAFKA_ERROR.ELECTION_NOT_NEEDED : KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION;
  metrics.error(errorCode);
  const errorMessage = known
    ? `broker ${identity.nodeId} leads ${topic}-${partitionId} already`
    : `there is no ${topic}-${partitionId}`;
  return { partitionId, errorCode, errorMessage };
}

export const electLeadersHandler = handler({
  api: electLeaders,
  deviations: ['This broker leads everything it holds: no election is ever needed.'],
  handle(context, { topicPartitions }, _version, connection) {
    if (!connection.allows('alter', 'cluster', '')) {
      context.metrics.error(KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED);
      return { errorCode: KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, replicaElectionResults: [] };
    }
    // null: wherever it is needed. As in Kafka, the partitions that need none are left out then.
    const replicaElectionResults = (topicPartitions ?? []).map(({ topic, partitions }) => ({
      topic,
      partitionResult: partitions.map((partition) => outcome(context, topic, partition)),
    }));
    return { errorCode: KAFKA_ERROR.NONE, replicaElectionResults };
  },
});
