import { offsetDelete } from '../../wire/kafka/api/47-offset-delete.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { perPartition } from '../offsets.ts';

export const offsetDeleteHandler = handler({
  api: offsetDelete,
  async handle(context, { groupId, topics: wanted }, _version, connection) {
    let errorCode: number = KAFKA_ERROR.NONE;
    const mayRead = (topic: string) => connection.allows('read', 'topic', topic);
    const topics = await perPartition(context, wanted, mayRead, async (allowed) => {
      const offsets = allowed.flatMap(({ name, partitions }) =>
        partitions.map(({ partitionIndex }) => ({ topic: name, partition: partitionIndex })),
      );
      const { error, errors } = await context.groups.offsets.delete(groupId, offsets);
      errorCode = error;
      return error === KAFKA_ERROR.NONE ? errors : error;
    });
    return { errorCode, topics: errorCode === KAFKA_ERROR.NONE ? topics : [] };
  },
});
