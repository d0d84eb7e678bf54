/**
 * Feeds the subscribers at the end of the log. What a commit added is matched once per record and offered to each target.
 * Records that came as a batch, that are not visible yet (a replica or a transaction is open) or that cannot be decoded
 * at once are read back from the log, in order; meanwhile later commits of that partition wait in the log too.
 */
import type { Clock } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { MQTT_CATCH_UP_READ_BYTES } from '../limits.ts';
import type { Committed, Log, Partition, Topic } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { MqttCounters } from './counters.ts';
import { SharedEncodings } from './encodings.ts';
import { Feed } from './feed.ts';
import { type AgeOf, countedDown, type Message, messageOf } from './message.ts';
import { Publication } from './publication.ts';
import { isPassing, READ_RETRY_MS, readRecords } from './read-records.ts';
import type { RouteTable } from './routes.ts';
import type { SubscriptionIndex } from './subscription-index.ts';
import type { TopicCache, TopicEntry } from './topic-cache.ts';

export interface FanOutDependencies {
  readonly log: Log;
  readonly routes: RouteTable;
  readonly index: SubscriptionIndex;
  readonly topics: TopicCache;
  readonly clock: Clock;
  readonly ageOf: AgeOf;
  readonly logger: Logger;
  readonly counters: MqttCounters;
}

