import { api, int16, int32, string } from '../schema.ts';

export const heartbeat = api({
  key: 12,
  name: 'Heartbeat',
  range: [0, 4],
  advertise: [0, 4],
  flexibleFrom: 4,
  request: {
    groupId: string('0+'),
    generationId: int32('0+'),
    memberId: string('0+'),
    groupInstanceId: string('3+', { nullable: '3+', default: null }),
  },
  response: {
    throttleTimeMs: int32('1+', { default: 0 }),
    errorCode: int16('0+'),
  },
});
