import { api, bytes, int16, int64, string } from '../schema.ts';

export const saslAuthenticate = api({
  key: 36,
  name: 'SaslAuthenticate',
  range: [0, 2],
  advertise: [0, 2],
  flexibleFrom: 2,
  request: {
    authBytes: bytes('0+'),
  },
  response: {
    errorCode: int16('0+'),
    errorMessage: string('0+', { nullable: '0+', default: null }),
    authBytes: bytes('0+'),
    sessionLifetimeMs: int64('1+', { default: 0 }),
  },
});
