import { api, array, int16, int32, int64, records, string, struct } from '../schema.ts';

/** Versions 0 to 2 are advertised but not served: librdkafka up to 2.8 checks for them before it compresses (KAFKA-18659). */
export const produce = api({
  key: 0,
  name: 'Produce',
  range: [3, 11],
  advertise: [0, 11],
  flexibleFrom: 9,
  request: {
    transactionalId: string('3+', { nullable: '3+', default: null }),
    acks: int16('3+'),
    timeoutMs: int32('3+'),
    topicData: array('3+', {
      name: string('3+'),
      partitionData: array('3+', {
        index: int32('3+'),
        records: records('3+', { nullable: '3+' }),
      }),
    }),
  },
  response: {
    responses: array('3+', {
      name: string('3+'),
      partitionResponses: array('3+', {
        index: int32('3+'),
        errorCode: int16('3+'),
        baseOffset: int64('3+'),
        logAppendTimeMs: int64('3+', { default: -1 }),
        logStartOffset: int64('5+', { default: -1 }),
        recordErrors: array(
          '8+',
          {
            batchIndex: int32('8+'),
            batchIndexErrorMessage: string('8+', { nullable: '8+', default: null }),
          },
          { default: [] },
        ),
        errorMessage: string('8+', { nullable: '8+', default: null }),
        currentLeader: struct(
          '10+',
          {
            leaderId: int32('10+', { default: -1 }),
            leaderEpoch: int32('10+', { default: -1 }),
          },
          { tagged: ['10+', 0] },
        ),
      }),
    }),
    throttleTimeMs: int32('3+', { default: 0 }),
    nodeEndpoints: array(
      '10+',
      {
        nodeId: int32('10+'),
        host: string('10+'),
        port: int32('10+'),
        rack: string('10+', { nullable: '10+', default: null }),
      },
      { tagged: ['10+', 0], default: [] },
    ),
  },
});
