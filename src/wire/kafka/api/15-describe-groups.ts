import { api, array, arrayOf, bool, bytes, int16, int32, string } from '../schema.ts';

export const describeGroups = api({
  key: 15,
  name: 'DescribeGroups',
  range: [0, 6],
  advertise: [0, 6],
  flexibleFrom: 5,
  request: {
    groups: arrayOf(string, '0+'),
    includeAuthorizedOperations: bool('3+', { default: false }),
  },
  response: {
    throttleTimeMs: int32('1+', { default: 0 }),
    groups: array('0+', {
      errorCode: int16('0+'),
      errorMessage: string('6+', { nullable: '6+', default: null }),
      groupId: string('0+'),
      groupState: string('0+'),
      protocolType: string('0+'),
      protocolData: string('0+'),
      members: array('0+', {
        memberId: string('0+'),
        groupInstanceId: string('4+', { nullable: '4+', default: null }),
        clientId: string('0+'),
        clientHost: string('0+'),
        memberMetadata: bytes('0+'),
        memberAssignment: bytes('0+'),
      }),
      authorizedOperations: int32('3+', { default: -2_147_483_648 }),
    }),
  },
});
