/**
 * Sessions in the metadata store, as two CBOR values: `info` (expiry, subscriptions; written when they change) and
 * `state` (positions in the log, in-flight identifiers; written when exactly-once demands it, when the session goes to
 * sleep, and from time to time). Each state is a consistent snapshot: an older one only means that QoS 1 deliveries which
 * were acknowledged since are repeated.
 */
import { decode, encode } from 'cbor-x';
import type { Clock } from '../env.ts';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';
import type { QoS } from '../wire/mqtt/packets.ts';
import { optionsByte } from '../wire/mqtt/subscribe.ts';
import type { MqttCounters } from './counters.ts';
import type { OutgoingState } from './delivery.ts';
import type { FanOut } from './fan-out.ts';
import type { Feed } from './feed.ts';
import type { AgeOf } from './message.ts';
import { NEVER, type Session, type SessionSaver } from './session.ts';
import type { Subscription } from './subscription-index.ts';
import { parseSubscription } from './topic-filter.ts';

const VERSION = 1;
/** Beside the bits of the subscription options. */
const POSITIONS = 0x80;

interface StoredInfo {
  readonly v: number;
  /** Session Expiry Interval, seconds. */
  readonly e: number;
  /** Wall clock when it was last connected, milliseconds; 0: connected when it was written. */
  readonly d: number;
  /** [text, options, subscription identifier] */
  readonly s: readonly [string, number, number][];
}

type Position = [topicId: string, partition: number, offset: number];

interface StoredState {
  readonly v: number;
  /** Records that retention removed before it read them; absent: 0. */
  readonly k?: number;
  /** Positions: where to read on. */
  readonly c: readonly Position[];
  /** [packet id, qos, state, retain, ...position, MQTT topic of a retained message]; topic id '': not in the log. */
  readonly o: readonly [number, 1 | 2, OutgoingState, boolean, string, number, number, string?][];
  /** [filter, ...position]: from there on the subscription counts, while the session is before that; absent: none. */
  readonly f?: readonly [string, string, number, number][];
  /** [packet id, state, exchange, ...position] */
  readonly i: readonly [number, 'intending' | 'received', Uint8Array | null, string, number, number][];
}

export interface SleepingSession {
  readonly clientId: string;
  readonly expirySeconds: number;
  readonly disconnectedAt: number;
}

interface Saving {
  waiting: ((error: unknown) => void)[];
}

export class SessionStore implements SessionSaver {
  readonly #meta: MetaStore;
  readonly #fanOut: FanOut;
  readonly #clock: Clock;
  readonly #counters: MqttCounters;
  /** Sessions with a write of their state in flight, and who waits for the next one. */
  readonly #saving = new Map<Session, Saving>();

  constructor(meta: MetaStore, fanOut: FanOut, clock: Clock, counters: MqttCounters) {
    this.#meta = meta;
    this.#fanOut = fanOut;
    this.#clock = clock;
    this.#counters = counters;
  }

  async list(): Promise<SleepingSession[]> {
    const found: SleepingSession[] = [];
    for await (const { key, value } of this.#meta.entries(metaRange('session', 'info'))) {
      const info = decode(value) as StoredInfo;
      const disconnectedAt = info.d === 0 ? this.#clock.now() : info.d;
      found.push({ clientId: String(parseMetaKey(key)[1]), expirySeconds: info.e, disconnectedAt });
    }
    return found;
  }

  async saveInfo(session: Session, connected: boolean): Promise<void> {
    const info: StoredInfo = {
      v: VERSION,
      e: session.expirySeconds,
      d: connected ? 0 : this.#clock.now(),
      s: [...session.subscriptions.values()].map((one) => [
        one.text,
        optionsByte({ ...one, retainHandling: 0 }) | (one.positions ? POSITIONS : 0),
        one.id,
      ]),
    };
    session.stored = true;
    await this.#meta.write([{ key: metaKey('session', 'info', session.clientId), value: encode(info) }]);
  }

  /** At most one write of a session is in flight; those who ask meanwhile share the next. */
  saveState(session: Session, done: (error: unknown) => void): void {
    const saving = this.#saving.get(session);
    if (saving !== undefined) {
      saving.waiting.push(done);
      return;
    }
    this.#saving.set(session, { waiting: [] });
    this.#write(session, [done]);
  }

