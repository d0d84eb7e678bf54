import { createAcls } from '../../wire/kafka/api/30-create-acls.ts';
import { handler } from '../handler.ts';
import { SECURITY_DISABLED } from '../security-disabled.ts';

export const createAclsHandler = handler({
  api: createAcls,
  handle: (_context, { creations }) => ({ results: creations.map(() => SECURITY_DISABLED) }),
});
