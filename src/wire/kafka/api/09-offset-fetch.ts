import { api, array, arrayOf, bool, int16, int32, int64, string } from '../schema.ts';

export const offsetFetch = api({
  key: 9,
  name: 'OffsetFetch',
  range: [1, 9],
  advertise: [1, 9],
  flexibleFrom: 6,
  request: {
    groupId: string('1-7', { default: '' }),
    topics: array(
      '1-7',
      {
        name: string('1-7'),
        partitionIndexes: arrayOf(int32, '1-7'),
      },
      { nullable: '2-7', default: [] },
    ),
    groups: array(
      '8+',
      {
        groupId: string('8+'),
        memberId: string('9+', { nullable: '9+', default: null }),
        memberEpoch: int32('9+', { default: -1 }),
        topics: array(
          '8+',
          {
            name: string('8+'),
            partitionIndexes: arrayOf(int32, '8+'),
          },
          { nullable: '8+' },
        ),
      },
      { default: [] },
    ),
    requireStable: bool('7+', { default: false }),
  },
  response: {
    throttleTimeMs: int32('3+', { default: 0 }),
    topics: array(
      '1-7',
      {
        name: string('1-7'),
        partitions: array('1-7', {
          partitionIndex: int32('1-7'),
          committedOffset: int64('1-7'),
          committedLeaderEpoch: int32('5-7', { default: -1 }),
          metadata: string('1-7', { nullable: '1-7' }),
          errorCode: int16('1-7'),
        }),
      },
      { default: [] },
    ),
    errorCode: int16('2-7', { default: 0 }),
    groups: array(
      '8+',
      {
        groupId: string('8+'),
        topics: array('8+', {
          name: string('8+'),
          partitions: array('8+', {
            partitionIndex: int32('8+'),
            committedOffset: int64('8+'),
            committedLeaderEpoch: int32('8+', { default: -1 }),
            metadata: string('8+', { nullable: '8+' }),
            errorCode: int16('8+'),
          }),
        }),
        errorCode: int16('8+', { default: 0 }),
      },
      { default: [] },
    ),
  },
});
