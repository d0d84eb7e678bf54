import { api, array, arrayOf, int16, int32, string, uuid, ZERO_UUID } from '../schema.ts';

export const deleteTopics = api({
  key: 20,
  name: 'DeleteTopics',
  range: [0, 6],
  advertise: [0, 6],
  flexibleFrom: 4,
  request: {
    topics: array(
      '6+',
      {
        name: string('6+', { nullable: '6+', default: null }),
        topicId: uuid('6+'),
      },
      { default: [] },
    ),
    topicNames: arrayOf(string, '0-5', { default: [] }),
    timeoutMs: int32('0+'),
  },
  response: {
    throttleTimeMs: int32('1+', { default: 0 }),
    responses: array('0+', {
      name: string('0+', { nullable: '6+' }),
      topicId: uuid('6+', { default: ZERO_UUID }),
      errorCode: int16('0+'),
      errorMessage: string('5+', { nullable: '5+', default: null }),
    }),
  },
});
