import { api, array, int8, int16, int32, string } from '../schema.ts';

export const createAcls = api({
  key: 30,
  name: 'CreateAcls',
  range: [1, 3],
  advertise: [1, 3],
  flexibleFrom: 2,
  request: {
    creations: array('1+', {
      resourceType: int8('1+'),
      resourceName: string('1+'),
      resourcePatternType: int8('1+', { default: 3 }),
      principal: string('1+'),
      host: string('1+'),
      operation: int8('1+'),
      permissionType: int8('1+'),
    }),
  },
  response: {
    throttleTimeMs: int32('1+', { default: 0 }),
    results: array('1+', {
      errorCode: int16('1+'),
      errorMessage: string('1+', { nullable: '1+', default: null }),
    }),
  },
});
