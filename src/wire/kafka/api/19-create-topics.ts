import { api, array, arrayOf, bool, int8, int16, int32, string, uuid, ZERO_UUID } from '../schema.ts';

export const createTopics = api({
  key: 19,
  name: 'CreateTopics',
  range: [0, 7],
  advertise: [0, 7],
  flexibleFrom: 5,
  request: {
    topics: array('0+', {
      name: string('0+'),
      numPartitions: int32('0+'),
      replicationFactor: int16('0+'),
      assignments: array('0+', {
        partitionIndex: int32('0+'),
        brokerIds: arrayOf(int32, '0+'),
      }),
      configs: array('0+', {
        name: string('0+'),
        value: string('0+', { nullable: '0+' }),
      }),
    }),
    timeoutMs: int32('0+', { default: 60_000 }),
    validateOnly: bool('1+', { default: false }),
  },
  response: {
    throttleTimeMs: int32('2+', { default: 0 }),
    topics: array('0+', {
      name: string('0+'),
      topicId: uuid('7+', { default: ZERO_UUID }),
      errorCode: int16('0+'),
      errorMessage: string('1+', { nullable: '1+', default: '' }),
      topicConfigErrorCode: int16('5+', { tagged: ['5+', 0], default: 0 }),
      numPartitions: int32('5+', { default: -1 }),
      replicationFactor: int16('5+', { default: -1 }),
      configs: array(
        '5+',
        {
          name: string('5+'),
          value: string('5+', { nullable: '5+' }),
          readOnly: bool('5+'),
          configSource: int8('5+', { default: -1 }),
          isSensitive: bool('5+'),
        },
        { nullable: '5+', default: [] },
      ),
    }),
  },
});
