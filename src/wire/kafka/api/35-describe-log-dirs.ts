import { api, array, arrayOf, bool, int16, int32, int64, string } from '../schema.ts';

export const describeLogDirs = api({
  key: 35,
  name: 'DescribeLogDirs',
  range: [1, 4],
  advertise: [1, 4],
  flexibleFrom: 2,
  request: {
    topics: array(
      '1+',
      {
        topic: string('1+'),
        partitions: arrayOf(int32, '1+'),
      },
      { nullable: '1+' },
    ),
  },
  response: {
    throttleTimeMs: int32('1+', { default: 0 }),
    errorCode: int16('3+', { default: 0 }),
    results: array('1+', {
      errorCode: int16('1+'),
      logDir: string('1+'),
      topics: array('1+', {
        name: string('1+'),
        partitions: array('1+', {
          partitionIndex: int32('1+'),
          partitionSize: int64('1+'),
          offsetLag: int64('1+'),
          isFutureKey: bool('1+'),
        }),
      }),
      totalBytes: int64('4+', { default: -1 }),
      usableBytes: int64('4+', { default: -1 }),
    }),
  },
});
