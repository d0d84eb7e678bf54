import { HeadwaterError } from '../../errors.ts';
import { alterPartitionReassignments } from '../../wire/kafka/api/45-alter-partition-reassignments.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { attempt } from '../attempt.ts';
import { handler } from '../handler.ts';
import { checkAssignment } from '../partitions.ts';

export const alterPartitionReassignmentsHandler = handler({
  api: alterPartitionReassignments,
  deviations: ['Partitions never move: an assignment to this broker changes nothing, every other is refused.'],
  async handle(context, { topics, allowReplicationFactorChange }, _version, connection) {
    if (!connection.allows('alter', 'cluster', '')) {
      const errorCode = KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED;
      context.metrics.error(errorCode);
      return { errorCode, allowReplicationFactorChange, responses: [] };
    }
    const responses = [];
    for (const { name, partitions } of topics) {
      const outcomes = [];
      for (const { partitionIndex, replicas } of partitions) {
        const outcome = await attempt(context, async () => {
          if (context.log.topic(name)?.partitions[partitionIndex] === undefined) {
            throw new HeadwaterError('UNKNOWN_TOPIC', `there is no ${name}-${partitionIndex}`);
          }
          if (replicas === null) {
            const errorMessage = `${name}-${partitionIndex} is not being moved: nothing to cancel`;
            return { errorCode: KAFKA_ERROR.NO_REASSIGNMENT_IN_PROGRESS, errorMessage };
          }
          checkAssignment(context.identity.nodeId, replicas);
          return { errorCode: KAFKA_ERROR.NONE, errorMessage: null };
        });
        outcomes.push({ partitionIndex, ...outcome });
      }
      responses.push({ name, partitions: outcomes });
    }
    return { errorCode: KAFKA_ERROR.NONE, allowReplicationFactorChange, responses };
  },
});
