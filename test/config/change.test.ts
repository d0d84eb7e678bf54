import { describe, expect, it } from 'vitest';
import { compareConfig, effectiveConfig } from '../../src/config/change.ts';
import { loadConfig } from '../../src/config/load.ts';
import { routeRules } from '../../src/config/route-rules.ts';

const load = (text: string) => loadConfig({ text, hostname: 'edge' });
const LINK = (more: string) => `links: { up: { type: kafka, bootstrap.servers: "h:1", topics: a${more} } }\n`;

describe('a reload', () => {
  it('tells what changes at once from what needs a restart', async () => {
    const before = await load(`num.partitions: 1\nflush.ms: 0\ntopics: { a: { retention.ms: 1d } }\n${LINK('')}`);
    const after = await load(
      `num.partitions: 3\nflush.ms: 10\nlisteners: { kafka: 9093 }\ntopics: { a: { retention.ms: 2d }, b: {} }\n${LINK(', max.bytes.per.second: 1KiB, acks: 1, password: x')}`,
    );
    const { changed, restart } = compareConfig(before, after);
    expect(changed).toEqual([
      { path: 'topics.a.retention.ms', from: '1d', to: '2d' },
      { path: 'topics.b', from: '(none)', to: 'declared' },
      { path: 'links.up.max.bytes.per.second', from: '0', to: '1024' },
      { path: 'links.up.password', from: '(none)', to: '(secret)' },
    ]);
    expect(restart).toEqual([
      { path: 'num.partitions', from: '1', to: '3' },
      { path: 'flush.ms', from: '0', to: '10' },
      { path: 'listeners.kafka', from: '127.0.0.1:9092', to: '127.0.0.1:9093' },
      { path: 'links.up.acks', from: 'all', to: '1' },
    ]);
  });

  it('takes over sources as they are now', async () => {
    const before = await load('sources: { a: { paths: /l/a, topic: t }, b: { paths: /l/b, topic: t } }\n');
    const after = await load('sources: { a: { paths: [/l/a, /l/c], topic: t }, c: { paths: /l/b, topic: t } }\n');
    const { changed, restart } = compareConfig(before, after);
    expect(changed.map(({ path }) => path)).toEqual(['sources.a.paths', 'sources.b', 'sources.c']);
    expect(restart).toEqual([]);
    expect([...effectiveConfig(before, after).sources.keys()]).toEqual(['a', 'c']);
  });

  it('changes nothing when nothing changed', async () => {
    const text = `routes: [{ mqtt: a, topic: b }]\n${LINK('')}`;
    expect(compareConfig(await load(text), await load(text))).toEqual({ changed: [], restart: [] });
  });

  it('routes, and the acks they take from their topic, change at once', async () => {
    const before = await load('topics: { b: { acks: all } }\nroutes: [{ mqtt: a, topic: b }]\n');
    const after = await load('topics: { b: { acks: 0 } }\nroutes: [{ mqtt: a, topic: b }, { mqtt: c, topic: b }]\n');
    const { changed, restart } = compareConfig(before, after);
    expect(changed.map(({ path }) => path)).toEqual(['topics.b.acks', 'routes']);
    expect(restart).toEqual([]);
    expect(routeRules(effectiveConfig(before, after)).map(({ mqtt, acks }) => [mqtt, acks])).toEqual([
      ['a', 0],
      ['c', 0],
    ]);
  });

  it('keeps the running value of what needs a restart, so that it is named again until there was one', async () => {
    const before = await load(`flush.ms: 0\n${LINK('')}`);
    const after = await load(`flush.ms: 10\nlogging.level: debug\n${LINK(', acks: 1, paused: true')}`);
    const now = effectiveConfig(before, after);
    expect(now.settings['flush.ms']).toBe(0);
    expect(now.settings['logging.level']).toBe('debug');
    expect(now.links.get('up')?.acks).toBe('all');
    expect(now.links.get('up')?.paused).toBe(true);
    expect(compareConfig(now, after).restart.map(({ path }) => path)).toEqual(['flush.ms', 'links.up.acks']);
  });
});
