import { HeadwaterError } from '../../errors.ts';
import { checkUnits } from '../../log/topic-config.ts';
import type { Topic } from '../../log/types.ts';
import { createTopics } from '../../wire/kafka/api/19-create-topics.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import type { RequestOf } from '../../wire/kafka/schema.ts';
import { attempt } from '../attempt.ts';
import { topicEntries } from '../configs.ts';
import type { KafkaContext } from '../context.ts';
import { handler } from '../handler.ts';
import { checkAssignment, mayCreateTopic, requireTopic } from '../partitions.ts';

type CreatableTopic = RequestOf<typeof createTopics>['topics'][number];

/** Partitions asked for; a manual assignment stands in place of both numbers (KIP-4). */
function partitionsOf(
  context: KafkaContext,
  { numPartitions, replicationFactor, assignments }: CreatableTopic,
): number {
  if (assignments.length === 0) {
    if (replicationFactor !== -1 && replicationFactor !== 1) {
      throw new HeadwaterError(
        'INVALID_REPLICATION_FACTOR',
        `replication factor ${replicationFactor}: this broker stands alone, allowed are 1 and -1; copies elsewhere are made by links`,
      );
    }
    return numPartitions;
  }
  if (numPartitions !== -1 || replicationFactor !== -1) {
    throw new HeadwaterError(
      'INVALID_REQUEST',
      'with an assignment the number of partitions and the replication factor must both be -1',
    );
  }
  const sorted = [...assignments].sort((a, b) => a.partitionIndex - b.partitionIndex);
  sorted.forEach(({ partitionIndex, brokerIds }, index) => {
    if (partitionIndex !== index) {
      throw new HeadwaterError('INVALID_REQUEST', `the assignment leaves out partition ${index} or names one twice`);
    }
    checkAssignment(context.identity.nodeId, brokerIds);
  });
  return assignments.length;
}

function configOf(configs: CreatableTopic['configs']): Map<string, string> {
  const config = new Map<string, string>();
  for (const { name, value } of configs) {
    if (value === null) throw new HeadwaterError('INVALID_CONFIG', `${name}: null is not a value`);
    if (config.has(name)) throw new HeadwaterError('INVALID_REQUEST', `${name} comes twice in one topic`);
    config.set(name, value);
  }
  checkUnits(config);
  return config;
}

async function create(context: KafkaContext, wanted: CreatableTopic, validateOnly: boolean) {
  const spec = { name: wanted.name, partitions: partitionsOf(context, wanted), config: configOf(wanted.configs) };
  const topic: Topic = await context.log.createTopic(spec, { validateOnly });
  return {
    errorCode: KAFKA_ERROR.NONE,
    errorMessage: null,
    topicId: topic.id,
    numPartitions: topic.partitions.length,
    replicationFactor: 1,
    configs: topicEntries(context, topic, null).map(({ name, value, readOnly, configSource, isSensitive }) => ({
      name,
      value,
      readOnly,
      configSource,
      isSensitive,
    })),
  };
}

export const createTopicsHandler = handler({
  api: createTopics,
  deviations: ['The timeout is not used: a topic exists as soon as the answer is sent.'],
  async handle(context, request, _version, connection) {
    const counts = new Map<string, number>();
    for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1);
    const topics = [];
    for (const wanted of request.topics) {
      const outcome = await attempt(context, async () => {
        if (!mayCreateTopic(connection, wanted.name)) requireTopic(connection, 'create', wanted.name);
        if (counts.get(wanted.name)! > 1) {
          throw new HeadwaterError('INVALID_REQUEST', `topic "${wanted.name}" comes twice in one request`);
        }
        return create(context, wanted, request.validateOnly);
      });
      topics.push({ name: wanted.name, ...outcome });
    }
    return { topics };
  },
});
