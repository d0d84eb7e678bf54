/**
 * Deliveries to one session: what is in flight, and how far it is behind. There is no queue of messages: a session that
 * cannot take a message now remembers, per partition, the first offset it missed and reads the log from there when there
 * is room again; everything it is offered meanwhile stays in the log.
 */
import type { Clock } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { MQTT_INFLIGHT_MAX, MQTT_OUTPUT_HIGH_WATER_BYTES } from '../limits.ts';
import type { LabelQuery } from '../log/types.ts';
import type { QoS, Version } from '../wire/mqtt/packets.ts';
import { type EncodedPublish, encodePublish } from '../wire/mqtt/publish.ts';
import { Backlog, type BacklogOwner } from './backlog.ts';
import type { CatchUp } from './catch-up.ts';
import type { MqttCounters } from './counters.ts';
import type { SharedEncodings } from './encodings.ts';
import type { Feed } from './feed.ts';
import { queryOf } from './labels.ts';
import { type AgeOf, countedDown, type Message, messageOf } from './message.ts';
import type { Output } from './output.ts';
import { isPassing, READ_RETRY_MS, readRecords } from './read-records.ts';
import type { RouteTable } from './routes.ts';
import { withPosition } from './start-position.ts';
import { type Match, matchOf, type Subscription } from './subscription-index.ts';
import { SubscriptionStarts } from './subscription-starts.ts';
import type { CatchingUp, Target } from './target.ts';
import { matches } from './topic-filter.ts';

/** The connection as deliveries see it. */
export interface Link {
  readonly version: Version;
  readonly output: Output;
  /** Receive Maximum of the client. */
  readonly receiveMaximum: number;
  /** Maximum Packet Size of the client, bytes. */
  readonly maxPacketBytes: number;
  /** Topic Alias Maximum of the client, already bounded by ours. */
  readonly aliasMaximum: number;
  readonly aliases: Map<string, number>;
}

/**
 * `storing`: a QoS 2 message whose identifier is being stored before it is sent; `sent`: PUBACK or PUBREC is due;
 * `releasing`: PUBREC came and is being stored; `released`: PUBREL was sent, PUBCOMP is due.
 */
export type OutgoingState = 'storing' | 'sent' | 'releasing' | 'released';

export interface Outgoing {
  readonly packetId: number;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  /** Where the record is; null for a message that is not in the log. */
  readonly feed: Feed | null;
  readonly offset: number;
  /** Of a retained message: finds it again when its record is gone, or was never there. */
  readonly retainedTopic: string | null;
  state: OutgoingState;
  /** Of its packet; 0: it was not sent on this connection yet. */
  bytes: number;
}

export interface DeliveryContext {
  readonly clock: Clock;
  readonly ageOf: AgeOf;
  readonly catchUp: CatchUp;
  readonly counters: MqttCounters;
  readonly routes: RouteTable;
  readonly retainedAt: (topic: string) => Message | null;
  /** Deliveries at QoS 1 and 2 on the way to one client, bytes; one more than that may be. */
  readonly inflightMaxBytes: number;
  /** Scratch for one message at a time. */
  readonly encodings: SharedEncodings;
}

/** A retained message due to one subscription. */
export interface RetainedDue {
  readonly match: Match;
  readonly message: Message;
  readonly feed: Feed | null;
  readonly offset: number;
}

export interface DeliveryOwner {
  readonly clientId: string;
  readonly subscriptions: ReadonlyMap<string, Subscription>;
  /** True when deliveries must survive a restart. */
  readonly persistent: boolean;
  /** Stores the delivery state; calls back when it is durable, or with the error. */
  store(done: (error: unknown) => void): void;
}

export class Delivery implements Target, CatchingUp, BacklogOwner {
  readonly #context: DeliveryContext;
  readonly #owner: DeliveryOwner;
  link: Link | null = null;
  /** By packet identifier, in the order sent. */
  readonly outgoing = new Map<number, Outgoing>();
  readonly backlog: Backlog;
  readonly starts = new SubscriptionStarts();
  #retained: RetainedDue[] = [];
  #retainedAt = 0;
  /** In flight from an earlier connection and not sent again yet. */
  #resend: Outgoing[] = [];
  #lastId = 0;
  #inflightBytes = 0;
  /** Shared subscriptions this session is a member of. */
  readonly groups = new Set<{ pump(): void }>();
  /** Something changed that a stored state does not show. */
  dirty = false;

