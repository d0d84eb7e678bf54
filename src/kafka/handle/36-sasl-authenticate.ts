import { asHeadwaterError } from '../../errors.ts';
import { saslAuthenticate } from '../../wire/kafka/api/36-sasl-authenticate.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

const NOTHING = new Uint8Array(0);

export const saslAuthenticateHandler = handler({
  api: saslAuthenticate,
  deviations: ['Sessions do not expire: there is no re-authentication (KIP-368).'],
  unauthenticated: true,
  async handle(context, { authBytes }, _version, connection) {
    const { sasl } = connection;
    const { metrics } = context;
    if (sasl === null || sasl.state !== 'exchange') {
      metrics.error(KAFKA_ERROR.ILLEGAL_SASL_STATE);
      return {
        errorCode: KAFKA_ERROR.ILLEGAL_SASL_STATE,
        errorMessage: 'SaslHandshake comes first',
        authBytes: NOTHING,
      };
    }
    try {
      return { errorCode: KAFKA_ERROR.NONE, authBytes: await sasl.step(authBytes) };
    } catch (thrown) {
      const error = asHeadwaterError(thrown);
      metrics.authenticationFailures.value += 1;
      metrics.error(KAFKA_ERROR.SASL_AUTHENTICATION_FAILED);
      connection.close('authentication failed');
      return {
        errorCode: KAFKA_ERROR.SASL_AUTHENTICATION_FAILED,
        errorMessage: error.message,
        authBytes: NOTHING,
      };
    }
  },
});
