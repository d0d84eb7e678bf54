import { offsetDelete } from '../../wire/kafka/api/47-offset-delete.ts';
import { handler } from '../handler.ts';
import { commitResults } from '../offsets.ts';

export const offsetDeleteHandler = handler({
  api: offsetDelete,
  async handle(context, { groupId, topics }) {
    const offsets = topics.flatMap(({ name, partitions }) =>
      partitions.map(({ partitionIndex }) => ({ topic: name, partition: partitionIndex })),
    );
    const { error, errors } = await context.groups.offsets.delete(groupId, offsets);
    context.metrics.error(error);
    return { errorCode: error, topics: error === 0 ? commitResults(context, topics, errors) : [] };
  },
});
