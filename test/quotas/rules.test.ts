import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Bucket, candidates, entityName, parseEntityName, THROTTLE_MAX_MS } from '../../src/quotas/rules.ts';

describe('the quota that counts', () => {
  it('is the first of eight, from both names to the default client', () => {
    expect(candidates('u', 'c').map(({ entity }) => entity)).toEqual([
      { user: 'u', clientId: 'c' },
      { user: 'u', clientId: null },
      { user: 'u' },
      { user: null, clientId: 'c' },
      { user: null, clientId: null },
      { user: null },
      { clientId: 'c' },
      { clientId: null },
    ]);
  });

  it('is shared by all clients of a user only where it is for the user alone', () => {
    expect(candidates('u', 'c').map(({ shared }) => Object.keys(shared).join('+'))).toEqual([
      'user+clientId',
      'user+clientId',
      'user',
      'user+clientId',
      'user+clientId',
      'user',
      'clientId',
      'clientId',
    ]);
  });

  it('has a name of its own for every entity, also one that looks like a default', () => {
    const part = fc.oneof(fc.constant(undefined), fc.constant(null), fc.constantFrom('*', '=', ''), fc.string());
    fc.assert(
      fc.property(part, part, (user, clientId) => {
        const entity = { ...(user !== undefined && { user }), ...(clientId !== undefined && { clientId }) };
        expect(parseEntityName(...entityName(entity))).toEqual(entity);
      }),
    );
    expect(() => parseEntityName('x', '')).toThrow(RangeError);
  });
});

describe('a bucket', () => {
  it('gives a second at once, then what comes in, and says how long until nothing is owed', () => {
    const bucket = new Bucket(1_000, 0);
    expect(bucket.take(1_000, 0)).toBe(0);
    expect(bucket.take(500, 0)).toBe(500);
    expect(bucket.take(0, 499)).toBe(1);
    expect(bucket.take(0, 500)).toBe(0);
    expect(bucket.take(250, 1_000)).toBe(0);
    expect(bucket.take(1_500, 60_000)).toBe(500);
  });

  it('keeps a client that waits as told at its rate, whatever it sends', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.array(fc.integer({ min: 0, max: 100_000 }), { minLength: 1, maxLength: 50 }),
        (rate, sizes) => {
          const bucket = new Bucket(rate, 0);
          let now = 0;
          let sent = 0;
          for (const size of sizes) {
            sent += size;
            now += bucket.take(size, now);
          }
          const longest = (Math.max(...sizes) / rate) * 1_000;
          if (longest + 1_000 < THROTTLE_MAX_MS) expect(sent).toBeLessThanOrEqual(rate + (rate * now) / 1_000 + 1);
        },
      ),
    );
  });

  it('asks for an hour at most and does not forget the rest', () => {
    const bucket = new Bucket(1, 0);
    expect(bucket.take(10_000, 0)).toBe(THROTTLE_MAX_MS);
    expect(bucket.take(0, THROTTLE_MAX_MS)).toBe(THROTTLE_MAX_MS);
    expect(bucket.take(0, 2 * THROTTLE_MAX_MS)).toBe(9_999_000 - 2 * THROTTLE_MAX_MS);
  });
});
