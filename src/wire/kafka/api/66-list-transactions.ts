import { api, array, arrayOf, int16, int32, int64, string } from '../schema.ts';

export const listTransactions = api({
  key: 66,
  name: 'ListTransactions',
  range: [0, 2],
  advertise: [0, 2],
  flexibleFrom: 0,
  request: {
    stateFilters: arrayOf(string, '0+'),
    producerIdFilters: arrayOf(int64, '0+'),
    durationFilter: int64('1+', { default: -1 }),
    transactionalIdPattern: string('2+', { nullable: '2+', default: null }),
  },
  response: {
    throttleTimeMs: int32('0+', { default: 0 }),
    errorCode: int16('0+'),
    unknownStateFilters: arrayOf(string, '0+'),
    transactionStates: array('0+', {
      transactionalId: string('0+'),
      producerId: int64('0+'),
      transactionState: string('0+'),
    }),
  },
});
