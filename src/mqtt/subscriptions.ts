/** Subscribing and unsubscribing: the session's list, the index of connected sessions, the shared groups. */
import { createHash } from 'node:crypto';
import { decode, encode } from 'cbor-x';
import { MQTT_SUBSCRIPTIONS_MAX, MQTT_SUBSCRIPTIONS_PER_SESSION_MAX } from '../limits.ts';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';
import { MqttError, REASON } from '../wire/mqtt/reason.ts';
import type { DeliveryContext } from './delivery.ts';
import type { FanOut } from './fan-out.ts';
import type { Feed } from './feed.ts';
import type { Session } from './session.ts';
import { ShareGroup } from './share-group.ts';
import type { Subscription, SubscriptionIndex } from './subscription-index.ts';

type StoredGroup = {
  readonly v: number;
  readonly c: readonly [string, number, number][];
  readonly m: readonly string[];
};

function digestOf(value: Uint8Array | null): string {
  return value === null ? '' : createHash('sha256').update(value).digest('base64');
}

export class Subscriptions {
  readonly #index: SubscriptionIndex;
  readonly #context: DeliveryContext;
  readonly #fanOut: FanOut;
  readonly #meta: MetaStore;
  readonly #groups = new Map<string, ShareGroup>();

  constructor(index: SubscriptionIndex, context: DeliveryContext, fanOut: FanOut, meta: MetaStore) {
    this.#index = index;
    this.#context = context;
    this.#fanOut = fanOut;
    this.#meta = meta;
  }

  get size(): number {
    return this.#index.size;
  }

  /** Groups of sleeping sessions, with their positions. */
  async load(parse: (text: string) => readonly string[]): Promise<void> {
    for await (const { key, value } of this.#meta.entries(metaRange('session', 'group'))) {
      const text = String(parseMetaKey(key)[1]);
      const stored = decode(value) as StoredGroup;
      const group = new ShareGroup(text, parse(text), this.#context);
      group.stored = digestOf(value);
      for (const clientId of stored.m) group.sleepers.add(clientId);
      for (const [topicId, partition, offset] of stored.c) {
        const feed = this.#fanOut.feedAt(topicId, partition);
        if (feed !== null && offset < feed.fanned) group.fallBehind(feed, offset);
      }
      this.#groups.set(text, group);
      this.#index.add(group, group.subscription);
    }
  }

  /** True when the session did not have it. Throws QUOTA_EXCEEDED. */
  subscribe(session: Session, subscription: Subscription): boolean {
    const old = session.subscriptions.get(subscription.text);
    if (old === undefined) {
      if (session.subscriptions.size >= MQTT_SUBSCRIPTIONS_PER_SESSION_MAX || this.size >= MQTT_SUBSCRIPTIONS_MAX) {
        throw new MqttError(REASON.QUOTA_EXCEEDED, 'too many subscriptions');
      }
    } else session.delivery.starts.forget(old);
    session.subscriptions.set(subscription.text, subscription);
    this.connect(session, subscription);
    if (old === undefined) session.delivery.startNow(subscription);
    return old === undefined;
  }

  /** Makes a subscription of a connected session count. */
  connect(session: Session, subscription: Subscription): void {
    if (!subscription.text.startsWith('$share/')) {
      this.#index.add(session.delivery, subscription);
      return;
    }
    let group = this.#groups.get(subscription.text);
    if (group === undefined) {
      group = new ShareGroup(subscription.text, subscription.levels, this.#context);
      this.#groups.set(subscription.text, group);
      this.#index.add(group, group.subscription);
    }
    group.sleepers.delete(session.clientId);
    group.join(session.delivery, subscription);
  }

  unsubscribe(session: Session, text: string): boolean {
    const subscription = session.subscriptions.get(text);
    if (subscription === undefined) return false;
    session.subscriptions.delete(text);
    session.delivery.starts.forget(subscription);
    this.#disconnect(session, subscription, false);
    return true;
  }

  #disconnect(session: Session, subscription: Subscription, sleeps: boolean): void {
    if (!subscription.text.startsWith('$share/')) {
      this.#index.remove(session.delivery, subscription);
      return;
    }
    const group = this.#groups.get(subscription.text);
    if (group === undefined) return;
    group.leave(session.delivery);
    if (sleeps) group.sleepers.add(session.clientId);
    else group.sleepers.delete(session.clientId);
    this.#dropIfEmpty(group);
  }

  #dropIfEmpty(group: ShareGroup): void {
    if (!group.isEmpty || group.sleepers.size > 0) return;
    this.#groups.delete(group.text);
    this.#index.remove(group, group.subscription);
    if (group.stored !== '') this.#write([[group, null]]).catch(() => undefined);
  }

