import { deleteGroups } from '../../wire/kafka/api/42-delete-groups.ts';
import { handler } from '../handler.ts';

export const deleteGroupsHandler = handler({
  api: deleteGroups,
  async handle(context, { groupsNames }) {
    const results = await Promise.all(
      groupsNames.map(async (groupId) => {
        const errorCode = await context.groups.deleteGroup(groupId);
        context.metrics.error(errorCode);
        return { groupId, errorCode };
      }),
    );
    return { results };
  },
});
