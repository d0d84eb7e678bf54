import { describe, expect, it } from 'vitest';
import { compilePattern } from '../../src/transactions/listing.ts';
import { nextTxnState, TXN_MOVES, TXN_STATES, type TxnState } from '../../src/transactions/states.ts';
import {
  add,
  admits,
  EPOCH_MAX,
  end,
  fence,
  initialize,
  newTransaction,
  type TxnDecision,
  type TxnValue,
} from '../../src/transactions/step.ts';

const LEGAL: Record<string, TxnState> = {
  'Empty init': 'Empty',
  'Empty add': 'Ongoing',
  'Empty expire': 'Dead',
  'Ongoing add': 'Ongoing',
  'Ongoing commit': 'PrepareCommit',
  'Ongoing abort': 'PrepareAbort',
  'PrepareCommit complete': 'CompleteCommit',
  'PrepareAbort complete': 'CompleteAbort',
  'CompleteCommit init': 'Empty',
  'CompleteCommit add': 'Ongoing',
  'CompleteCommit expire': 'Dead',
  'CompleteAbort init': 'Empty',
  'CompleteAbort add': 'Ongoing',
  'CompleteAbort expire': 'Dead',
};

describe('the states of a transaction', () => {
  for (const state of TXN_STATES) {
    for (const move of TXN_MOVES) {
      const to = LEGAL[`${state} ${move}`];
      it(to === undefined ? `${state} refuses "${move}"` : `${state} goes to ${to} by "${move}"`, () => {
        if (to === undefined) expect(() => nextTxnState(state, move)).toThrow(TypeError);
        else expect(nextTxnState(state, move)).toBe(to);
      });
    }
  }
});

const PARTITION = { topic: 't', topicId: 'id', partition: 0 };
const LIVE = ['Empty', 'Ongoing', 'PrepareCommit', 'PrepareAbort', 'CompleteCommit', 'CompleteAbort'] as const;

function inState(state: TxnState, changes: Partial<TxnValue> = {}): TxnValue {
  const partitions = state === 'Ongoing' || state.startsWith('Prepare') ? [PARTITION] : [];
  return { ...newTransaction(7, 60_000), state, epoch: 3, partitions, ...changes };
}

const ME = { producerId: 7, epoch: 3 };
const what = (decision: TxnDecision) => ('error' in decision ? decision.error : decision.next.state);

describe('every request in every state', () => {
  const rows: [string, (value: TxnValue) => unknown, unknown[]][] = [
    [
      'InitProducerId',
      (value) => what(initialize(value, null, 1, null, 0)),
      ['Empty', 'PrepareAbort', 51, 51, 'Empty', 'Empty'],
    ],
    [
      'InitProducerId with its own id and epoch (KIP-360)',
      (value) => what(initialize(value, ME, 1, null, 0)),
      ['Empty', 'PrepareAbort', 51, 51, 'Empty', 'Empty'],
    ],
    [
      'InitProducerId with an older epoch',
      (value) => what(initialize(value, { ...ME, epoch: 1 }, 1, null, 0)),
      [90, 90, 51, 51, 90, 90],
    ],
    [
      'InitProducerId with another id',
      (value) => what(initialize(value, { ...ME, producerId: 8 }, 1, null, 0)),
      [90, 90, 90, 90, 90, 90],
    ],
    [
      'AddPartitionsToTxn',
      (value) => what(add(value, ME, { partitions: [{ ...PARTITION, partition: 1 }] }, 0)),
      ['Ongoing', 'Ongoing', 51, 51, 'Ongoing', 'Ongoing'],
    ],
    [
      'AddPartitionsToTxn of what is there',
      (value) => what(add(value, ME, { partitions: [PARTITION] }, 0)),
      ['Ongoing', 0, 51, 51, 'Ongoing', 'Ongoing'],
    ],
    [
      'AddOffsetsToTxn',
      (value) => what(add(value, ME, { groups: ['g'] }, 0)),
      ['Ongoing', 'Ongoing', 51, 51, 'Ongoing', 'Ongoing'],
    ],
    [
      'AddPartitionsToTxn of another id',
      (value) => what(add(value, { ...ME, producerId: 8 }, {}, 0)),
      Array(6).fill(49),
    ],
    ['AddPartitionsToTxn of an old epoch', (value) => what(add(value, { ...ME, epoch: 2 }, {}, 0)), Array(6).fill(90)],
    ['EndTxn to commit', (value) => what(end(value, ME, true, 0)), [48, 'PrepareCommit', 51, 48, 0, 48]],
    ['EndTxn to abort', (value) => what(end(value, ME, false, 0)), [48, 'PrepareAbort', 48, 51, 48, 0]],
    ['EndTxn of another id', (value) => what(end(value, { ...ME, producerId: 8 }, true, 0)), Array(6).fill(49)],
    ['EndTxn of an old epoch', (value) => what(end(value, { ...ME, epoch: 2 }, true, 0)), Array(6).fill(90)],
    ['Produce', (value) => admits(value, ME, () => true), [48, 0, 48, 48, 48, 48]],
    ['Produce to what was not added', (value) => admits(value, ME, () => false), Array(6).fill(48)],
    ['Produce of an old epoch', (value) => admits(value, { ...ME, epoch: 2 }, () => true), Array(6).fill(47)],
    ['Produce of another id', (value) => admits(value, { ...ME, producerId: 8 }, () => true), Array(6).fill(49)],
  ];
  for (const [name, run, expected] of rows) {
    LIVE.forEach((state, i) => {
      it(`${state} answers ${name} with ${expected[i]}`, () => {
        expect(run(inState(state))).toEqual(expected[i]);
      });
    });
  }
});