  /** The connection of a session ended. `sleeps`: the session goes on without one. */
  disconnectAll(session: Session, sleeps: boolean): void {
    for (const subscription of session.subscriptions.values()) this.#disconnect(session, subscription, sleeps);
  }

  /** A sleeping session ended. */
  forgetSleeper(clientId: string): void {
    for (const group of this.#groups.values()) {
      if (group.sleepers.delete(clientId)) this.#dropIfEmpty(group);
    }
  }

  /** Stores the groups that must outlive a restart, those that changed since: an idle broker must not wear the card. */
  async saveGroups(sessions: Iterable<Session>): Promise<void> {
    const kept = new Map<ShareGroup, Set<string>>();
    for (const group of this.#groups.values()) if (group.sleepers.size > 0) kept.set(group, new Set(group.sleepers));
    for (const session of sessions) {
      if (!session.persistent) continue;
      for (const text of session.subscriptions.keys()) {
        const group = this.#groups.get(text);
        if (group !== undefined) kept.set(group, (kept.get(group) ?? new Set()).add(session.clientId));
      }
    }
    const changed: [ShareGroup, Uint8Array | null][] = [];
    for (const group of this.#groups.values()) {
      const clientIds = kept.get(group);
      const value = clientIds === undefined ? null : this.#valueOf(group, clientIds);
      if (group.stored !== digestOf(value)) changed.push([group, value]);
    }
    await this.#write(changed);
  }

  /** The groups that a persistent session is a member of, connected or not: durable when it returns. */
  async saveGroupsOf(session: Session): Promise<void> {
    const all: [ShareGroup, Uint8Array | null][] = [];
    for (const text of session.subscriptions.keys()) {
      const group = this.#groups.get(text);
      if (group === undefined) continue;
      all.push([group, this.#valueOf(group, new Set([...group.sleepers, session.clientId]))]);
    }
    await this.#write(all);
  }

  /** After a write that failed it is not known what the disk has: the next one writes again, whatever it would be. */
  async #write(values: readonly [ShareGroup, Uint8Array | null][]): Promise<void> {
    if (values.length === 0) return;
    const operations = values.map(([{ text }, value]) => ({ key: metaKey('session', 'group', text), value }));
    // Before it is written: the next tick may come first.
    for (const [group, value] of values) group.stored = digestOf(value);
    try {
      await this.#meta.write(operations);
    } catch (error) {
      for (const [group] of values) group.stored = null;
      throw error;
    }
  }

  #valueOf(group: ShareGroup, clientIds: ReadonlySet<string>): Uint8Array {
    const positions = new Map<Feed, number>();
    for (const feed of this.#fanOut.feedsFor(group.levels)) positions.set(feed, feed.fanned);
    for (const [feed, offset] of group.backlog.places ?? []) positions.set(feed, offset);
    const c = [...positions].map(([feed, offset]): [string, number, number] => [
      feed.partition.topic.id,
      feed.partition.index,
      offset,
    ]);
    const stored: StoredGroup = { v: 1, c, m: [...clientIds] };
    return encode(stored);
  }
}
