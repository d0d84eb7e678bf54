import { incrementalAlterConfigs } from '../../wire/kafka/api/44-incremental-alter-configs.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { attempt } from '../attempt.ts';
import { alterResource, incrementalChanges, OPERATION, RESOURCE } from '../configs.ts';
import { handler } from '../handler.ts';

export const incrementalAlterConfigsHandler = handler({
  api: incrementalAlterConfigs,
  async handle(context, { resources, validateOnly }, _version, connection) {
    const responses = [];
    for (const { resourceType, resourceName, configs } of resources) {
      const operations = configs.map(({ name, configOperation, value }) => ({
        name,
        operation: configOperation,
        value,
      }));
      // kafka-reassign-partitions clears throttles that nobody set: as in Kafka that is no error.
      const nothingToDelete =
        resourceType === RESOURCE.BROKER && operations.every(({ operation }) => operation === OPERATION.DELETE);
      if (nothingToDelete) {
        responses.push({ resourceType, resourceName, errorCode: KAFKA_ERROR.NONE, errorMessage: null });
        continue;
      }
      const outcome = await attempt(context, () =>
        alterResource(
          context,
          connection,
          resourceType,
          resourceName,
          (topic) => incrementalChanges(topic, operations),
          validateOnly,
        ),
      );
      responses.push({ resourceType, resourceName, ...outcome });
    }
    return { responses };
  },
});
