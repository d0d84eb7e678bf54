import { api, array, arrayOf, bool, int16, int32, int64, string } from '../schema.ts';

export const addPartitionsToTxn = api({
  key: 24,
  name: 'AddPartitionsToTxn',
  range: [0, 5],
  advertise: [0, 5],
  flexibleFrom: 3,
  request: {
    transactions: array(
      '4+',
      {
        transactionalId: string('4+'),
        producerId: int64('4+'),
        producerEpoch: int16('4+'),
        verifyOnly: bool('4+', { default: false }),
        topics: array('4+', {
          name: string('4+'),
          partitions: arrayOf(int32, '4+'),
        }),
      },
      { default: [] },
    ),
    v3AndBelowTransactionalId: string('0-3', { default: '' }),
    v3AndBelowProducerId: int64('0-3', { default: 0 }),
    v3AndBelowProducerEpoch: int16('0-3', { default: 0 }),
    v3AndBelowTopics: array(
      '0-3',
      {
        name: string('0-3'),
        partitions: arrayOf(int32, '0-3'),
      },
      { default: [] },
    ),
  },
  response: {
    throttleTimeMs: int32('0+', { default: 0 }),
    errorCode: int16('4+', { default: 0 }),
    resultsByTransaction: array(
      '4+',
      {
        transactionalId: string('4+'),
        topicResults: array('4+', {
          name: string('4+'),
          resultsByPartition: array('4+', {
            partitionIndex: int32('4+'),
            partitionErrorCode: int16('4+'),
          }),
        }),
      },
      { default: [] },
    ),
    resultsByTopicV3AndBelow: array(
      '0-3',
      {
        name: string('0-3'),
        resultsByPartition: array('0-3', {
          partitionIndex: int32('0-3'),
          partitionErrorCode: int16('0-3'),
        }),
      },
      { default: [] },
    ),
  },
});
