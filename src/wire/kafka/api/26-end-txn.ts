import { api, bool, int16, int32, int64, string } from '../schema.ts';

export const endTxn = api({
  key: 26,
  name: 'EndTxn',
  range: [0, 4],
  advertise: [0, 4],
  flexibleFrom: 3,
  request: {
    transactionalId: string('0+'),
    producerId: int64('0+'),
    producerEpoch: int16('0+'),
    committed: bool('0+'),
  },
  response: {
    throttleTimeMs: int32('0+', { default: 0 }),
    errorCode: int16('0+'),
  },
});