describe('epochs', () => {
  const next = (decision: TxnDecision) => ('next' in decision ? decision.next : null);

  it('begin at 0 and rise with every InitProducerId', () => {
    const first = next(initialize(newTransaction(7, 1), null, 1, null, 0))!;
    expect([first.producerId, first.epoch]).toEqual([7, 0]);
    expect(next(initialize(first, null, 1, null, 0))!.epoch).toBe(1);
  });

  it('rise when an open transaction is fenced', () => {
    expect(next(fence(inState('Ongoing'), 0))!.epoch).toBe(4);
  });

  it('are given again to a producer that lost the answer to its bump (KIP-360)', () => {
    const bumped = next(initialize(inState('Empty'), ME, 1, null, 0))!;
    expect(next(initialize(bumped, ME, 1, null, 0))!.epoch).toBe(bumped.epoch);
    const taken = next(initialize(bumped, null, 1, null, 0))!;
    expect(what(initialize(taken, ME, 1, null, 0))).toBe(90);
  });

  it('near the end of an int16 become a new producer id with epoch 0', () => {
    const worn = inState('CompleteCommit', { epoch: EPOCH_MAX });
    expect(next(initialize(worn, null, 1, 99, 0))).toMatchObject({ producerId: 99, epoch: 0, lastProducerId: 7 });
    const own = { producerId: 7, epoch: EPOCH_MAX };
    const rotated = next(initialize(worn, own, 1, 99, 0))!;
    expect(next(initialize(rotated, own, 1, null, 0))).toMatchObject({ producerId: 99, epoch: 0 });
    expect(next(fence(inState('Ongoing', { epoch: EPOCH_MAX }), 0))!.epoch).toBe(32_767);
  });
});

describe('patterns of ListTransactions', () => {
  it.each(['orders-.*', 'a|b', '[a-z]+-[0-9]+', 'x\\.y'])('%s is taken', (pattern) => {
    expect(compilePattern(pattern)).not.toBeNull();
  });

  it.each(['(a+)+', '(', 'a*a*a*b', '(a|a)*b', '(?=x)', '(a)\\1', '[', 'x'.repeat(257)])('%s is refused', (pattern) => {
    expect(compilePattern(pattern)).toBeNull();
  });

  it('match whole ids', () => {
    expect(compilePattern('a.')!.test('xab')).toBe(false);
    expect(compilePattern('a|b')!.test('ab')).toBe(false);
  });
});
