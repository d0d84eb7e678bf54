import { describeConfigs } from '../../wire/kafka/api/32-describe-configs.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { brokerEntries, type ConfigEntry, RESOURCE, topicEntries } from '../configs.ts';
import type { KafkaContext } from '../context.ts';
import { type ClientConnection, handler } from '../handler.ts';

interface Described {
  readonly errorCode: number;
  readonly errorMessage: string | null;
  readonly configs: readonly ConfigEntry[];
}

const described = (configs: readonly ConfigEntry[]): Described => ({ errorCode: 0, errorMessage: null, configs });
const refused = (errorCode: number, errorMessage: string): Described => ({ errorCode, errorMessage, configs: [] });

function describe(
  context: KafkaContext,
  connection: ClientConnection,
  type: number,
  name: string,
  keys: readonly string[] | null,
): Described {
  switch (type) {
    case RESOURCE.TOPIC: {
      if (!connection.allows('describe', 'topic', name)) {
        return refused(KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED, `may not describe topic "${name}"`);
      }
      const topic = context.log.topic(name);
      if (topic === undefined) return refused(KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION, `no topic "${name}"`);
      return described(topicEntries(context, topic, keys));
    }
    case RESOURCE.BROKER:
      if (!connection.allows('describe', 'cluster', '')) {
        return refused(KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, 'may not describe the cluster');
      }
      // The empty name means cluster-wide dynamic settings, of which there are none.
      if (name === '') return described([]);
      if (name !== String(context.identity.nodeId)) {
        return refused(KAFKA_ERROR.INVALID_REQUEST, `broker "${name}": this is broker ${context.identity.nodeId}`);
      }
      return described(brokerEntries(context, keys));
    case RESOURCE.BROKER_LOGGER:
    case RESOURCE.CLIENT_METRICS:
    case RESOURCE.GROUP:
      return described([]);
    default:
      return refused(KAFKA_ERROR.INVALID_REQUEST, `resource type ${type}: allowed are 2, 4, 8, 16 and 32`);
  }
}

export const describeConfigsHandler = handler({
  api: describeConfigs,
  deviations: [
    'Broker settings are read-only here; the configuration file changes them. Groups have no settings of their own.',
  ],
  handle(context, request, version, connection) {
    const results = request.resources.map(({ resourceType, resourceName, configurationKeys }) => {
      // Before version 1, and for kafka-configs, an empty list means all settings as null does.
      const keys = configurationKeys?.length === 0 ? null : configurationKeys;
      const { errorCode, errorMessage, configs } = describe(context, connection, resourceType, resourceName, keys);
      context.metrics.error(errorCode);
      return {
        errorCode,
        errorMessage,
        resourceType,
        resourceName,
        configs: configs.map((entry) => ({
          ...entry,
          synonyms: request.includeSynonyms ? entry.synonyms : [],
          documentation: version >= 3 && request.includeDocumentation ? entry.documentation : null,
        })),
      };
    });
    return { results };
  },
});
