import { alterUserScramCredentials } from '../../wire/kafka/api/51-alter-user-scram-credentials.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

export const alterUserScramCredentialsHandler = handler({
  api: alterUserScramCredentials,
  deviations: ['Users are kept in the users file (headwater users): every change is refused.'],
  handle({ metrics }, { deletions, upsertions }) {
    const errorCode = KAFKA_ERROR.INVALID_REQUEST;
    const names = new Set([...deletions, ...upsertions].map(({ name }) => name));
    const results = [...names].map((user) => {
      metrics.error(errorCode);
      return { user, errorCode, errorMessage: 'users are changed with: headwater users add|remove' };
    });
    return { results };
  },
});
