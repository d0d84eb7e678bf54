import { describe, expect, it } from 'vitest';
import { closed, correctionsOf, OPEN_END, type Stretch } from '../../src/time/stretches.ts';
import { STEP_TOLERANCE_MS } from '../../src/time/trust.ts';

const TODAY = Date.UTC(2027, 4, 1);
const HOUR = 3_600_000;
const stretch = (change: Partial<Stretch>): Stretch => ({
  bootId: 'a',
  difference: 0,
  from: 15_000,
  to: HOUR,
  believed: false,
  marks: new Map(),
  ...change,
});

describe('corrections', () => {
  it('a boot in 1970 that learned the time is early by the step', () => {
    const stretches = [stretch({}), stretch({ difference: TODAY, believed: true, marks: new Map([[1, 5]]) })];
    expect(correctionsOf(stretches, new Map([[1, 5]]))).toEqual([
      {
        partition: 1,
        start: 0,
        end: OPEN_END,
        from: 15_000 - STEP_TOLERANCE_MS,
        to: HOUR + STEP_TOLERANCE_MS,
        by: TODAY,
      },
    ]);
  });

  it('boots that never learned it ended at the latest when the next one began', () => {
    const stretches = [
      stretch({ bootId: 'a', to: HOUR }),
      stretch({ bootId: 'b', to: 2 * HOUR, marks: new Map([[1, 10]]) }),
      stretch({ bootId: 'c', to: 3 * HOUR, marks: new Map([[1, 20]]) }),
      stretch({ bootId: 'c', difference: TODAY, believed: true, marks: new Map([[1, 30]]) }),
    ];
    const found = correctionsOf(stretches, new Map([[1, 30]]));
    expect(found.map(({ start, end, by }) => [start, end, by])).toEqual([
      [20, OPEN_END, TODAY],
      [10, 20, TODAY - 2 * HOUR],
      [0, 10, TODAY - 3 * HOUR],
    ]);
  });

  it('what was believed to the end of its boot stays, and so does all before it', () => {
    const stretches = [
      stretch({ bootId: 'a' }),
      stretch({ bootId: 'b', believed: true }),
      stretch({ bootId: 'c', difference: TODAY, believed: true }),
    ];
    expect(correctionsOf(stretches, new Map([[1, 30]]))).toEqual([]);
  });

  it('a step back, and one of less than a minute, correct nothing', () => {
    const now = stretch({ difference: TODAY, believed: true });
    expect(correctionsOf([stretch({ difference: TODAY + HOUR }), now], new Map([[1, 9]]))).toEqual([]);
    expect(correctionsOf([stretch({ difference: TODAY - 59_000 }), now], new Map([[1, 9]]))).toEqual([]);
  });

  it('end where the logs end when another stretch begins, and go with what they held', () => {
    const one = { partition: 1, start: 5, end: OPEN_END, from: 0, to: 1, by: 2 };
    const two = { ...one, partition: 2 };
    const ends = new Map([
      [1, 9],
      [2, 9],
    ]);
    expect(closed([one, two], new Map([[1, 0]]), ends)).toEqual([{ ...one, end: 9 }]);
    expect(closed([one], new Map([[1, 9]]), ends)).toEqual([]);
  });
});
