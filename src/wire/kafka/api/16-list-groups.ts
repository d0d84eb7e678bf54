import { api, array, arrayOf, int16, int32, string } from '../schema.ts';

export const listGroups = api({
  key: 16,
  name: 'ListGroups',
  range: [0, 5],
  advertise: [0, 5],
  flexibleFrom: 3,
  request: {
    statesFilter: arrayOf(string, '4+', { default: [] }),
    typesFilter: arrayOf(string, '5+', { default: [] }),
  },
  response: {
    throttleTimeMs: int32('1+', { default: 0 }),
    errorCode: int16('0+'),
    groups: array('0+', {
      groupId: string('0+'),
      protocolType: string('0+'),
      groupState: string('4+', { default: '' }),
      groupType: string('5+', { default: '' }),
    }),
  },
});
