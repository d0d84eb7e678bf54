/**
 * The states of a classic consumer group and the moves between them. A move that is not in the table is a bug of ours
 * and throws; what clients can do wrong is answered before any move is made.
 */
export const GROUP_STATES = ['Empty', 'PreparingRebalance', 'CompletingRebalance', 'Stable', 'Dead'] as const;

/** As they are named on the wire (DescribeGroups, ListGroups). */
export type GroupState = (typeof GROUP_STATES)[number];

export const GROUP_MOVES = ['rebalance', 'joined', 'emptied', 'assigned', 'replaced', 'removed'] as const;

/**
 * rebalance: members are asked to join again. joined: a generation has its members. emptied: a generation without
 * members. assigned: the leader's assignment is stored. replaced: a static member came back under a new member id
 * without a rebalance (KIP-345). removed: the group is deleted.
 */
export type GroupMove = (typeof GROUP_MOVES)[number];

const TABLE: Readonly<Record<GroupState, Partial<Readonly<Record<GroupMove, GroupState>>>>> = {
  Empty: { rebalance: 'PreparingRebalance', removed: 'Dead' },
  PreparingRebalance: { joined: 'CompletingRebalance', emptied: 'Empty' },
  CompletingRebalance: { rebalance: 'PreparingRebalance', assigned: 'Stable' },
  Stable: { rebalance: 'PreparingRebalance', replaced: 'Stable' },
  Dead: {},
};

export function canMove(from: GroupState, move: GroupMove): boolean {
  return TABLE[from][move] !== undefined;
}

/** The state after `move`; throws when the table does not have it. */
export function nextState(from: GroupState, move: GroupMove): GroupState {
  const to = TABLE[from][move];
  if (to === undefined) throw new TypeError(`a group in ${from} cannot make the move "${move}"`);
  return to;
}
