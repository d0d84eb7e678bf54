import { api, array, arrayOf, int8, int16, int32, string } from '../schema.ts';

export const electLeaders = api({
  key: 43,
  name: 'ElectLeaders',
  range: [0, 2],
  advertise: [0, 2],
  flexibleFrom: 2,
  request: {
    electionType: int8('1+', { default: 0 }),
    topicPartitions: array(
      '0+',
      {
        topic: string('0+'),
        partitions: arrayOf(int32, '0+'),
      },
      { nullable: '0+' },
    ),
    timeoutMs: int32('0+', { default: 60_000 }),
  },
  response: {
    throttleTimeMs: int32('0+', { default: 0 }),
    errorCode: int16('1+', { default: 0 }),
    replicaElectionResults: array('0+', {
      topic: string('0+'),
      partitionResult: array('0+', {
        partitionId: int32('0+'),
        errorCode: int16('0+'),
        errorMessage: string('0+', { nullable: '0+', default: null }),
      }),
    }),
  },
});