  #write(session: Session, dones: readonly ((error: unknown) => void)[]): void {
    const finish = (error: unknown) => {
      const waiting = this.#saving.get(session)?.waiting ?? [];
      if (waiting.length === 0) this.#saving.delete(session);
      else {
        this.#saving.set(session, { waiting: [] });
        this.#write(session, waiting);
      }
      for (const done of dones) done(error);
    };
    session.delivery.dirty = false;
    session.stored = true;
    this.#counters.sessionWrites.value++;
    const value = session.ended ? null : encode(this.#stateOf(session));
    this.#meta.write([{ key: metaKey('session', 'state', session.clientId), value }]).then(
      () => finish(null),
      (error: unknown) => {
        session.delivery.dirty = true;
        finish(error ?? new Error('the session state could not be written'));
      },
    );
  }

  /** Where the session is in each partition that concerns it. */
  #positionsOf(session: Session): Map<Feed, number> {
    const positions = new Map<Feed, number>();
    for (const feed of this.#feedsOf(session)) positions.set(feed, feed.fanned);
    for (const [feed, offset] of session.delivery.backlog.places ?? []) positions.set(feed, offset);
    return positions;
  }

  #feedsOf(session: Session): Set<Feed> {
    const feeds = new Set<Feed>();
    for (const subscription of session.subscriptions.values()) {
      if (subscription.qos === 0 || subscription.text.startsWith('$share/')) continue;
      for (const feed of this.#fanOut.feedsFor(subscription.levels)) feeds.add(feed);
    }
    return feeds;
  }

  /** Notes where a session that leaves the end of the log is. */
  pin(session: Session): void {
    const positions = this.#positionsOf(session);
    if (positions.size > 0) session.delivery.backlog.places = positions;
  }

  #stateOf(session: Session): StoredState {
    const { delivery } = session;
    const positions = this.#positionsOf(session);
    const at = (feed: Feed, offset: number): Position => [feed.partition.topic.id, feed.partition.index, offset];
    const outgoing: StoredState['o'][number][] = [];
    for (const one of delivery.outgoing.values()) {
      const { packetId, qos, state, retain, feed, offset, retainedTopic } = one;
      if (feed === null && retainedTopic === null) continue;
      const position: Position = feed === null ? ['', 0, -1] : at(feed, offset);
      if (retainedTopic === null) outgoing.push([packetId, qos, state, retain, ...position]);
      else outgoing.push([packetId, qos, state, retain, ...position, retainedTopic]);
    }
    const inbound: StoredState['i'][number][] = [];
    for (const [packetId, one] of session.inbound) {
      if (one.feed !== null) inbound.push([packetId, one.state, one.exchange, ...at(one.feed, one.from)]);
    }
    const starts: [string, ...Position][] = [];
    for (const [subscription, feed, offset] of delivery.starts.ahead(delivery.backlog.places ?? new Map())) {
      starts.push([subscription.text, ...at(feed, offset)]);
    }
    const skipped = delivery.backlog.skipped === 0 ? {} : { k: delivery.backlog.skipped };
    return {
      v: VERSION,
      ...skipped,
      c: [...positions].map(([feed, offset]) => at(feed, offset)),
      o: outgoing,
      i: inbound,
      ...(starts.length === 0 ? {} : { f: starts }),
    };
  }

  /** Fills a new session object with what is stored; false: there is nothing. */
  async load(session: Session): Promise<boolean> {
    const infoBytes = await this.#meta.get(metaKey('session', 'info', session.clientId));
    if (infoBytes === undefined) return false;
    const info = decode(infoBytes) as StoredInfo;
    session.stored = true;
    session.expirySeconds = info.e;
    for (const [text, options, id] of info.s) {
      const { levels } = parseSubscription(text);
      const subscription: Subscription = {
        text,
        levels,
        qos: (options & 3) as QoS,
        noLocal: (options & 4) !== 0,
        retainAsPublished: (options & 8) !== 0,
        id,
        positions: (options & POSITIONS) !== 0,
      };
      session.subscriptions.set(text, subscription);
    }
    const stateBytes = await this.#meta.get(metaKey('session', 'state', session.clientId));
    if (stateBytes !== undefined) this.#restore(session, decode(stateBytes) as StoredState);
    return true;
  }

  #restore(session: Session, state: StoredState): void {
    const { delivery } = session;
    delivery.backlog.skipped = state.k ?? 0;
    const lagging = new Map<Feed, number>();
    for (const [topicId, partition, offset] of state.c) {
      const feed = this.#fanOut.feedAt(topicId, partition);
      // At the end too: a commit may come before the subscriptions count again.
      if (feed !== null) lagging.set(feed, Math.min(offset, feed.fanned));
    }
    // A partition made while the session slept: all of it is news.
    for (const feed of this.#feedsOf(session)) if (!lagging.has(feed)) lagging.set(feed, feed.partition.logStartOffset);
    if (lagging.size > 0) delivery.backlog.places = lagging;
    for (const [packetId, qos, outgoingState, retain, topicId, partition, offset, topic] of state.o) {
      const feed = topicId === '' ? null : this.#fanOut.feedAt(topicId, partition);
      const retainedTopic = topic ?? null;
      delivery.outgoing.set(packetId, {
        packetId,
        qos,
        retain,
        feed,
        offset,
        retainedTopic,
        state: outgoingState,
        bytes: 0,
      });
    }
    for (const [packetId, inboundState, exchange, topicId, partition, from] of state.i) {
      const feed = this.#fanOut.feedAt(topicId, partition);
      session.inbound.set(packetId, { state: inboundState, feed, from, exchange, pending: false, onReceived: null });
    }
    for (const [text, topicId, partition, offset] of state.f ?? []) {
      const subscription = session.subscriptions.get(text);
      const feed = this.#fanOut.feedAt(topicId, partition);
      if (subscription !== undefined && feed !== null) delivery.starts.set(subscription, feed, offset);
    }
    // What was published at any QoS while a QoS 0 subscription slept is not kept for it, as users of MQTT expect.
    for (const subscription of session.subscriptions.values()) {
      if (subscription.qos === 0) delivery.startNow(subscription);
    }
  }

  async remove(clientId: string): Promise<void> {
    await this.#meta.write([
      { key: metaKey('session', 'info', clientId), value: null },
      { key: metaKey('session', 'state', clientId), value: null },
    ]);
  }
}

/** Milliseconds left of a session that sleeps since `disconnectedAt`; Infinity: it does not expire. */
export function sleepLeft(session: SleepingSession, ageOf: AgeOf): number {
  if (session.expirySeconds === NEVER) return Number.POSITIVE_INFINITY;
  return session.expirySeconds * 1000 - ageOf(session.disconnectedAt);
}
