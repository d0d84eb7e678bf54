import { fetch } from '../../wire/kafka/api/01-fetch.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { FetchOperation } from '../fetch.ts';
import { handler } from '../handler.ts';

export const fetchHandler = handler({
  api: fetch,
  deviations: [
    'Fetch sessions (KIP-227) are never made: every answer bears session id 0, as Kafka does when its cache is full.',
  ],
  handle(context, request, version, connection) {
    if (request.sessionId !== 0) {
      context.metrics.error(KAFKA_ERROR.FETCH_SESSION_ID_NOT_FOUND);
      return { errorCode: KAFKA_ERROR.FETCH_SESSION_ID_NOT_FOUND, responses: [] };
    }
    return new FetchOperation(context, request, version, connection).run();
  },
});
