import { api, array, arrayOf, int8, int16, int32, string } from '../schema.ts';

export const listConfigResources = api({
  key: 74,
  name: 'ListConfigResources',
  range: [0, 1],
  advertise: [0, 1],
  flexibleFrom: 0,
  request: {
    resourceTypes: arrayOf(int8, '1+', { default: [] }),
  },
  response: {
    throttleTimeMs: int32('0+', { default: 0 }),
    errorCode: int16('0+'),
    configResources: array('0+', {
      resourceName: string('0+'),
      resourceType: int8('1+', { default: 16 }),
    }),
  },
});
