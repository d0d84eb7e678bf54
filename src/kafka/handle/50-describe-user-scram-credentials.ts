import { describeUserScramCredentials } from '../../wire/kafka/api/50-describe-user-scram-credentials.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

export const describeUserScramCredentialsHandler = handler({
  api: describeUserScramCredentials,
  deviations: ['Users are kept in the users file and not shown over the wire: the list is empty.'],
  handle({ metrics }, { users }, _version, connection) {
    if (!connection.allows('describe', 'cluster', '')) {
      metrics.error(KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED);
      return { errorCode: KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, results: [] };
    }
    const errorCode = KAFKA_ERROR.RESOURCE_NOT_FOUND;
    const results = (users ?? []).map(({ name }) => ({
      user: name,
      errorCode,
      errorMessage: 'users are kept in the users file; see: headwater users',
      credentialInfos: [],
    }));
    for (const _ of results) metrics.error(errorCode);
    return { errorCode: KAFKA_ERROR.NONE, results };
  },
});
