import { alterClientQuotas } from '../../wire/kafka/api/49-alter-client-quotas.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

export const alterClientQuotasHandler = handler({
  api: alterClientQuotas,
  deviations: ['There are no client quotas: every change is refused.'],
  handle({ metrics }, request) {
    const errorCode = KAFKA_ERROR.INVALID_REQUEST;
    return {
      entries: request.entries.map(({ entity }) => {
        metrics.error(errorCode);
        return { errorCode, errorMessage: 'this broker has no client quotas', entity };
      }),
    };
  },
});
