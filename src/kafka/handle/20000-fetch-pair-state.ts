import { fetchPairState } from '../../wire/kafka/api/20000-fetch-pair-state.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

const refused = (errorCode: number) => ({ errorCode, rows: [] });

/** To whom a replica may be: sessions and retained messages are as much as the records are. */
export const fetchPairStateHandler = handler({
  api: fetchPairState,
  pairOnly: true,
  deviations: ["Not Kafka's: between the two brokers of a pair (standby.md), which alone advertise it."],
  async handle({ pair }, request, _version, connection) {
    if (!connection.allows('alter', 'cluster', '')) return refused(KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED);
    if (pair === null) return refused(KAFKA_ERROR.INVALID_REQUEST);
    if (pair.follows()) return refused(KAFKA_ERROR.NOT_LEADER_OR_FOLLOWER);
    const page = await pair.rows(request);
    return page === null ? refused(KAFKA_ERROR.OFFSET_OUT_OF_RANGE) : { errorCode: KAFKA_ERROR.NONE, ...page };
  },
});
