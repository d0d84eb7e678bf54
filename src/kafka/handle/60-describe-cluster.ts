import { describeCluster } from '../../wire/kafka/api/60-describe-cluster.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

/** KIP-919: what kind of endpoint the client believes it talks to. */
const BROKERS = 1;

export const describeClusterHandler = handler({
  api: describeCluster,
  handle({ identity, metrics }, { endpointType }, _version, { advertised }) {
    if (endpointType !== BROKERS) {
      const errorCode = KAFKA_ERROR.MISMATCHED_ENDPOINT_TYPE;
      metrics.error(errorCode);
      return { errorCode, errorMessage: 'this is a broker, not a controller', clusterId: '', brokers: [] };
    }
    return {
      errorCode: KAFKA_ERROR.NONE,
      endpointType,
      clusterId: identity.clusterId,
      controllerId: identity.nodeId,
      brokers: [{ brokerId: identity.nodeId, ...advertised, rack: identity.rack }],
    };
  },
});
