import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Route, RouteTable } from '../../src/mqtt/routes.ts';
import { type Match, type Subscription, SubscriptionIndex } from '../../src/mqtt/subscription-index.ts';
import type { Target } from '../../src/mqtt/target.ts';
import {
  covers,
  matches,
  overlaps,
  parseFilter,
  parseSubscription,
  parseTopicName,
} from '../../src/mqtt/topic-filter.ts';

const level = fc.constantFrom('a', 'b', '', '$x');
const name = fc.array(level, { minLength: 1, maxLength: 4 }).filter((levels) => levels.join('/') !== '');
const filter = fc
  .tuple(fc.array(fc.constantFrom('a', 'b', '', '$x', '+'), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, wild]) => (wild ? [...levels, '#'] : levels));

describe('topic filters', () => {
  it('two filters that match one name overlap', () => {
    fc.assert(
      fc.property(filter, filter, name, (one, two, topic) => {
        if (matches(one, topic) && matches(two, topic)) expect(overlaps(one, two)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('a filter that covers another matches all that the other matches, but for names beginning with $', () => {
    fc.assert(
      fc.property(filter, filter, name, (outer, inner, topic) => {
        fc.pre(!topic[0]!.startsWith('$'));
        if (covers(outer, inner) && matches(inner, topic)) expect(matches(outer, topic)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('every filter covers itself, and # covers every filter', () => {
    fc.assert(
      fc.property(filter, (one) => {
        expect([covers(one, one), covers(['#'], one)]).toEqual([true, true]);
      }),
    );
  });

  it('the index finds what matching every subscription one by one finds', () => {
    fc.assert(
      fc.property(
        fc.array(filter, { maxLength: 12 }),
        fc.array(fc.nat(11), { maxLength: 6 }),
        name,
        (filters, gone, topic) => {
          const index = new SubscriptionIndex();
          const targets: Target[] = [{ offer() {} }, { offer() {} }, { offer() {} }];
          const all = new Map<string, [Target, Subscription]>();
          filters.forEach((levels, i) => {
            const target = targets[i % 3]!;
            const text = levels.join('/');
            const subscription: Subscription = {
              text,
              levels,
              qos: 1,
              noLocal: false,
              retainAsPublished: false,
              id: 0,
              positions: false,
            };
            index.add(target, subscription);
            all.set(`${i % 3} ${text}`, [target, subscription]);
          });
          for (const at of gone) {
            const key = [...all.keys()][at];
            if (key === undefined) continue;
            index.remove(...all.get(key)!);
            all.delete(key);
          }
          expect(index.size).toBe(all.size);
          const flat = (found: Iterable<[Target, string]>) =>
            [...found].map(([target, text]) => `${targets.indexOf(target)} ${text}`).sort();
          const found = index
            .match(topic)
            .flatMap((match: Match) => match.subscriptions.map((one): [Target, string] => [match.target, one.text]));
          const wanted = [...all.values()]
            .filter(([, one]) => matches(one.levels, topic))
            .map(([target, one]): [Target, string] => [target, one.text]);
          expect(flat(found)).toEqual(flat(wanted));
          expect(new Set(index.match(topic).map((match) => match.target)).size).toBe(index.match(topic).length);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('more levels than the bound are refused, the bound is taken', () => {
    expect(parseTopicName(Array(128).fill('a').join('/'))).toHaveLength(128);
    expect(() => parseTopicName(Array(129).fill('a').join('/'))).toThrow('129 levels; at most 128');
    expect(() => parseFilter(Array(129).fill('+').join('/'))).toThrow('129 levels; at most 128');
  });

  it('a shared subscription is taken apart', () => {
    expect(parseSubscription('$share/g/a/+')).toEqual({ share: 'g', filter: 'a/+', levels: ['a', '+'] });
    expect(() => parseSubscription('$share/g/')).toThrow('it is empty');
  });
});

describe('routes', () => {
  const table = new RouteTable(
    [
      { mqtt: 'plant/+/temp', topic: 'temperature', key: '{1}' },
      { mqtt: 'plant/+/alarm/#', topic: 'alarms', key: '{1}-{2}' },
      { mqtt: 'live/#', topic: 'none', store: false },
    ],
    'mqtt',
  );
  const key = (topic: string, client = 'c') => {
    const levels = parseTopicName(topic);
    const route = table.find(levels);
    return [route.topicName, route.keyOf(topic, levels, client)];
  };

  it('the first match wins and fills its template', () => {
    expect(key('plant/7/temp')).toEqual(['temperature', '7']);
    expect(key('plant/7/alarm/fire/1')).toEqual(['alarms', '7-fire/1']);
    expect(key('plant/7/alarm')).toEqual(['alarms', '7-']);
    expect(key('elsewhere')).toEqual(['mqtt', 'elsewhere']);
    expect(key('$own/topic')).toEqual(['mqtt', '$own/topic']);
  });

  it('a subscription reads only the log topics in which its records may be', () => {
    const topics = (text: string) => [...table.topicsFor(parseFilter(text))];
    expect(topics('plant/+/temp')).toEqual(['temperature']);
    expect(topics('plant/3/temp')).toEqual(['temperature']);
    expect(topics('plant/#')).toEqual(['temperature', 'alarms', 'mqtt']);
    expect(topics('other/#')).toEqual(['mqtt']);
    expect(topics('live/x')).toEqual([]);
  });

  it('the MQTT topic is found again from a key, when that is possible', () => {
    expect(table.topicOf('temperature', '7')).toBe('plant/7/temp');
    expect(table.topicOf('temperature', '7/8')).toBeNull();
    expect(table.topicOf('alarms', '7-fire')).toBeNull();
    expect(table.topicOf('mqtt', 'any/thing')).toBe('any/thing');
    expect(table.topicOf('mqtt', 'with/+')).toBeNull();
    expect(table.topicOf('unrouted', 'x')).toBeNull();
  });

  it.each([
    [{ mqtt: 'a/#/b', topic: 't' }, '# must be the whole last level'],
    [{ mqtt: 'a/+', topic: 't', key: '{2}' }, 'the filter has 1 wildcards'],
    [{ mqtt: 'a', topic: 't', key: '{what}' }, 'is not one of {topic}, {client}, {1}'],
    [{ mqtt: 'a', topic: 't', key: '' }, 'the key template is empty'],
  ])('an impossible route is refused by name', (options, message) => {
    expect(() => new Route(options)).toThrow(message);
  });
});
