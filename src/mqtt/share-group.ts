/**
 * A shared subscription (4.8.2): its own place in the log, and members that take turns. A message goes to the next member
 * that has room; while none has, the group falls behind as a session would.
 */
import { HeadwaterError } from '../errors.ts';
import { MQTT_CATCH_UP_READ_BYTES } from '../limits.ts';
import type { Delivery, DeliveryContext } from './delivery.ts';
import type { SharedEncodings } from './encodings.ts';
import type { Feed } from './feed.ts';
import { type Message, messageOf } from './message.ts';
import { isPassing, READ_RETRY_MS, readRecords } from './read-records.ts';
import { type Match, matchOf, type Subscription } from './subscription-index.ts';
import type { CatchingUp, Target } from './target.ts';
import { type Levels, matches } from './topic-filter.ts';

interface Member {
  readonly delivery: Delivery;
  readonly match: Match;
}

export class ShareGroup implements Target, CatchingUp {
  /** `$share/{name}/{filter}`. */
  readonly text: string;
  readonly levels: Levels;
  /** What stands in the subscription index for the whole group. */
  readonly subscription: Subscription;
  /** First offset not delivered to any member, per partition; null: at the end of the log. */
  lagging: Map<Feed, number> | null = null;
  /** Sessions that sleep and will be members again. */
  readonly sleepers = new Set<string>();
  readonly #context: DeliveryContext;
  #members: Member[] = [];
  #turn = 0;

  constructor(text: string, levels: Levels, context: DeliveryContext) {
    this.text = text;
    this.levels = levels;
    this.#context = context;
    this.subscription = { text, levels, qos: 2, noLocal: false, retainAsPublished: false, id: 0, positions: false };
  }

  get isEmpty(): boolean {
    return this.#members.length === 0;
  }

  join(delivery: Delivery, subscription: Subscription): void {
    this.leave(delivery);
    this.#members.push({ delivery, match: matchOf(delivery, [subscription]) });
    delivery.groups.add(this);
    this.pump();
  }

  leave(delivery: Delivery): void {
    this.#members = this.#members.filter((member) => member.delivery !== delivery);
    delivery.groups.delete(this);
  }

  pump(): void {
    if (this.lagging !== null && this.#members.length > 0) this.#context.catchUp.schedule(this);
  }

  offer(_: Match, message: Message, feed: Feed | null, offset: number, encodings: SharedEncodings): void {
    const member = this.lagging === null ? this.#next(message) : null;
    if (member !== null) member.delivery.send(member.match, message, feed, offset, encodings);
    else if (feed === null) this.#context.counters.dropped('live_only').value++;
    else this.fallBehind(feed, offset);
  }

  fallBehind(feed: Feed, offset: number): void {
    this.lagging ??= new Map();
    if (!this.lagging.has(feed)) this.lagging.set(feed, offset);
    this.pump();
  }

  #next(message: Message): Member | null {
    const count = this.#members.length;
    for (let i = 0; i < count; i++) {
      const at = (this.#turn + i) % count;
      const member = this.#members[at]!;
      if (!member.delivery.isReady(Math.min(member.match.qos, message.qos))) continue;
      this.#turn = at + 1;
      return member;
    }
    return null;
  }

  async step(): Promise<boolean> {
    if (this.#members.length === 0) return false;
    for (const [feed, from] of this.lagging ?? []) {
      const start = Math.max(from, feed.partition.logStartOffset);
      if (start > from) {
        const { counters } = this.#context;
        counters.skippedByRetention.value += start - from;
        counters.skippedBySession(this.text).value += start - from;
      }
      this.lagging!.delete(feed);
      if (start >= feed.fanned) continue;
      this.lagging!.set(feed, start);
      return await this.#readSome(feed, start);
    }
    this.lagging = null;
    return false;
  }

  async #readSome(feed: Feed, start: number): Promise<boolean> {
    let full = false;
    try {
      const next = await readRecords(feed.partition, start, feed.fanned, MQTT_CATCH_UP_READ_BYTES, (offset, record) => {
        const message = messageOf(record, feed.partition.topic.name, this.#context.routes);
        if (message !== null && matches(this.levels, message.topic.split('/'))) {
          const member = this.#next(message);
          full = member === null;
          if (full) return false;
          this.lagging?.set(feed, offset + 1);
          member!.delivery.deliverBehind(member!.match, message, feed, offset);
        } else this.lagging?.set(feed, offset + 1);
        return true;
      });
      if (!full) this.lagging?.set(feed, Math.max(next, this.lagging.get(feed) ?? 0));
    } catch (error) {
      if (!(error instanceof HeadwaterError)) throw error;
      if (isPassing(error)) {
        this.#context.clock.after(READ_RETRY_MS, () => this.pump());
        return false;
      }
      if ((this.lagging?.get(feed) ?? 0) >= feed.partition.logStartOffset) {
        this.#context.counters.unreadable.value++;
        this.lagging?.delete(feed);
      }
    }
    return !full;
  }
}
