import { describeClientQuotas } from '../../wire/kafka/api/48-describe-client-quotas.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

export const describeClientQuotasHandler = handler({
  api: describeClientQuotas,
  deviations: ['There are no client quotas: the list is always empty.'],
  handle: () => ({ errorCode: KAFKA_ERROR.NONE, entries: [] }),
});
