import { api, array, bytes, int8, int16, int32, string } from '../schema.ts';

export const alterUserScramCredentials = api({
  key: 51,
  name: 'AlterUserScramCredentials',
  range: [0, 0],
  advertise: [0, 0],
  flexibleFrom: 0,
  request: {
    deletions: array('0+', {
      name: string('0+'),
      mechanism: int8('0+'),
    }),
    upsertions: array('0+', {
      name: string('0+'),
      mechanism: int8('0+'),
      iterations: int32('0+'),
      salt: bytes('0+'),
      saltedPassword: bytes('0+'),
    }),
  },
  response: {
    throttleTimeMs: int32('0+', { default: 0 }),
    results: array('0+', {
      user: string('0+'),
      errorCode: int16('0+'),
      errorMessage: string('0+', { nullable: '0+', default: null }),
    }),
  },
});
