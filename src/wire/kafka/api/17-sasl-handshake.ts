import { api, arrayOf, int16, string } from '../schema.ts';

export const saslHandshake = api({
  key: 17,
  name: 'SaslHandshake',
  range: [0, 1],
  advertise: [0, 1],
  flexibleFrom: null,
  request: {
    mechanism: string('0+'),
  },
  response: {
    errorCode: int16('0+'),
    mechanisms: arrayOf(string, '0+'),
  },
});
