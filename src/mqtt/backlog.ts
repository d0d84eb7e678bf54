/**
 * How far a subscriber is behind: per partition the first offset it has not been given, and nothing else. It reads on from
 * there, one bounded step at a time, passing over what the log knows to hold nothing for it.
 */
import { HeadwaterError } from '../errors.ts';
import { MQTT_CATCH_UP_READ_BYTES } from '../limits.ts';
import type { LabelQuery, LogRecord } from '../log/types.ts';
import type { MqttCounters } from './counters.ts';
import type { Feed } from './feed.ts';
import { type Message, messageOf } from './message.ts';
import { isPassing, readRecords } from './read-records.ts';
import type { RouteTable } from './routes.ts';

export interface BacklogOwner {
  /** In metrics: client identifier, or the text of a shared subscription. */
  readonly name: string;
  /** What the messages that `take` wants have; null: it must see all. */
  query(): LabelQuery | null;
  /** A message in its turn. False: there is no room for it now. */
  take(message: Message, feed: Feed, offset: number): boolean;
}

/**
 * `end`: nothing is left to read; `more`: there is; `full`: the owner has no room; `later`: the store does not answer now;
 * `stopped`: the owner goes on no more.
 */
export type Progress = 'end' | 'more' | 'full' | 'later' | 'stopped';

export interface BacklogContext {
  readonly counters: MqttCounters;
  readonly routes: RouteTable;
}

export class Backlog {
  readonly #context: BacklogContext;
  readonly #owner: BacklogOwner;
  /** The first offset not delivered, per partition; null: at the end of the log everywhere. */
  places: Map<Feed, number> | null = null;
  /** Records of its partitions that retention removed before they were read. */
  skipped = 0;

  constructor(context: BacklogContext, owner: BacklogOwner) {
    this.#context = context;
    this.#owner = owner;
  }

  /** From `offset` on nothing of this partition was delivered. False: it was behind there already. */
  note(feed: Feed, offset: number): boolean {
    this.places ??= new Map();
    if (this.places.has(feed)) return false;
    this.places.set(feed, offset);
    return true;
  }

  countSkipped(records: number): void {
    if (records === 0) return;
    const { counters } = this.#context;
    this.skipped += records;
    counters.skippedByRetention.value += records;
    counters.skippedBySession(this.#owner.name).value += records;
  }

  /** Reads and hands on about one step of the partition whose turn it is. `goesOn`: asked after every wait. */
  async read(goesOn: () => boolean): Promise<Progress> {
    const { places } = this;
    for (const [feed, from] of places ?? []) {
      const start = Math.max(from, feed.partition.logStartOffset);
      this.countSkipped(start - from);
      places!.delete(feed);
      if (start >= feed.fanned) continue;
      // In turn with the others.
      places!.set(feed, start);
      return await this.#readSome(places!, feed, start, goesOn);
    }
    this.places = null;
    return 'end';
  }

  async #readSome(places: Map<Feed, number>, feed: Feed, start: number, goesOn: () => boolean): Promise<Progress> {
    const { partition } = feed;
    const { routes, counters } = this.#context;
    const current = () => goesOn() && this.places === places;
    let full = false;
    const each = (offset: number, record: LogRecord): boolean => {
      if (!current()) return false;
      // Moved before it is sent: a state stored while it is sent must not name it as unread.
      places.set(feed, offset + 1);
      const message = messageOf(record, partition.topic.name, routes);
      if (message === null || this.#owner.take(message, feed, offset)) return true;
      places.set(feed, offset);
      full = true;
      return false;
    };
    try {
      const query = this.#owner.query();
      const next = await readRecords(partition, start, feed.fanned, MQTT_CATCH_UP_READ_BYTES, each, query);
      if (!current()) return 'stopped';
      const now = places.get(feed) ?? start;
      places.set(feed, Math.max(now, full ? now : next));
      if (!full && next <= start && next < feed.fanned) places.set(feed, start + 1);
    } catch (error) {
      if (!(error instanceof HeadwaterError)) throw error;
      if (!current()) return 'stopped';
      if (isPassing(error)) return 'later';
      // Retention moved on, or the topic is gone, or the bytes cannot be read: count it and go on behind it.
      if ((places.get(feed) ?? start) >= partition.logStartOffset) {
        counters.unreadable.value++;
        places.delete(feed);
      }
    }
    return full ? 'full' : 'more';
  }
}
