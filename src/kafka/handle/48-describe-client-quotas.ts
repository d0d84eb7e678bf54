import type { QuotaEntity } from '../../quotas/rules.ts';
import { describeClientQuotas } from '../../wire/kafka/api/48-describe-client-quotas.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import type { RequestOf } from '../../wire/kafka/schema.ts';
import { handler } from '../handler.ts';
import { entityOfWire, entityToWire, type WireEntityType, wireEntityType } from '../quota-entities.ts';

type Component = RequestOf<typeof describeClientQuotas>['components'][number];

/** KIP-546: a name, the default of a kind, or any of it. */
const MATCH = Object.freeze({ EXACT: 0, DEFAULT: 1, ANY: 2 });

function fits(entity: QuotaEntity, type: WireEntityType, { matchType, match }: Component): boolean {
  const name = entityOfWire(entity, type);
  if (name === undefined) return false;
  if (matchType === MATCH.ANY) return true;
  return matchType === MATCH.DEFAULT ? name === null : name === match;
}

export const describeClientQuotasHandler = handler({
  api: describeClientQuotas,
  deviations: ['Quotas are for users and client ids, not for addresses.'],
  handle({ quotas, metrics }, { components, strict }, _version, connection) {
    const refuse = (errorCode: number, errorMessage: string) => {
      metrics.error(errorCode);
      return { errorCode, errorMessage, entries: null };
    };
    if (!connection.allows('describe', 'cluster', '')) {
      return refuse(KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, 'not allowed to describe the cluster');
    }
    const wanted = new Map<WireEntityType, Component>();
    let addresses = false;
    for (const component of components) {
      const type = wireEntityType(component.entityType);
      if (type === null && component.entityType === 'ip') addresses = true;
      else if (type === null || component.matchType < MATCH.EXACT || component.matchType > MATCH.ANY) {
        return refuse(KAFKA_ERROR.INVALID_REQUEST, `"${component.entityType}" with match ${component.matchType}`);
      } else if (wanted.has(type)) return refuse(KAFKA_ERROR.INVALID_REQUEST, `"${type}" comes twice in one request`);
      else wanted.set(type, component);
    }
    const entries = [];
    for (const { entity, rates } of quotas?.all() ?? []) {
      const wire = entityToWire(entity);
      if (addresses || (strict && wire.length !== wanted.size)) continue;
      if (![...wanted].every(([type, component]) => fits(entity, type, component))) continue;
      entries.push({ entity: wire, values: [...rates].map(([key, value]) => ({ key, value })) });
    }
    return { errorCode: KAFKA_ERROR.NONE, entries };
  },
});
