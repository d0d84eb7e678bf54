import { api, array, int16, int32, int64, string } from '../schema.ts';

export const offsetCommit = api({
  key: 8,
  name: 'OffsetCommit',
  range: [1, 9],
  advertise: [1, 9],
  flexibleFrom: 8,
  request: {
    groupId: string('1+'),
    generationIdOrMemberEpoch: int32('1+', { default: -1 }),
    memberId: string('1+'),
    groupInstanceId: string('7+', { nullable: '7+', default: null }),
    retentionTimeMs: int64('2-4', { default: -1 }),
    topics: array('1+', {
      name: string('1+'),
      partitions: array('1+', {
        partitionIndex: int32('1+'),
        committedOffset: int64('1+'),
        committedLeaderEpoch: int32('6+', { default: -1 }),
        commitTimestamp: int64('1', { default: -1 }),
        committedMetadata: string('1+', { nullable: '1+' }),
      }),
    }),
  },
  response: {
    throttleTimeMs: int32('3+', { default: 0 }),
    topics: array('1+', {
      name: string('1+'),
      partitions: array('1+', {
        partitionIndex: int32('1+'),
        errorCode: int16('1+'),
      }),
    }),
  },
});
