import { api, array, int8, int16, int32, string } from '../schema.ts';

export const describeAcls = api({
  key: 29,
  name: 'DescribeAcls',
  range: [1, 3],
  advertise: [1, 3],
  flexibleFrom: 2,
  request: {
    resourceTypeFilter: int8('1+'),
    resourceNameFilter: string('1+', { nullable: '1+' }),
    patternTypeFilter: int8('1+', { default: 3 }),
    principalFilter: string('1+', { nullable: '1+' }),
    hostFilter: string('1+', { nullable: '1+' }),
    operation: int8('1+'),
    permissionType: int8('1+'),
  },
  response: {
    throttleTimeMs: int32('1+', { default: 0 }),
    errorCode: int16('1+'),
    errorMessage: string('1+', { nullable: '1+', default: null }),
    resources: array('1+', {
      resourceType: int8('1+'),
      resourceName: string('1+'),
      patternType: int8('1+', { default: 3 }),
      acls: array('1+', {
        principal: string('1+'),
        host: string('1+'),
        operation: int8('1+'),
        permissionType: int8('1+'),
      }),
    }),
  },
});
