import { HeadwaterError } from '../../errors.ts';
import { createPartitions } from '../../wire/kafka/api/37-create-partitions.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { attempt } from '../attempt.ts';
import { handler } from '../handler.ts';
import { checkAssignment, requireTopic } from '../partitions.ts';

export const createPartitionsHandler = handler({
  api: createPartitions,
  async handle(context, { topics, validateOnly }, _version, connection) {
    const results = [];
    for (const { name, count, assignments } of topics) {
      const outcome = await attempt(context, async () => {
        requireTopic(connection, 'alter', name);
        const present = context.log.topic(name)?.partitions.length;
        if (assignments !== null) {
          if (present !== undefined && assignments.length !== count - present) {
            throw new HeadwaterError(
              'INVALID_REPLICA_ASSIGNMENT',
              `${assignments.length} assignments for ${count - present} new partitions`,
            );
          }
          for (const { brokerIds } of assignments) checkAssignment(context.identity.nodeId, brokerIds);
        }
        await context.log.createPartitions(name, count, { validateOnly });
        return { errorCode: KAFKA_ERROR.NONE, errorMessage: null };
      });
      results.push({ name, ...outcome });
    }
    return { results };
  },
});
