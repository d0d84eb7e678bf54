/**
 * What a transactional id is, and the pure steps over it. A step reads the stored value and decides: an error, or the
 * value that replaces it. The coordinator stores that value before anybody hears of it, and a restart starts from it.
 */
import { TXN_ERROR } from './errors.ts';
import { nextTxnState, type TxnState } from './states.ts';

export interface TxnPartition {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
}

export interface TxnValue {
  readonly state: TxnState;
  readonly producerId: number;
  /** -1: just made, no producer has it yet. */
  readonly epoch: number;
  /** KIP-360: what a producer may name whose answer to a bump got lost; -1: none. */
  readonly lastProducerId: number;
  readonly lastEpoch: number;
  readonly timeoutMs: number;
  readonly partitions: readonly TxnPartition[];
  /** Groups whose offsets the transaction commits. */
  readonly groups: readonly string[];
  /** Milliseconds since 1970; -1: no transaction. */
  readonly startedAt: number;
  /** Milliseconds since 1970; -1 when the clock was not to be trusted. */
  readonly updatedAt: number;
}

export type TxnDecision = { readonly error: number } | { readonly next: TxnValue };

/** Above it a producer gets a new id instead of a new epoch (the epoch is an int16, and fencing needs one more). */
export const EPOCH_MAX = 32_766;

export interface ProducerIdentity {
  readonly producerId: number;
  readonly epoch: number;
}

export function newTransaction(producerId: number, timeoutMs: number): TxnValue {
  return {
    state: 'Empty',
    producerId,
    epoch: -1,
    lastProducerId: -1,
    lastEpoch: -1,
    timeoutMs,
    partitions: [],
    groups: [],
    startedAt: -1,
    updatedAt: -1,
  };
}

/** Whether `initialize` needs a fresh producer id: ids are drawn asynchronously, so the caller does it first. */
export function needsNewId(value: TxnValue, expected: ProducerIdentity | null): boolean {
  const idle = value.state === 'Empty' || value.state === 'CompleteCommit' || value.state === 'CompleteAbort';
  return idle && value.epoch >= EPOCH_MAX && (expected === null || expected.epoch === value.epoch);
}

function mayInitialize(value: TxnValue, expected: ProducerIdentity): boolean {
  if (value.epoch === -1 || expected.producerId === value.producerId) return true;
  return expected.producerId === value.lastProducerId && expected.epoch >= EPOCH_MAX;
}

/**
 * InitProducerId with a transactional id. `expected` is what the producer says it has (KIP-360, v3+). An open transaction
 * is aborted with a raised epoch: the decision is then that PrepareAbort, and the client is told to come again.
 */
export function initialize(
  value: TxnValue,
  expected: ProducerIdentity | null,
  timeoutMs: number,
  newId: number | null,
  wall: number,
): TxnDecision {
  if (expected !== null && !mayInitialize(value, expected)) return { error: TXN_ERROR.PRODUCER_FENCED };
  if (value.state === 'PrepareCommit' || value.state === 'PrepareAbort') {
    return { error: TXN_ERROR.CONCURRENT_TRANSACTIONS };
  }
  if (value.state === 'Ongoing') {
    const stale = expected !== null && expected.epoch < value.epoch && expected.epoch !== value.lastEpoch;
    return stale ? { error: TXN_ERROR.PRODUCER_FENCED } : fence(value, wall);
  }
  const fresh = {
    ...value,
    state: nextTxnState(value.state, 'init'),
    timeoutMs,
    partitions: [],
    groups: [],
    startedAt: -1,
    updatedAt: wall,
  };
  if (newId !== null && needsNewId(value, expected)) {
    const lastEpoch = expected === null ? -1 : value.epoch;
    return { next: { ...fresh, producerId: newId, epoch: 0, lastProducerId: value.producerId, lastEpoch } };
  }
  if (expected === null) return { next: { ...fresh, epoch: value.epoch + 1, lastEpoch: -1 } };
  if (value.epoch === -1 || expected.epoch === value.epoch) {
    return { next: { ...fresh, epoch: value.epoch + 1, lastEpoch: value.epoch } };
  }
  // The answer to an earlier bump got lost: give it again.
  return expected.epoch === value.lastEpoch ? { next: fresh } : { error: TXN_ERROR.PRODUCER_FENCED };
}

