import { api, array, arrayOf, int16, int32, int64, string } from '../schema.ts';

export const describeTransactions = api({
  key: 65,
  name: 'DescribeTransactions',
  range: [0, 0],
  advertise: [0, 0],
  flexibleFrom: 0,
  request: {
    transactionalIds: arrayOf(string, '0+'),
  },
  response: {
    throttleTimeMs: int32('0+', { default: 0 }),
    transactionStates: array('0+', {
      errorCode: int16('0+'),
      transactionalId: string('0+'),
      transactionState: string('0+'),
      transactionTimeoutMs: int32('0+'),
      transactionStartTimeMs: int64('0+'),
      producerId: int64('0+'),
      producerEpoch: int16('0+'),
      topics: array('0+', {
        topic: string('0+'),
        partitions: arrayOf(int32, '0+'),
      }),
    }),
  },
});
