import { asHeadwaterError } from '../../errors.ts';
import type { Topic } from '../../log/types.ts';
import { metadata } from '../../wire/kafka/api/03-metadata.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { type ResponseInput, ZERO_UUID } from '../../wire/kafka/schema.ts';
import { brokersOf, leaderIdOf, placementOf } from '../brokers.ts';
import type { KafkaContext } from '../context.ts';
import { type ClientConnection, handler } from '../handler.ts';
import { mayCreateTopic, missingTopic } from '../partitions.ts';

type TopicResponse = ResponseInput<typeof metadata>['topics'][number];

function describe(context: KafkaContext, topic: Topic): TopicResponse {
  return {
    errorCode: KAFKA_ERROR.NONE,
    name: topic.name,
    topicId: topic.id,
    isInternal: topic.internal,
    partitions: topic.partitions.map((partition) => ({
      ...placementOf(context, partition),
      partitionIndex: partition.index,
      leaderEpoch: partition.leaderEpoch,
      offlineReplicas: [],
    })),
  };
}

const missing = (context: KafkaContext, errorCode: number, name: string | null, topicId: string): TopicResponse => {
  context.metrics.error(errorCode);
  return { errorCode, name, topicId, isInternal: false, partitions: [] };
};

/** Finds the topic or, when broker and client both allow it, creates it with the broker's defaults. */
async function findOrCreate(
  context: KafkaContext,
  connection: ClientConnection,
  name: string,
  wanted: boolean,
): Promise<TopicResponse> {
  const { log } = context;
  if (!connection.allows('describe', 'topic', name)) {
    return missing(context, KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED, name, ZERO_UUID);
  }
  const create = wanted && mayCreateTopic(connection, name);
  const found = log.topic(name);
  if (found !== undefined) return describe(context, found);
  let code: number = KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION;
  try {
    // A name that can never be legal is INVALID_TOPIC in either case, as in Kafka.
    const topic = await log.createTopic({ name, partitions: -1, config: new Map() }, { validateOnly: !create });
    if (create) return describe(context, topic);
  } catch (thrown) {
    const error = asHeadwaterError(thrown);
    const meanwhile = log.topic(name);
    if (meanwhile !== undefined) return describe(context, meanwhile);
    if (create || error.code === 'INVALID_TOPIC') code = error.kafkaCode;
  }
  return missing(context, code, name, ZERO_UUID);
}

export const metadataHandler = handler({
  api: metadata,
  deviations: [
    'A topic that is created automatically is in the same answer, instead of LEADER_NOT_AVAILABLE first.',
    'Authorized operations are never reported.',
  ],
  async handle(context, request, version, connection) {
    const { log, identity, settings } = context;
    const { topics: wanted } = request;
    const noName = version >= 12 ? null : '';
    const topics: TopicResponse[] = [];
    if (wanted === null || (version === 0 && wanted.length === 0)) {
      for (const topic of log.topics()) {
        if (connection.allows('describe', 'topic', topic.name)) topics.push(describe(context, topic));
      }
    } else {
      const create = settings.autoCreateTopics && request.allowAutoTopicCreation;
      for (const { name, topicId } of wanted) {
        if (topicId !== ZERO_UUID) {
          const topic = log.topicById(topicId);
          // Kafka does not tell whether an id exists that one may not see.
          if (topic !== undefined && connection.allows('describe', 'topic', topic.name))
            topics.push(describe(context, topic));
          else topics.push(missing(context, missingTopic(topicId), noName, topicId));
        } else if (name === null) topics.push(missing(context, KAFKA_ERROR.INVALID_REQUEST, noName, topicId));
        else topics.push(await findOrCreate(context, connection, name, create));
      }
    }
    return {
      brokers: brokersOf(context, connection),
      clusterId: identity.clusterId,
      controllerId: leaderIdOf(context),
      topics,
    };
  },
});
