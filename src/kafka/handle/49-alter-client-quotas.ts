import { HeadwaterError } from '../../errors.ts';
import { alterClientQuotas } from '../../wire/kafka/api/49-alter-client-quotas.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { attempt } from '../attempt.ts';
import { handler } from '../handler.ts';
import { wireToEntity } from '../quota-entities.ts';

export const alterClientQuotasHandler = handler({
  api: alterClientQuotas,
  deviations: [
    'producer_byte_rate and consumer_byte_rate only, counted in bytes of record batches over one second; MQTT clients have none.',
  ],
  async handle(context, { entries, validateOnly }, _version, connection) {
    const outcomes = [];
    for (const { entity, ops } of entries) {
      const outcome = await attempt(context, async () => {
        if (!connection.allows('alter', 'cluster', '')) {
          const errorMessage = `user ${connection.user ?? 'anonymous'} may not alter the cluster's quotas`;
          return { errorCode: KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, errorMessage };
        }
        // What is here is a copy of the leader's.
        if (context.pair?.follows() === true)
          throw new HeadwaterError('NOT_CONTROLLER', 'this broker follows another, which leads');
        if (context.quotas === null) throw new HeadwaterError('INVALID_REQUEST', 'this broker keeps no quotas');
        const changes = new Map(ops.map(({ key, value, remove }) => [key, remove ? null : value]));
        if (changes.size < ops.length)
          throw new HeadwaterError('INVALID_REQUEST', 'a quota comes twice in one request');
        await context.quotas.alter(wireToEntity(entity), changes, { validateOnly });
        return { errorCode: KAFKA_ERROR.NONE, errorMessage: null };
      });
      outcomes.push({ ...outcome, entity });
    }
    return { entries: outcomes };
  },
});
