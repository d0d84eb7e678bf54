import { api, array, arrayOf, int8, int16, int32, int64, records, string, struct, uuid, ZERO_UUID } from '../schema.ts';

export const fetch = api({
  key: 1,
  name: 'Fetch',
  range: [4, 17],
  advertise: [4, 17],
  flexibleFrom: 12,
  request: {
    clusterId: string('12+', { nullable: '12+', tagged: ['12+', 0], default: null }),
    replicaId: int32('4-14', { default: -1 }),
    replicaState: struct(
      '15+',
      {
        replicaId: int32('15+', { default: -1 }),
        replicaEpoch: int64('15+', { default: -1 }),
      },
      { tagged: ['15+', 1] },
    ),
    maxWaitMs: int32('4+'),
    minBytes: int32('4+'),
    maxBytes: int32('4+', { default: 2_147_483_647 }),
    isolationLevel: int8('4+', { default: 0 }),
    sessionId: int32('7+', { default: 0 }),
    sessionEpoch: int32('7+', { default: -1 }),
    topics: array('4+', {
      topic: string('4-12', { default: '' }),
      topicId: uuid('13+', { default: ZERO_UUID }),
      partitions: array('4+', {
        partition: int32('4+'),
        currentLeaderEpoch: int32('9+', { default: -1 }),
        fetchOffset: int64('4+'),
        lastFetchedEpoch: int32('12+', { default: -1 }),
        logStartOffset: int64('5+', { default: -1 }),
        partitionMaxBytes: int32('4+'),
        replicaDirectoryId: uuid('17+', { tagged: ['17+', 0], default: ZERO_UUID }),
      }),
    }),
    forgottenTopicsData: array(
      '7+',
      {
        topic: string('7-12', { default: '' }),
        topicId: uuid('13+', { default: ZERO_UUID }),
        partitions: arrayOf(int32, '7+'),
      },
      { default: [] },
    ),
    rackId: string('11+', { default: '' }),
  },
  response: {
    throttleTimeMs: int32('4+', { default: 0 }),
    errorCode: int16('7+', { default: 0 }),
    sessionId: int32('7+', { default: 0 }),
    responses: array('4+', {
      topic: string('4-12', { default: '' }),
      topicId: uuid('13+', { default: ZERO_UUID }),
      partitions: array('4+', {
        partitionIndex: int32('4+'),
        errorCode: int16('4+'),
        highWatermark: int64('4+'),
        lastStableOffset: int64('4+', { default: -1 }),
        logStartOffset: int64('5+', { default: -1 }),
        divergingEpoch: struct(
          '12+',
          {
            epoch: int32('12+', { default: -1 }),
            endOffset: int64('12+', { default: -1 }),
          },
          { tagged: ['12+', 0] },
        ),
        currentLeader: struct(
          '12+',
          {
            leaderId: int32('12+', { default: -1 }),
            leaderEpoch: int32('12+', { default: -1 }),
          },
          { tagged: ['12+', 1] },
        ),
        snapshotId: struct(
          '12+',
          {
            endOffset: int64('12+', { default: -1 }),
            epoch: int32('12+', { default: -1 }),
          },
          { tagged: ['12+', 2] },
        ),
        abortedTransactions: array(
          '4+',
          {
            producerId: int64('4+'),
            firstOffset: int64('4+'),
          },
          { nullable: '4+' },
        ),
        preferredReadReplica: int32('11+', { default: -1 }),
        records: records('4+', { nullable: '4+' }),
      }),
    }),
    nodeEndpoints: array(
      '16+',
      {
        nodeId: int32('16+'),
        host: string('16+'),
        port: int32('16+'),
        rack: string('16+', { nullable: '16+', default: null }),
      },
      { tagged: ['16+', 0], default: [] },
    ),
  },
});
