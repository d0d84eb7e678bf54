import { alterConfigs } from '../../wire/kafka/api/33-alter-configs.ts';
import { attempt } from '../attempt.ts';
import { alterResource, replacingChanges } from '../configs.ts';
import { handler } from '../handler.ts';

export const alterConfigsHandler = handler({
  api: alterConfigs,
  async handle(context, { resources, validateOnly }, _version, connection) {
    const responses = [];
    for (const { resourceType, resourceName, configs } of resources) {
      const outcome = await attempt(context, () =>
        alterResource(
          context,
          connection,
          resourceType,
          resourceName,
          (topic) => replacingChanges(topic, configs),
          validateOnly,
        ),
      );
      responses.push({ resourceType, resourceName, ...outcome });
    }
    return { responses };
  },
});
