import { describeAcls } from '../../wire/kafka/api/29-describe-acls.ts';
import { handler } from '../handler.ts';
import { SECURITY_DISABLED } from '../security-disabled.ts';

export const describeAclsHandler = handler({
  api: describeAcls,
  deviations: ['Access rules are kept in the configuration; over the wire they are SECURITY_DISABLED.'],
  handle: () => ({ ...SECURITY_DISABLED, resources: [] }),
});
