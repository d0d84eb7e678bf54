/**
 * A shared subscription (4.8.2): its own place in the log, and members that take turns. A message goes to the next member
 * that has room; while none has, the group falls behind as a session would.
 */
import type { LabelQuery } from '../log/types.ts';
import { Backlog, type BacklogOwner } from './backlog.ts';
import type { Delivery, DeliveryContext } from './delivery.ts';
import type { SharedEncodings } from './encodings.ts';
import type { Feed } from './feed.ts';
import { queryOf } from './labels.ts';
import type { Message } from './message.ts';
import { READ_RETRY_MS } from './read-records.ts';
import { type Match, matchOf, type Subscription } from './subscription-index.ts';
import type { CatchingUp, Target } from './target.ts';
import { type Levels, matches } from './topic-filter.ts';

interface Member {
  readonly delivery: Delivery;
  readonly match: Match;
}

export class ShareGroup implements Target, CatchingUp, BacklogOwner {
  /** `$share/{name}/{filter}`. */
  readonly text: string;
  readonly levels: Levels;
  /** What stands in the subscription index for the whole group. */
  readonly subscription: Subscription;
  /** What was not delivered to any member. */
  readonly backlog: Backlog;
  /** Sessions that sleep and will be members again. */
  readonly sleepers = new Set<string>();
  /** Digest of what the store has of the group; empty: it has nothing; null: that is not known. */
  stored: string | null = '';
  readonly #context: DeliveryContext;
  #members: Member[] = [];
  #turn = 0;
  readonly #query: LabelQuery | null;

  constructor(text: string, levels: Levels, context: DeliveryContext) {
    this.text = text;
    this.levels = levels;
    this.#context = context;
    this.backlog = new Backlog(context, this);
    this.#query = queryOf([levels]);
    this.subscription = { text, levels, qos: 2, noLocal: false, retainAsPublished: false, id: 0, positions: false };
  }

  get name(): string {
    return this.text;
  }

  query(): LabelQuery | null {
    return this.#query;
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
    if (this.backlog.places !== null && this.#members.length > 0) this.#context.catchUp.schedule(this);
  }

  offer(_: Match, message: Message, feed: Feed | null, offset: number, encodings: SharedEncodings): void {
    const member = this.backlog.places === null ? this.#next(message) : null;
    if (member !== null) member.delivery.send(member.match, message, feed, offset, encodings);
    else if (feed === null) this.#context.counters.dropped('live_only').value++;
    else this.fallBehind(feed, offset);
  }

  fallBehind(feed: Feed, offset: number): void {
    this.backlog.note(feed, offset);
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
    const progress = await this.backlog.read(() => true);
    if (progress === 'later') this.#context.clock.after(READ_RETRY_MS, () => this.pump());
    return progress === 'more';
  }

  take(message: Message, feed: Feed, offset: number): boolean {
    if (!matches(this.levels, message.topic.split('/'))) return true;
    const member = this.#next(message);
    return member?.delivery.deliverBehind(member.match, message, feed, offset) ?? false;
  }
}
