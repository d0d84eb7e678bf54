import { incrementalAlterConfigs } from '../../wire/kafka/api/44-incremental-alter-configs.ts';
import { attempt } from '../attempt.ts';
import { alterResource, incrementalChanges } from '../configs.ts';
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
