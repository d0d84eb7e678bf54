import { listPartitionReassignments } from '../../wire/kafka/api/46-list-partition-reassignments.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

export const listPartitionReassignmentsHandler = handler({
  api: listPartitionReassignments,
  deviations: ['Partitions never move between brokers: the list is always empty.'],
  handle: () => ({ errorCode: KAFKA_ERROR.NONE, topics: [] }),
});