/** Aborts an open transaction with a raised epoch, so that its producer can write no more. */
export function fence(value: TxnValue, wall: number): TxnDecision {
  const state = nextTxnState(value.state, 'abort');
  return { next: { ...value, state, epoch: value.epoch + 1, lastEpoch: -1, updatedAt: wall } };
}

function checkProducer(value: TxnValue, { producerId, epoch }: ProducerIdentity): number {
  if (producerId !== value.producerId) return TXN_ERROR.INVALID_PRODUCER_ID_MAPPING;
  return epoch === value.epoch ? TXN_ERROR.NONE : TXN_ERROR.PRODUCER_FENCED;
}

const samePartition = (a: TxnPartition, b: TxnPartition) =>
  a.topic === b.topic && a.partition === b.partition && a.topicId === b.topicId;

/** AddPartitionsToTxn, AddOffsetsToTxn: what is there already costs no write (error NONE). */
export function add(
  value: TxnValue,
  producer: ProducerIdentity,
  what: { readonly partitions?: readonly TxnPartition[]; readonly groups?: readonly string[] },
  wall: number,
): TxnDecision {
  const error = checkProducer(value, producer);
  if (error !== TXN_ERROR.NONE) return { error };
  if (value.state === 'PrepareCommit' || value.state === 'PrepareAbort') {
    return { error: TXN_ERROR.CONCURRENT_TRANSACTIONS };
  }
  const open = value.state === 'Ongoing';
  const before = open ? value.partitions : [];
  const partitions = (what.partitions ?? []).filter((one) => !before.some((known) => samePartition(known, one)));
  const groups = (what.groups ?? []).filter((group) => !open || !value.groups.includes(group));
  if (open && partitions.length === 0 && groups.length === 0) return { error: TXN_ERROR.NONE };
  return {
    next: {
      ...value,
      state: nextTxnState(value.state, 'add'),
      partitions: [...before, ...partitions],
      groups: [...(open ? value.groups : []), ...groups],
      startedAt: open ? value.startedAt : wall,
      updatedAt: wall,
    },
  };
}

/** EndTxn. Error NONE: it had ended that way already. */
export function end(value: TxnValue, producer: ProducerIdentity, commit: boolean, wall: number): TxnDecision {
  const error = checkProducer(value, producer);
  if (error !== TXN_ERROR.NONE) return { error };
  switch (value.state) {
    case 'Ongoing':
      return { next: { ...value, state: nextTxnState(value.state, commit ? 'commit' : 'abort'), updatedAt: wall } };
    case 'CompleteCommit':
      return { error: commit ? TXN_ERROR.NONE : TXN_ERROR.INVALID_TXN_STATE };
    case 'CompleteAbort':
      return { error: commit ? TXN_ERROR.INVALID_TXN_STATE : TXN_ERROR.NONE };
    case 'PrepareCommit':
      return { error: commit ? TXN_ERROR.CONCURRENT_TRANSACTIONS : TXN_ERROR.INVALID_TXN_STATE };
    case 'PrepareAbort':
      return { error: commit ? TXN_ERROR.INVALID_TXN_STATE : TXN_ERROR.CONCURRENT_TRANSACTIONS };
    default:
      return { error: TXN_ERROR.INVALID_TXN_STATE };
  }
}

/** Every marker is stored and every group has released or dropped its offsets. */
export function complete(value: TxnValue, wall: number): TxnValue {
  const state = nextTxnState(value.state, 'complete');
  return { ...value, state, partitions: [], groups: [], updatedAt: wall };
}

/** What Produce and TxnOffsetCommit may do now; fencing is INVALID_PRODUCER_EPOCH there. */
export function admits(
  value: TxnValue | undefined,
  producer: ProducerIdentity,
  isIn: (value: TxnValue) => boolean,
): number {
  if (value === undefined || value.producerId !== producer.producerId) return TXN_ERROR.INVALID_PRODUCER_ID_MAPPING;
  if (value.epoch !== producer.epoch) return TXN_ERROR.INVALID_PRODUCER_EPOCH;
  return value.state === 'Ongoing' && isIn(value) ? TXN_ERROR.NONE : TXN_ERROR.INVALID_TXN_STATE;
}
