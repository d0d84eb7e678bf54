/** What a subscription asks the log for, and that no message it matches can be passed over. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { labelsOf, queryOf } from '../../src/mqtt/labels.ts';
import { matches } from '../../src/mqtt/topic-filter.ts';

const level = fc.constantFrom('a', 'b', 'c', 'temp', '', 'é', '$x');
const topic = fc.array(level, { minLength: 1, maxLength: 11 });
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 11 }), fc.boolean())
  .map(([levels, below]) => (below ? [...levels, '#'] : levels));

it('a topic that a filter matches has all the labels that the filter wants', () => {
  fc.assert(
    fc.property(topic, filter, (name, wanted) => {
      const query = queryOf([wanted]);
      if (query === null || !matches(wanted, name)) return;
      const labels = new Set(labelsOf(name.join('/'), name));
      expect(query.some((alternative) => alternative.every((label) => labels.has(label)))).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

it('an exact filter wants one label, one with wildcards those of its literal levels, # everything', () => {
  expect(queryOf([['plant', '7', 'temp']])!.map((labels) => labels.length)).toEqual([1]);
  expect(queryOf([['plant', '+', 'temp']])!.map((labels) => labels.length)).toEqual([2]);
  expect(queryOf([['plant', '7', '#']])!.map((labels) => labels.length)).toEqual([2]);
  expect(queryOf([['#']])).toBeNull();
  expect(queryOf([['+', '+']])).toBeNull();
  expect(queryOf([['plant', '7'], ['#']])).toBeNull();
  expect(queryOf([])).toBeNull();
});

it('a level counts in its place, and the topic is none of its levels', () => {
  const [labels] = queryOf([['+', 'a']])!;
  expect(labelsOf('a/b', ['a', 'b'])).not.toContain(labels![0]);
  expect(labelsOf('b/a', ['b', 'a'])).toContain(labels![0]);
  expect(new Set(labelsOf('a', ['a'])).size).toBe(2);
});

it('a session of very many subscriptions reads everything', () => {
  const filters = Array.from({ length: 65 }, (_, i) => ['device', String(i)]);
  expect(queryOf(filters.slice(0, 64))).toHaveLength(64);
  expect(queryOf(filters)).toBeNull();
});

it('the hashes are those of the format: stored ones must be found for ever', () => {
  expect([...labelsOf('plant/7/temp', ['plant', '7', 'temp'])]).toEqual([
    2275019915, 991834006, 3766845204, 3795537679,
  ]);
});
