import type { User } from '../../security/users.ts';
import { describeUserScramCredentials } from '../../wire/kafka/api/50-describe-user-scram-credentials.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { mechanismNumber } from '../scram-changes.ts';

const infosOf = (user: User) =>
  [...user.scram].map(([mechanism, { iterations }]) => ({ mechanism: mechanismNumber(mechanism), iterations }));

export const describeUserScramCredentialsHandler = handler({
  api: describeUserScramCredentials,
  handle({ metrics, users: store }, { users: asked }, _version, connection) {
    if (!connection.allows('describe', 'cluster', '')) {
      metrics.error(KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED);
      return { errorCode: KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, results: [] };
    }
    const known = new Map<string, User>();
    for (const user of store?.users() ?? []) if (user.scram.size > 0) known.set(user.name, user);
    const names = asked === null || asked.length === 0 ? [...known.keys()] : asked.map(({ name }) => name);
    const results = [...new Set(names)].map((name) => {
      const user = known.get(name);
      const twice = names.indexOf(name) !== names.lastIndexOf(name);
      if (user !== undefined && !twice) {
        return { user: name, errorCode: KAFKA_ERROR.NONE, credentialInfos: infosOf(user) };
      }
      const errorCode = twice ? KAFKA_ERROR.DUPLICATE_RESOURCE : KAFKA_ERROR.RESOURCE_NOT_FOUND;
      metrics.error(errorCode);
      const errorMessage = twice ? `"${name}" comes twice in one request` : `"${name}" has no SCRAM credentials`;
      return { user: name, errorCode, errorMessage, credentialInfos: [] };
    });
    return { errorCode: KAFKA_ERROR.NONE, results };
  },
});
