import { api, array, int8, int16, int32, string } from '../schema.ts';

export const describeUserScramCredentials = api({
  key: 50,
  name: 'DescribeUserScramCredentials',
  range: [0, 0],
  advertise: [0, 0],
  flexibleFrom: 0,
  request: {
    users: array(
      '0+',
      {
        name: string('0+'),
      },
      { nullable: '0+' },
    ),
  },
  response: {
    throttleTimeMs: int32('0+', { default: 0 }),
    errorCode: int16('0+'),
    errorMessage: string('0+', { nullable: '0+', default: null }),
    results: array('0+', {
      user: string('0+'),
      errorCode: int16('0+'),
      errorMessage: string('0+', { nullable: '0+', default: null }),
      credentialInfos: array('0+', {
        mechanism: int8('0+'),
        iterations: int32('0+'),
      }),
    }),
  },
});
