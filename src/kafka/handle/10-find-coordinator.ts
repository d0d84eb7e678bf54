import { findCoordinator } from '../../wire/kafka/api/10-find-coordinator.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

/** 0: group, 1: transactional id. 2, share groups (KIP-932), is not served. */
const KEY_TYPES = [0, 1];

export const findCoordinatorHandler = handler({
  api: findCoordinator,
  handle(context, { keyType, coordinatorKeys }, version, { advertised }) {
    const known = KEY_TYPES.includes(keyType);
    const errorCode = known ? KAFKA_ERROR.NONE : KAFKA_ERROR.INVALID_REQUEST;
    const errorMessage = known ? null : `key type ${keyType} is not served; known: ${KEY_TYPES.join(', ')}`;
    const self = { nodeId: context.identity.nodeId, host: advertised.host, port: advertised.port };
    const found = { ...(known ? self : { nodeId: -1, host: '', port: -1 }), errorCode, errorMessage };
    context.metrics.error(errorCode);
    if (version < 4) return found;
    return { coordinators: coordinatorKeys.map((one) => ({ key: one, ...found })) };
  },
});
