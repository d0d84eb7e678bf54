/** Subscribing and unsubscribing: the session's list, the index of connected sessions, the shared groups. */
import { decode, encode } from 'cbor-x';
import { MQTT_SUBSCRIPTIONS_MAX, MQTT_SUBSCRIPTIONS_PER_SESSION_MAX } from '../limits.ts';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';
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
    this.#meta.write([{ key: metaKey('session', 'group', group.text), value: null }]).catch(() => undefined);
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

  /** Positions of the groups that must outlive a restart. */
  saveGroups(persistentMember: (clientId: string) => boolean, members: Iterable<Session>): MetaOperation[] {
    const kept = new Map<string, string[]>();
    for (const group of this.#groups.values()) if (group.sleepers.size > 0) kept.set(group.text, [...group.sleepers]);
    for (const session of members) {
      if (!persistentMember(session.clientId)) continue;
      for (const text of session.subscriptions.keys()) {
        if (text.startsWith('$share/')) kept.set(text, [...(kept.get(text) ?? []), session.clientId]);
      }
    }
    return [...kept].map(([text, clientIds]) => this.#stored(text, clientIds));
  }

  /** The groups that a persistent session is a member of, connected or not. */
  saveGroupsOf(session: Session): MetaOperation[] {
    const operations: MetaOperation[] = [];
    for (const text of session.subscriptions.keys()) {
      const group = this.#groups.get(text);
      if (group === undefined) continue;
      operations.push(this.#stored(text, [...new Set([...group.sleepers, session.clientId])]));
    }
    return operations;
  }

  #stored(text: string, clientIds: readonly string[]): MetaOperation {
    const group = this.#groups.get(text);
    const positions = new Map<Feed, number>();
    for (const feed of group === undefined ? [] : this.#fanOut.feedsFor(group.levels)) positions.set(feed, feed.fanned);
    for (const [feed, offset] of group?.backlog.places ?? []) positions.set(feed, offset);
    const c = [...positions].map(([feed, offset]): [string, number, number] => [
      feed.partition.topic.id,
      feed.partition.index,
      offset,
    ]);
    const stored: StoredGroup = { v: 1, c, m: clientIds };
    return { key: metaKey('session', 'group', text), value: encode(stored) };
  }
}
