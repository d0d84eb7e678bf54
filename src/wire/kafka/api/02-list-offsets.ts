import { api, array, int8, int16, int32, int64, string } from '../schema.ts';

export const listOffsets = api({
  key: 2,
  name: 'ListOffsets',
  range: [1, 10],
  advertise: [1, 10],
  flexibleFrom: 6,
  request: {
    replicaId: int32('1+'),
    isolationLevel: int8('2+', { default: 0 }),
    topics: array('1+', {
      name: string('1+'),
      partitions: array('1+', {
        partitionIndex: int32('1+'),
        currentLeaderEpoch: int32('4+', { default: -1 }),
        timestamp: int64('1+'),
      }),
    }),
    timeoutMs: int32('10+', { default: 0 }),
  },
  response: {
    throttleTimeMs: int32('2+', { default: 0 }),
    topics: array('1+', {
      name: string('1+'),
      partitions: array('1+', {
        partitionIndex: int32('1+'),
        errorCode: int16('1+'),
        timestamp: int64('1+', { default: -1 }),
        offset: int64('1+', { default: -1 }),
        leaderEpoch: int32('4+', { default: -1 }),
      }),
    }),
  },
});
