import { offsetForLeaderEpoch } from '../../wire/kafka/api/23-offset-for-leader-epoch.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { checkLeaderEpoch, checkLeads } from '../partitions.ts';

export const offsetForLeaderEpochHandler = handler({
  api: offsetForLeaderEpoch,
  handle(context, request, _version, connection) {
    const topics = request.topics.map(({ topic: name, partitions }) => {
      const topic = context.log.topic(name);
      const allowed = connection.allows('describe', 'topic', name);
      return {
        topic: name,
        partitions: partitions.map(({ partition: index, currentLeaderEpoch, leaderEpoch }) => {
          const partition = topic?.partitions[index];
          const errorCode = !allowed
            ? KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED
            : partition === undefined
              ? KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION
              : checkLeads(context) || checkLeaderEpoch(partition, currentLeaderEpoch);
          context.metrics.error(errorCode);
          // An epoch that is not known is no error: (-1, -1).
          const known = errorCode === KAFKA_ERROR.NONE ? partition?.endOffsetForEpoch(leaderEpoch) : null;
          return {
            errorCode,
            partition: index,
            leaderEpoch: known?.epoch ?? -1,
            endOffset: known?.endOffset ?? -1,
          };
        }),
      };
    });
    return { topics };
  },
});
