/** From which offset on each subscription of a session counts, while the session reads partitions from before that. */
import type { Feed } from './feed.ts';
import type { Subscription } from './subscription-index.ts';

export class SubscriptionStarts {
  readonly #starts = new Map<Subscription, Map<Feed, number>>();

  get(subscription: Subscription, feed: Feed): number {
    return this.#starts.get(subscription)?.get(feed) ?? 0;
  }

  set(subscription: Subscription, feed: Feed, offset: number): void {
    let starts = this.#starts.get(subscription);
    if (starts === undefined) {
      starts = new Map();
      this.#starts.set(subscription, starts);
    }
    starts.set(feed, offset);
  }

  forget(subscription: Subscription): void {
    this.#starts.delete(subscription);
  }

  clear(): void {
    this.#starts.clear();
  }

  /** Those that still matter: the session has not read so far. */
  *ahead(places: ReadonlyMap<Feed, number>): IterableIterator<[Subscription, Feed, number]> {
    for (const [subscription, starts] of this.#starts) {
      for (const [feed, offset] of starts) {
        if (offset > (places.get(feed) ?? Number.POSITIVE_INFINITY)) yield [subscription, feed, offset];
      }
    }
  }
}
