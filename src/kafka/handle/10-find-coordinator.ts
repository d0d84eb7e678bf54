import { findCoordinator } from '../../wire/kafka/api/10-find-coordinator.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

/** 0: group, 1: transactional id. 2, share groups (KIP-932), is not served. */
const KEY_TYPES = [0, 1];

export const findCoordinatorHandler = handler({
  api: findCoordinator,
  handle(context, { keyType, coordinatorKeys }, version, { advertised }) {
    const known = KEY_TYPES.includes(keyType);
    const nobody = { nodeId: -1, host: '', port: -1 };
    // A broker that follows another says who coordinates: the one that leads.
    const leads = context.pair?.follows() !== true;
    const other = context.pair?.other() ?? nobody;
    const there = leads || other.nodeId >= 0 ? KAFKA_ERROR.NONE : KAFKA_ERROR.COORDINATOR_NOT_AVAILABLE;
    const errorCode = known ? there : KAFKA_ERROR.INVALID_REQUEST;
    const errorMessage = known ? null : `key type ${keyType} is not served; known: ${KEY_TYPES.join(', ')}`;
    const self = { nodeId: context.identity.nodeId, host: advertised.host, port: advertised.port };
    const found = { ...(known ? (leads ? self : other) : nobody), errorCode, errorMessage };
    context.metrics.error(errorCode);
    if (version < 4) return found;
    return { coordinators: coordinatorKeys.map((one) => ({ key: one, ...found })) };
  },
});