export class FanOut {
  readonly #deps: FanOutDependencies;
  readonly #feeds = new Map<Partition, Feed>();
  readonly #encodings = new SharedEncodings();
  readonly #onWake = (feed: Feed) => {
    if (feed.state !== 'waiting') return;
    feed.partition.cancelWait(feed);
    this.#startReading(feed);
  };
  #stopped = false;

  constructor(deps: FanOutDependencies) {
    this.#deps = deps;
  }

  start(): void {
    const { log, routes } = this.#deps;
    for (const topic of log.topics()) if (routes.isRead(topic.name)) this.#follow(topic);
    log.onCommit((committed) => {
      if (!this.#stopped && routes.isRead(committed.partition.topic.name)) this.#onCommit(committed);
    });
    log.onTopicEvent(({ kind, topic }) => {
      if (kind !== 'deleted') {
        if (routes.isRead(topic.name)) this.#follow(topic);
        return;
      }
      for (const [partition, feed] of this.#feeds) {
        if (partition.topic.id !== topic.id) continue;
        if (feed.state === 'waiting') partition.cancelWait(feed);
        this.#feeds.delete(partition);
      }
    });
  }

  /** Routes changed while the broker runs: topics that are read from here on begin at their end. `before`: who was read. */
  routesChanged(before: ReadonlySet<string>): void {
    const { log, routes } = this.#deps;
    for (const topic of log.topics()) {
      if (!routes.isRead(topic.name) || before.has(topic.name)) continue;
      for (const partition of topic.partitions) {
        const feed = this.feedOf(partition);
        if (feed.state === 'direct') feed.fanned = Math.max(feed.fanned, partition.logEndOffset);
      }
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const [partition, feed] of this.#feeds) if (feed.state === 'waiting') partition.cancelWait(feed);
  }

  #follow(topic: Topic): void {
    for (const partition of topic.partitions) this.feedOf(partition);
  }

  feedOf(partition: Partition): Feed {
    let feed = this.#feeds.get(partition);
    if (feed === undefined) {
      feed = new Feed(partition, partition.logEndOffset, this.#onWake);
      this.#feeds.set(partition, feed);
    }
    return feed;
  }

  /** The feed of a stored position; null when that topic is gone (deleted, or created again). */
  feedAt(topicId: string, index: number): Feed | null {
    const partition = this.#deps.log.topicById(topicId)?.partitions[index];
    return partition === undefined ? null : this.feedOf(partition);
  }

  /** Feeds of the partitions in which records matching the filter may be stored. */
  feedsFor(filter: readonly string[]): Feed[] {
    const feeds: Feed[] = [];
    for (const name of this.#deps.routes.topicsFor(filter)) {
      for (const partition of this.#deps.log.topic(name)?.partitions ?? []) feeds.push(this.feedOf(partition));
    }
    return feeds;
  }

  #onCommit(committed: Committed): void {
    const { partition, baseOffset, lastOffset, records } = committed;
    let feed = this.#feeds.get(partition);
    if (feed === undefined) {
      feed = new Feed(partition, baseOffset, this.#onWake);
      this.#feeds.set(partition, feed);
    }
    if (feed.state !== 'direct') return;
    if (records === null || feed.fanned !== baseOffset || partition.lastStableOffset <= lastOffset) {
      this.#startReading(feed);
      return;
    }
    if (this.#deps.index.size === 0) {
      feed.fanned = lastOffset + 1;
      return;
    }
    const { topics, routes } = this.#deps;
    for (let i = 0; i < records.length; i++) {
      const record = records[i]!;
      // Before it is offered: a position stored while it is offered must not name it again.
      feed.fanned = baseOffset + i + 1;
      if (record instanceof Publication) this.dispatch(record, record.entry, feed, baseOffset + i);
      else {
        const message = messageOf(record, partition.topic.name, routes);
        if (message !== null) this.dispatch(message, topics.get(message.topic), feed, baseOffset + i);
      }
    }
  }

  /** Offers a message to everyone who subscribes to its topic. `feed` null: it is not stored. */
  dispatch(message: Message, entry: TopicEntry, feed: Feed | null, offset: number): void {
    const matches = this.#deps.topics.matches(entry);
    if (matches.length === 0) return;
    let { properties } = message;
    if (properties.messageExpiryInterval !== undefined) {
      const left = countedDown(message, this.#deps.ageOf);
      if (left === null) {
        this.#deps.counters.expired.value++;
        return;
      }
      properties = left;
    }
    this.#encodings.begin(message, properties);
    for (const match of matches) match.target.offer(match, message, feed, offset, this.#encodings);
  }

  #startReading(feed: Feed): void {
    if (this.#stopped) return;
    feed.state = 'reading';
    this.#readOn(feed).catch((error: unknown) => {
      if (isPassing(error)) {
        this.#deps.clock.after(READ_RETRY_MS, () => this.#startReading(feed));
        return;
      }
      const { partition } = feed;
      this.#deps.logger.error(
        { topic: partition.topic.name, partition: partition.index, offset: feed.fanned, error },
        'MQTT subscribers skip records that cannot be read',
      );
      this.#deps.counters.unreadable.value++;
      feed.fanned = Math.max(feed.fanned, partition.lastStableOffset);
      feed.state = 'direct';
    });
  }

  async #readOn(feed: Feed): Promise<void> {
    const { partition } = feed;
    const { topics, routes, log } = this.#deps;
    while (!this.#stopped && log.topicById(partition.topic.id) !== undefined) {
      if (feed.fanned < partition.logStartOffset) feed.fanned = partition.logStartOffset;
      const upTo = partition.lastStableOffset;
      if (feed.fanned >= upTo) {
        if (partition.logEndOffset > feed.fanned) {
          feed.state = 'waiting';
          partition.wait(feed);
        } else feed.state = 'direct';
        return;
      }
      try {
        const next = await readRecords(partition, feed.fanned, upTo, MQTT_CATCH_UP_READ_BYTES, (offset, record) => {
          feed.fanned = offset + 1;
          const message = messageOf(record, partition.topic.name, routes);
          if (message !== null) this.dispatch(message, topics.get(message.topic), feed, offset);
          return true;
        });
        feed.fanned = Math.max(feed.fanned, next);
      } catch (error) {
        if (!(error instanceof HeadwaterError) || error.code !== 'OFFSET_OUT_OF_RANGE') throw error;
        if (feed.fanned >= partition.logStartOffset) throw error;
      }
    }
  }
}
