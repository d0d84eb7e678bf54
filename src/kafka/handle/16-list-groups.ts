import { listGroups } from '../../wire/kafka/api/16-list-groups.ts';
import { handler } from '../handler.ts';

/** KIP-848 names the groups of the protocol before it so. */
const GROUP_TYPE = 'classic';

export const listGroupsHandler = handler({
  api: listGroups,
  handle(context, { statesFilter, typesFilter }) {
    // Both filters ignore case; an empty one takes everything (KIP-518, KIP-848).
    const states = new Set(statesFilter.map((state) => state.toLowerCase()));
    const typeWanted = typesFilter.length === 0 || typesFilter.some((type) => type.toLowerCase() === GROUP_TYPE);
    // A broker lists what it coordinates: one that follows another, nothing. Who asks every broker gets each group once.
    const groups = typeWanted && context.pair?.follows() !== true ? context.groups.list() : [];
    return {
      errorCode: 0,
      groups: groups
        .filter(({ state }) => states.size === 0 || states.has(state.toLowerCase()))
        .map(({ groupId, protocolType, state }) => ({
          groupId,
          protocolType,
          groupState: state,
          groupType: GROUP_TYPE,
        })),
    };
  },
});
