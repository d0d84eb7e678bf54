import { listConfigResources } from '../../wire/kafka/api/74-list-config-resources.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { RESOURCE } from '../configs.ts';
import { handler } from '../handler.ts';

/** KIP-1142. Version 0 asked for client metrics only; there are none. No types given means all. */
export const listConfigResourcesHandler = handler({
  api: listConfigResources,
  handle({ log, identity, metrics }, { resourceTypes }, version, connection) {
    const known: readonly number[] = Object.values(RESOURCE);
    if (resourceTypes.some((type) => !known.includes(type))) {
      metrics.error(KAFKA_ERROR.UNSUPPORTED_VERSION);
      return { errorCode: KAFKA_ERROR.UNSUPPORTED_VERSION, configResources: [] };
    }
    if (version === 0) return { errorCode: KAFKA_ERROR.NONE, configResources: [] };
    const wanted = (type: number): boolean => resourceTypes.length === 0 || resourceTypes.includes(type);
    const configResources = [];
    if (wanted(RESOURCE.TOPIC)) {
      for (const { name } of log.topics()) {
        if (!connection.allows('describe', 'topic', name)) continue;
        configResources.push({ resourceName: name, resourceType: RESOURCE.TOPIC });
      }
    }
    if (wanted(RESOURCE.BROKER)) {
      configResources.push({ resourceName: String(identity.nodeId), resourceType: RESOURCE.BROKER });
    }
    return { errorCode: KAFKA_ERROR.NONE, configResources };
  },
});
