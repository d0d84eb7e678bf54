import { api, array, int16, int32, int64, string } from '../schema.ts';

export const offsetForLeaderEpoch = api({
  key: 23,
  name: 'OffsetForLeaderEpoch',
  range: [2, 4],
  advertise: [2, 4],
  flexibleFrom: 4,
  request: {
    replicaId: int32('3+', { default: -2 }),
    topics: array('2+', {
      topic: string('2+'),
      partitions: array('2+', {
        partition: int32('2+'),
        currentLeaderEpoch: int32('2+', { default: -1 }),
        leaderEpoch: int32('2+'),
      }),
    }),
  },
  response: {
    throttleTimeMs: int32('2+', { default: 0 }),
    topics: array('2+', {
      topic: string('2+'),
      partitions: array('2+', {
        errorCode: int16('2+'),
        partition: int32('2+'),
        leaderEpoch: int32('2+', { default: -1 }),
        endOffset: int64('2+', { default: -1 }),
      }),
    }),
  },
});
