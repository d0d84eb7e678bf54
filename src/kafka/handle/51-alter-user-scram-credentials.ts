import { asHeadwaterError } from '../../errors.ts';
import { alterUserScramCredentials } from '../../wire/kafka/api/51-alter-user-scram-credentials.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { applyScramChanges, checkScramChanges, type ScramOutcome } from '../scram-changes.ts';

export const alterUserScramCredentialsHandler = handler({
  api: alterUserScramCredentials,
  deviations: [
    'They are kept in the users file, for MQTT and HTTP as well; the last credential takes the user with it. Only who has logged in may change them.',
  ],
  async handle({ metrics, users: store, logger }, request, _version, connection) {
    const outcomes = checkScramChanges(request);
    const refuseAll = (errorCode: number, errorMessage: string) => {
      for (const name of outcomes.keys()) outcomes.set(name, { errorCode, errorMessage } satisfies ScramOutcome);
    };
    if (store === null) refuseAll(KAFKA_ERROR.INVALID_CONFIG, 'users.file is not set: there are no users');
    else if (connection.user === null || !connection.allows('alter', 'cluster', '')) {
      const who = connection.user ?? 'anonymous';
      refuseAll(KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, `user ${who} may not alter the cluster's users`);
    } else if ([...outcomes.values()].some(({ errorCode }) => errorCode === KAFKA_ERROR.NONE)) {
      try {
        await store.editUsers((users) => applyScramChanges(users, request, outcomes));
      } catch (thrown) {
        const error = asHeadwaterError(thrown);
        if (error.code === 'INTERNAL') logger.error({ error: error.stack }, 'the users file was not changed');
        refuseAll(error.kafkaCode, error.message);
      }
    }
    const results = [...outcomes].map(([user, { errorCode, errorMessage }]) => {
      metrics.error(errorCode);
      return { user, errorCode, errorMessage };
    });
    return { results };
  },
});