  constructor(context: DeliveryContext, owner: DeliveryOwner) {
    this.#context = context;
    this.#owner = owner;
    this.backlog = new Backlog(context, this);
  }

  get name(): string {
    return this.#owner.clientId;
  }

  get #window(): number {
    return Math.min(this.link?.receiveMaximum ?? 0, MQTT_INFLIGHT_MAX);
  }

  get isBehind(): boolean {
    return this.backlog.places !== null || this.#retainedAt < this.#retained.length || this.#resend.length > 0;
  }

  #hasRoom(qos: number): boolean {
    const { link } = this;
    if (link === null || link.output.queuedBytes >= MQTT_OUTPUT_HIGH_WATER_BYTES) return false;
    if (qos === 0) return true;
    if (this.#inflightBytes >= this.#context.inflightMaxBytes) {
      this.#context.counters.throttled('inflight_bytes').value++;
      return false;
    }
    return this.outgoing.size - this.#resend.length < this.#window;
  }

  offer(match: Match, message: Message, feed: Feed | null, offset: number, encodings: SharedEncodings): void {
    const mine = this.withoutOwn(match, message);
    if (mine === null) return;
    const qos = Math.min(mine.qos, message.qos);
    if (this.isBehind || !this.#hasRoom(qos)) this.fallBehind(feed, offset);
    else this.send(mine, message, feed, offset, encodings);
  }

  /** [MQTT-3.8.3-3] Leaves out No Local subscriptions for a session's own messages; null: nothing is left. */
  withoutOwn(match: Match, message: Message): Match | null {
    if (!match.anyNoLocal || message.publisher !== this.#owner.clientId) return match;
    const others = match.subscriptions.filter((subscription) => !subscription.noLocal);
    return others.length === 0 ? null : matchOf(this, others);
  }

  fallBehind(feed: Feed | null, offset: number): void {
    if (feed === null) {
      this.#context.counters.dropped('live_only').value++;
      return;
    }
    if (this.backlog.places === null) this.#context.counters.fellBehind.value++;
    if (this.backlog.note(feed, offset)) this.pump();
  }

  /** True when a message of this QoS can be sent at once, in order. */
  isReady(qos: number): boolean {
    return !this.isBehind && this.#hasRoom(qos);
  }

  /** Sends one message to the client. There must be room. `retained`: as a retained message (RETAIN stays set). */
  send(
    match: Match,
    message: Message,
    feed: Feed | null,
    offset: number,
    encodings: SharedEncodings,
    retained = false,
  ): void {
    const link = this.link!;
    const qos = Math.min(match.qos, message.qos) as QoS;
    const retain = retained || (message.retain && match.retainAsPublished && link.version === 5);
    const encoded = this.#encode(link, match, message, qos, retain, encodings, feed, offset);
    if (encoded.byteLength > link.maxPacketBytes) {
      this.#context.counters.dropped('client_maximum_packet_size').value++; // [MQTT-3.1.2-25]
      return;
    }
    this.#context.counters.deliveries.value++;
    this.#context.counters.packetsOut.value++;
    // A stored state has positions for subscriptions above QoS 0, and what is in flight and can be found again.
    if (feed !== null ? match.qos > 0 : retained && qos > 0) this.dirty = true;
    if (qos === 0) {
      link.output.writePublish(encoded, 0, false);
      return;
    }
    const packetId = this.#freeId();
    const retainedTopic = retained ? message.topic : null;
    const outgoing: Outgoing = { packetId, qos, retain, feed, offset, retainedTopic, state: 'sent', bytes: 0 };
    this.outgoing.set(packetId, outgoing);
    this.#inFlight(outgoing, encoded.byteLength);
    if (qos === 1 || !this.#owner.persistent) {
      link.output.writePublish(encoded, packetId, false);
      return;
    }
    // Exactly once across a crash: the client must meet this record under this identifier again, and no other.
    outgoing.state = 'storing';
    this.#owner.store((error) => {
      if (outgoing.state !== 'storing' || error != null) return;
      outgoing.state = 'sent';
      if (this.link === link) link.output.writePublish(encoded, packetId, false);
    });
  }

  #inFlight(outgoing: Outgoing, bytes: number): void {
    this.#inflightBytes += bytes - outgoing.bytes;
    outgoing.bytes = bytes;
  }

  #encode(
    link: Link,
    match: Match,
    message: Message,
    qos: QoS,
    retain: boolean,
    encodings: SharedEncodings,
    feed: Feed | null,
    offset: number,
  ): EncodedPublish {
    const own = link.version === 5 && (match.ids !== null || match.positions || link.aliasMaximum > 0);
    if (!own) return encodings.get(link.version, qos, retain);
    let { topic } = message;
    let properties = encodings.properties;
    if (match.ids !== null) properties = { ...properties, subscriptionIdentifier: [...match.ids] };
    if (match.positions && feed !== null) properties = withPosition(properties, feed, offset);
    if (link.aliasMaximum > 0) {
      const known = link.aliases.get(topic);
      if (known !== undefined) {
        properties = { ...properties, topicAlias: known };
        topic = '';
      } else if (
        // Not in a packet that is sent only when its state is stored: one that comes after it may go first.
        (qos < 2 || !this.#owner.persistent) &&
        link.aliases.size < link.aliasMaximum &&
        message.payload.length + topic.length + 1024 < link.maxPacketBytes
      ) {
        const alias = link.aliases.size + 1;
        link.aliases.set(topic, alias);
        properties = { ...properties, topicAlias: alias };
      }
    }
    return encodePublish(topic, qos, retain, properties, message.payload, 5);
  }

  #freeId(): number {
    do {
      this.#lastId = this.#lastId === 0xffff ? 1 : this.#lastId + 1;
    } while (this.outgoing.has(this.#lastId));
    return this.#lastId;
  }

  /** A delivery is over (PUBACK, PUBCOMP, or a PUBREC that refuses): room for the next. */
  finish(packetId: number): void {
    const outgoing = this.outgoing.get(packetId);
    if (outgoing === undefined) return;
    this.outgoing.delete(packetId);
    this.#inFlight(outgoing, 0);
    if (outgoing.feed !== null || outgoing.retainedTopic !== null) this.dirty = true;
    this.hasRoomAgain();
  }

  /** An acknowledgement came, or the socket has drained. */
  hasRoomAgain(): void {
    if (this.isBehind) this.pump();
    else for (const group of this.groups) group.pump();
  }

  /** Reads on when there is something to read and room for it. */
  pump(): void {
    if (this.link !== null && this.isBehind && this.#hasRoom(0)) this.#context.catchUp.schedule(this);
  }

  addRetained(due: readonly RetainedDue[]): void {
    if (due.length === 0) return;
    this.#retained = [...this.#retained.slice(this.#retainedAt), ...due];
    this.#retainedAt = 0;
    this.#sendRetained();
    this.pump();
  }

  #sendRetained(): void {
    while (this.#retainedAt < this.#retained.length) {
      const { match, message, feed, offset } = this.#retained[this.#retainedAt]!;
      if (this.#resend.length > 0 || !this.#hasRoom(Math.min(match.qos, message.qos))) return;
      this.#retainedAt++;
      const properties = countedDown(message, this.#context.ageOf);
      if (properties === null) continue;
      this.#context.encodings.begin(message, properties);
      this.send(match, message, feed, offset, this.#context.encodings, true);
    }
    this.#retained = [];
    this.#retainedAt = 0;
  }

  /** A subscription made now: what is read as backlog and older than this does not count for it. */
  startNow(subscription: Subscription): void {
    for (const feed of this.backlog.places?.keys() ?? []) this.starts.set(subscription, feed, feed.fanned);
  }

  /** A subscription that begins earlier than now: the session reads these partitions again (`pump`), for it alone. */
  rewind(subscription: Subscription, offsets: ReadonlyMap<Feed, number>): void {
    for (const [feed, offset] of offsets) {
      const now = this.backlog.places?.get(feed) ?? feed.fanned;
      this.starts.set(subscription, feed, offset);
      if (offset >= now) continue;
      for (const other of this.#owner.subscriptions.values()) {
        if (other !== subscription) this.starts.set(other, feed, Math.max(now, this.starts.get(other, feed)));
      }
      this.backlog.places ??= new Map();
      this.backlog.places.set(feed, offset);
    }
  }

  attach(link: Link): void {
    this.link = link;
    this.#resend = [...this.outgoing.values()];
    for (const outgoing of this.#resend) {
      // What was being stored is stored by now, or is stored again with the next change.
      if (outgoing.state === 'storing') outgoing.state = 'sent';
      if (outgoing.state === 'releasing') outgoing.state = 'released';
      this.#inFlight(outgoing, 0);
    }
    this.pump();
    for (const group of this.groups) group.pump();
  }

  detach(): void {
    this.link = null;
    this.#retained = [];
    this.#retainedAt = 0;
    this.#resend = [];
  }

  async step(): Promise<boolean> {
    const more = await this.#readOn();
    // Groups pass over a member that is behind: now it has room for what waits in them.
    if (!this.isBehind) for (const group of this.groups) group.pump();
    return more;
  }

  async #readOn(): Promise<boolean> {
    const { link } = this;
    if (link === null) return false;
    if (this.#resend.length > 0) return await this.#sendAgain(link);
    this.#sendRetained();
    if (this.#retainedAt < this.#retained.length) return false;
    if (this.backlog.places === null || !this.#hasRoom(0)) return false;
    const { skipped } = this.backlog;
    const progress = await this.backlog.read(() => this.link === link);
    if (this.backlog.skipped !== skipped) this.dirty = true;
    if (progress === 'end') this.starts.clear();
    if (progress === 'later') this.#context.clock.after(READ_RETRY_MS, () => this.pump());
    return progress === 'more';
  }

  query(): LabelQuery | null {
    const filters: Subscription['levels'][] = [];
    for (const { text, levels } of this.#owner.subscriptions.values()) {
      if (!text.startsWith('$share/')) filters.push(levels);
    }
    return queryOf(filters);
  }

  /** A message of the backlog. */
  take(message: Message, feed: Feed, offset: number): boolean {
    const levels = message.topic.split('/');
    const found: Subscription[] = [];
    for (const subscription of this.#owner.subscriptions.values()) {
      if (subscription.text.startsWith('$share/') || !matches(subscription.levels, levels)) continue;
      if (offset >= this.starts.get(subscription, feed)) found.push(subscription);
    }
    if (found.length === 0) return true;
    const match = this.withoutOwn(matchOf(this, found), message);
    return match === null || this.deliverBehind(match, message, feed, offset);
  }

  /** Sends a message read from the log; false: there is no room. */
  deliverBehind(match: Match, message: Message, feed: Feed, offset: number): boolean {
    if (!this.#hasRoom(Math.min(match.qos, message.qos))) return false;
    const properties = countedDown(message, this.#context.ageOf);
    if (properties === null) {
      this.#context.counters.expired.value++;
      return true;
    }
    this.#context.encodings.begin(message, properties);
    this.send(match, message, feed, offset, this.#context.encodings);
    return true;
  }

  /** [MQTT-4.4.0-1] After a reconnect: what is in flight goes out again, in the original order, under its identifier. */
  async #sendAgain(link: Link): Promise<boolean> {
    while (this.#resend.length > 0) {
      if (this.link !== link || !this.#hasRoom(1)) return false;
      const outgoing = this.#resend[0]!;
      if (!this.outgoing.has(outgoing.packetId)) {
        this.#resend.shift();
        continue;
      }
      if (outgoing.state === 'released') {
        this.#resend.shift();
        link.output.writeAck(0x62, outgoing.packetId);
        continue;
      }
      const message = await this.#readOne(outgoing);
      if (this.link !== link) return false;
      this.#resend.shift();
      if (message === null) {
        this.backlog.countSkipped(1);
        this.dirty = true;
        this.outgoing.delete(outgoing.packetId);
        continue;
      }
      const properties = countedDown(message, this.#context.ageOf);
      const encoded = encodePublish(
        message.topic,
        outgoing.qos,
        outgoing.retain,
        properties ?? message.properties,
        message.payload,
        link.version,
      );
      this.#context.counters.deliveries.value++;
      this.#inFlight(outgoing, encoded.byteLength);
      link.output.writePublish(encoded, outgoing.packetId, true);
    }
    return this.isBehind;
  }

  async #readOne(outgoing: Outgoing): Promise<Message | null> {
    const { feed, offset, retainedTopic } = outgoing;
    let message: Message | null = retainedTopic === null ? null : this.#context.retainedAt(retainedTopic);
    if (feed === null || offset < feed.partition.logStartOffset) return message;
    try {
      await readRecords(feed.partition, offset, offset + 1, 1, (at, record) => {
        if (at === offset) message = messageOf(record, feed.partition.topic.name, this.#context.routes);
        return false;
      });
    } catch (error) {
      if (!(error instanceof HeadwaterError) || isPassing(error)) throw error;
    }
    return message;
  }
}
