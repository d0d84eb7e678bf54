import { asHeadwaterError } from '../../errors.ts';
import type { Partition } from '../../log/types.ts';
import { listOffsets } from '../../wire/kafka/api/02-list-offsets.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';
import { checkLeaderEpoch, checkLeads } from '../partitions.ts';

// Timestamps that are not times.
const LATEST = -1;
const EARLIEST = -2;
const MAX_TIMESTAMP = -3;
const EARLIEST_LOCAL = -4;
const LATEST_TIERED = -5;
const READ_COMMITTED = 1;

interface Found {
  readonly offset: number;
  readonly timestamp: number;
}

const NOT_FOUND: Found = { offset: -1, timestamp: -1 };

async function find(partition: Partition, timestamp: number, isolationLevel: number): Promise<Found> {
  const end = isolationLevel === READ_COMMITTED ? partition.lastStableOffset : partition.highWatermark;
  switch (timestamp) {
    case LATEST:
      return { offset: end, timestamp: -1 };
    case EARLIEST:
    case EARLIEST_LOCAL:
      return { offset: partition.logStartOffset, timestamp: -1 };
    case LATEST_TIERED:
      return NOT_FOUND;
    case MAX_TIMESTAMP:
      return (await partition.offsetOfMaxTimestamp()) ?? NOT_FOUND;
    default: {
      const found = await partition.offsetForTimestamp(timestamp);
      return found !== null && found.offset < end ? found : NOT_FOUND;
    }
  }
}

export const listOffsetsHandler = handler({
  api: listOffsets,
  deviations: ['There is no tiered storage: -4 (earliest local) is the log start, -5 (latest tiered) finds nothing.'],
  async handle(context, request, _version, connection) {
    const topics = [];
    for (const { name, partitions: wanted } of request.topics) {
      const topic = context.log.topic(name);
      const allowed = connection.allows('describe', 'topic', name);
      const partitions = [];
      for (const { partitionIndex, currentLeaderEpoch, timestamp } of wanted) {
        const partition = topic?.partitions[partitionIndex];
        let errorCode: number;
        let found = NOT_FOUND;
        if (!allowed) errorCode = KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED;
        else if (partition === undefined) errorCode = KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION;
        else if (timestamp < LATEST_TIERED) errorCode = KAFKA_ERROR.UNSUPPORTED_VERSION;
        else {
          errorCode = checkLeads(context) || checkLeaderEpoch(partition, currentLeaderEpoch);
          if (errorCode === KAFKA_ERROR.NONE) {
            try {
              found = await find(partition, timestamp, request.isolationLevel);
            } catch (error) {
              errorCode = asHeadwaterError(error).kafkaCode;
            }
          }
        }
        context.metrics.error(errorCode);
        const leaderEpoch = found.offset >= 0 && partition !== undefined ? partition.leaderEpoch : -1;
        partitions.push({ partitionIndex, errorCode, ...found, leaderEpoch });
      }
      topics.push({ name, partitions });
    }
    return { topics };
  },
});
