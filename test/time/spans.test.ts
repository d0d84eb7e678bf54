import { expect, it } from 'vitest';
import { correctedBy, SPANS_MAX, type Span, spansAfter } from '../../src/time/spans.ts';

const DAY = 86_400_000;
const first = spansAfter([], { wall: 50_000, by: 20_000 * DAY, ranFor: 40_000, bootId: 'a' });

it('a step forward corrects what the clock said since the boot, and nothing else', () => {
  expect(first).toEqual([{ from: 10_000, to: 50_000, by: 20_000 * DAY, bootId: 'a' }]);
  expect(correctedBy(first, 10_000)).toBe(10_000 + 20_000 * DAY);
  expect(correctedBy(first, 50_000)).toBe(50_000 + 20_000 * DAY);
  expect(correctedBy(first, 9_999)).toBeNull();
  expect(correctedBy(first, 50_001)).toBeNull();
});

it('a second step in the same boot corrects what the first had corrected', () => {
  const wall = 60_000 + 20_000 * DAY;
  const both = spansAfter(first, { wall, by: DAY, ranFor: 10_000, bootId: 'a' });
  expect(correctedBy(both, 50_000)).toBe(50_000 + 20_001 * DAY);
  expect(correctedBy(both, wall)).toBe(wall + DAY);
  expect(correctedBy(both, wall - 10_001)).toBeNull();
});

it('where two boots said the same, the later one counts', () => {
  const both = spansAfter(first, { wall: 50_000, by: 20_007 * DAY, ranFor: 40_000, bootId: 'b' });
  expect(both[0]).toEqual(first[0]);
  expect(correctedBy(both, 20_000)).toBe(20_000 + 20_007 * DAY);
});

it('there are never more than the newest few', () => {
  let spans: readonly Span[] = [];
  for (let i = 0; i < 3 * SPANS_MAX; i++) {
    spans = spansAfter(spans, { wall: i, by: 1, ranFor: 0, bootId: String(i) });
  }
  expect(spans.map(({ from }) => from)).toEqual(Array.from({ length: SPANS_MAX }, (_, i) => 2 * SPANS_MAX + i));
});
