import { saslHandshake } from '../../wire/kafka/api/17-sasl-handshake.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

export const saslHandshakeHandler = handler({
  api: saslHandshake,
  unauthenticated: true,
  handle({ metrics }, { mechanism }, version, { sasl }) {
    if (sasl === null || sasl.state !== 'handshake') {
      metrics.error(KAFKA_ERROR.ILLEGAL_SASL_STATE);
      return { errorCode: KAFKA_ERROR.ILLEGAL_SASL_STATE, mechanisms: [] };
    }
    const known = sasl.begin(mechanism, version === 0);
    const errorCode = known ? KAFKA_ERROR.NONE : KAFKA_ERROR.UNSUPPORTED_SASL_MECHANISM;
    metrics.error(errorCode);
    return { errorCode, mechanisms: sasl.mechanisms };
  },
});
