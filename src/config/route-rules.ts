/** Routes with their acks decided: the route's own, else its topic's, else 1. */
import type { Config } from './config.ts';

export interface RouteRule {
  readonly mqtt: string;
  readonly topic: string;
  readonly key: string;
  readonly acks: 0 | 1 | 'all';
  readonly store: boolean;
}

export function routeRules({ routes, topics }: Pick<Config, 'routes' | 'topics'>): RouteRule[] {
  return routes.map(({ mqtt, topic, key, acks, store }) => {
    const decided = acks ?? topics.get(topic)?.acks ?? '1';
    return { mqtt, topic, key, acks: decided === 'all' ? 'all' : decided === '0' ? 0 : 1, store };
  });
}
