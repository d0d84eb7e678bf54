/**
 * The states of a transactional id and the moves between them (KIP-98, protocol V1). A move that is not in the table is
 * a bug of ours and throws; what clients can do wrong is answered before any move is made.
 */
export const TXN_STATES = [
  'Empty',
  'Ongoing',
  'PrepareCommit',
  'PrepareAbort',
  'CompleteCommit',
  'CompleteAbort',
  'Dead',
] as const;

/** As they are named on the wire (DescribeTransactions, ListTransactions). */
export type TxnState = (typeof TXN_STATES)[number];

export const TXN_MOVES = ['init', 'add', 'commit', 'abort', 'complete', 'expire'] as const;

/**
 * init: a producer took the id over. add: partitions or a group joined the transaction. commit, abort: decided.
 * complete: every marker is stored. expire: the id was idle for transactional.id.expiration.ms.
 */
export type TxnMove = (typeof TXN_MOVES)[number];

const IDLE = { init: 'Empty', add: 'Ongoing', expire: 'Dead' } as const;

const TABLE: Readonly<Record<TxnState, Partial<Readonly<Record<TxnMove, TxnState>>>>> = {
  Empty: IDLE,
  Ongoing: { add: 'Ongoing', commit: 'PrepareCommit', abort: 'PrepareAbort' },
  PrepareCommit: { complete: 'CompleteCommit' },
  PrepareAbort: { complete: 'CompleteAbort' },
  CompleteCommit: IDLE,
  CompleteAbort: IDLE,
  Dead: {},
};

/** The state after `move`; throws when the table does not have it. */
export function nextTxnState(from: TxnState, move: TxnMove): TxnState {
  const to = TABLE[from][move];
  if (to === undefined) throw new TypeError(`a transaction in ${from} cannot make the move "${move}"`);
  return to;
}
