import type { Topic } from '../../log/types.ts';
import { deleteTopics } from '../../wire/kafka/api/20-delete-topics.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { ZERO_UUID } from '../../wire/kafka/schema.ts';
import { attempt } from '../attempt.ts';
import type { KafkaContext } from '../context.ts';
import { handler } from '../handler.ts';
import { findTopic, missingTopic, requireTopic } from '../partitions.ts';

async function remove(context: KafkaContext, topic: Topic | undefined, topicId: string) {
  if (!context.settings.deleteTopics) {
    return { errorCode: KAFKA_ERROR.TOPIC_DELETION_DISABLED, errorMessage: 'delete.topic.enable is false' };
  }
  if (topic === undefined) return { errorCode: missingTopic(topicId), errorMessage: 'no such topic' };
  await context.log.deleteTopic(topic.name);
  return { errorCode: KAFKA_ERROR.NONE, errorMessage: null };
}

export const deleteTopicsHandler = handler({
  api: deleteTopics,
  async handle(context, request, version, connection) {
    const wanted =
      version >= 6 ? request.topics : request.topicNames.map((name) => ({ name, topicId: ZERO_UUID as string }));
    const responses = [];
    for (const { name, topicId } of wanted) {
      const topic = findTopic(context.log, name, topicId);
      const outcome = await attempt(context, async () => {
        if (topic !== undefined) requireTopic(connection, 'delete', topic.name);
        return remove(context, topic, topicId);
      });
      responses.push({ name: topic?.name ?? name, topicId: topic?.id ?? topicId, ...outcome });
    }
    return { responses };
  },
});
