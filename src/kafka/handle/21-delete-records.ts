import { HeadwaterError } from '../../errors.ts';
import { deleteRecords } from '../../wire/kafka/api/21-delete-records.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { attempt } from '../attempt.ts';
import type { KafkaContext } from '../context.ts';
import { handler } from '../handler.ts';
import { requireTopic } from '../partitions.ts';

/** -1 stands for the high watermark. */
async function deleteBefore(context: KafkaContext, name: string, index: number, offset: number) {
  const partition = context.log.topic(name)?.partitions[index];
  if (partition === undefined) throw new HeadwaterError('UNKNOWN_TOPIC', `no partition ${name}-${index}`);
  if (partition.topic.config['cleanup.policy'] === 'compact') {
    return { errorCode: KAFKA_ERROR.POLICY_VIOLATION, errorMessage: null };
  }
  if (offset < -1 || offset > partition.highWatermark) {
    throw new HeadwaterError('OFFSET_OUT_OF_RANGE', `offset ${offset}, high watermark ${partition.highWatermark}`);
  }
  const lowWatermark = await partition.deleteRecordsBefore(offset);
  return { errorCode: KAFKA_ERROR.NONE, errorMessage: null, lowWatermark };
}

export const deleteRecordsHandler = handler({
  api: deleteRecords,
  async handle(context, request, _version, connection) {
    const topics = [];
    for (const { name, partitions: wanted } of request.topics) {
      const partitions = [];
      for (const { partitionIndex, offset } of wanted) {
        const outcome = await attempt(context, async () => {
          requireTopic(connection, 'delete', name);
          return deleteBefore(context, name, partitionIndex, offset);
        });
        partitions.push({ lowWatermark: -1, ...outcome, partitionIndex });
      }
      topics.push({ name, partitions });
    }
    return { topics };
  },
});
