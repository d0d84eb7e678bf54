import { deleteAcls } from '../../wire/kafka/api/31-delete-acls.ts';
import { handler } from '../handler.ts';
import { SECURITY_DISABLED } from '../security-disabled.ts';

export const deleteAclsHandler = handler({
  api: deleteAcls,
  handle: (_context, { filters }) => ({
    filterResults: filters.map(() => ({ ...SECURITY_DISABLED, matchingAcls: [] })),
  }),
});
