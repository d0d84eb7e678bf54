import { describeCluster } from '../../wire/kafka/api/60-describe-cluster.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { brokersOf, leaderIdOf } from '../brokers.ts';
import { handler } from '../handler.ts';

/** KIP-919: what kind of endpoint the client believes it talks to. */
const BROKERS = 1;

export const describeClusterHandler = handler({
  api: describeCluster,
  handle(context, { endpointType }, _version, connection) {
    const { identity, metrics } = context;
    if (endpointType !== BROKERS) {
      const errorCode = KAFKA_ERROR.MISMATCHED_ENDPOINT_TYPE;
      metrics.error(errorCode);
      return { errorCode, errorMessage: 'this is a broker, not a controller', clusterId: '', brokers: [] };
    }
    return {
      errorCode: KAFKA_ERROR.NONE,
      endpointType,
      clusterId: identity.clusterId,
      controllerId: leaderIdOf(context),
      brokers: brokersOf(context, connection).map(({ nodeId, ...rest }) => ({ brokerId: nodeId, ...rest })),
    };
  },
});
