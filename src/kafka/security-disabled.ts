import { KAFKA_ERROR } from '../wire/kafka/errors.ts';

/** What Kafka answers to ACL requests when it has no authorizer; MirrorMaker 2 and the tools take it calmly. */
export const SECURITY_DISABLED = Object.freeze({
  errorCode: KAFKA_ERROR.SECURITY_DISABLED,
  errorMessage: 'access rules are not kept by this protocol; see the configuration file',
});
