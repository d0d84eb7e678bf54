import { describe, expect, it } from 'vitest';
import { canMove, GROUP_MOVES, GROUP_STATES, nextState } from '../../src/groups/states.ts';

const LEGAL: Record<string, string> = {
  'Empty rebalance': 'PreparingRebalance',
  'Empty removed': 'Dead',
  'PreparingRebalance joined': 'CompletingRebalance',
  'PreparingRebalance emptied': 'Empty',
  'CompletingRebalance rebalance': 'PreparingRebalance',
  'CompletingRebalance assigned': 'Stable',
  'Stable rebalance': 'PreparingRebalance',
  'Stable replaced': 'Stable',
};

describe('the states of a group', () => {
  for (const state of GROUP_STATES) {
    for (const move of GROUP_MOVES) {
      const to = LEGAL[`${state} ${move}`];
      it(to === undefined ? `${state} refuses "${move}"` : `${state} goes to ${to} by "${move}"`, () => {
        expect(canMove(state, move)).toBe(to !== undefined);
        if (to === undefined) expect(() => nextState(state, move)).toThrow(TypeError);
        else expect(nextState(state, move)).toBe(to);
      });
    }
  }
});
