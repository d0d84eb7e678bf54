/** Retained messages (3.3.1.3): the newest per topic, in memory for SUBSCRIBE and in the metadata store, bounded. */
import { decode, encode } from 'cbor-x';
import { HeadwaterError } from '../errors.ts';
import { MQTT_RETAINED_MAX_BYTES } from '../limits.ts';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';
import type { QoS } from '../wire/mqtt/packets.ts';
import type { Properties } from '../wire/mqtt/properties.ts';
import type { FanOut } from './fan-out.ts';
import type { Feed } from './feed.ts';
import { type AgeOf, countedDown, type Message } from './message.ts';
import { type Levels, matches } from './topic-filter.ts';

export interface Retained {
  readonly message: Message;
  readonly levels: Levels;
  /** Its record in the log, when it has one. */
  readonly feed: Feed | null;
  readonly offset: number;
  /** What it replaced, while its own record waits for a replica. */
  before: Retained | null;
}

/** The one to give to subscribers: what no replica has confirmed yet does not count. */
function visible(retained: Retained | null): Retained | null {
  for (let one = retained; one !== null; one = one.before) {
    if (one.feed !== null && one.offset >= one.feed.partition.lastStableOffset) continue;
    one.before = null;
    return one;
  }
  return null;
}

interface StoredRetained {
  readonly v: number;
  readonly p: Uint8Array;
  readonly q: QoS;
  readonly x: Properties;
  readonly t: number;
  /** Record: [topic id, partition, offset] */
  readonly r: readonly [string, number, number] | null;
}

const OVERHEAD_BYTES = 300;

function sizeOf(message: Message): number {
  return OVERHEAD_BYTES + message.topic.length * 2 + message.payload.length;
}

export class RetainedMessages {
  readonly #meta: MetaStore;
  readonly #fanOut: FanOut;
  readonly #ageOf: AgeOf;
  readonly #maxBytes: number;
  readonly #byTopic = new Map<string, Retained>();
  #bytes = 0;

  constructor(meta: MetaStore, fanOut: FanOut, ageOf: AgeOf, maxBytes = MQTT_RETAINED_MAX_BYTES) {
    this.#meta = meta;
    this.#fanOut = fanOut;
    this.#ageOf = ageOf;
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#byTopic.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  async load(): Promise<void> {
    for await (const { key, value } of this.#meta.entries(metaRange('retained'))) {
      const topic = String(parseMetaKey(key)[0]);
      const stored = decode(value) as StoredRetained;
      const message: Message = {
        topic,
        qos: stored.q,
        retain: true,
        payload: Buffer.from(stored.p),
        properties: stored.x,
        timestamp: stored.t,
        publisher: null,
      };
      const [topicId, partition, offset] = stored.r ?? ['', 0, -1];
      const feed = offset < 0 ? null : this.#fanOut.feedAt(topicId, partition);
      // Its record may not be here (a broker that was promoted before it had it): the message stands by itself then.
      const isHere = feed !== null && offset < feed.partition.logEndOffset;
      this.#put({
        message,
        levels: topic.split('/'),
        feed: isHere ? feed : null,
        offset: isHere ? offset : -1,
        before: null,
      });
    }
  }

  #put(retained: Retained): void {
    const old = this.#byTopic.get(retained.message.topic);
    this.#bytes += sizeOf(retained.message) - (old === undefined ? 0 : sizeOf(old.message));
    this.#byTopic.set(retained.message.topic, retained);
  }

  /** Whether it fits; false: the publish is refused with QUOTA_EXCEEDED before it is stored anywhere. */
  fits(topic: string, payload: Uint8Array): boolean {
    const old = this.#byTopic.get(topic);
    const size = OVERHEAD_BYTES + topic.length * 2 + payload.length;
    return this.#bytes + size - (old === undefined ? 0 : sizeOf(old.message)) <= this.#maxBytes;
  }

  /** Not stored: the values of $SYS. */
  setVolatile(message: Message): void {
    this.#put({ message, levels: message.topic.split('/'), feed: null, offset: -1, before: null });
  }

  /** Sets, or with an empty payload removes [MQTT-3.3.1-6]. `done` when it is durable. */
  set(message: Message, feed: Feed | null, offset: number, done: (error: HeadwaterError | null) => void): void {
    const { topic } = message;
    const key = metaKey('retained', topic);
    let value: Uint8Array | null = null;
    if (message.payload.length === 0) {
      const old = this.#byTopic.get(topic);
      if (old !== undefined) this.#bytes -= sizeOf(old.message);
      if (!this.#byTopic.delete(topic)) {
        done(null);
        return;
      }
    } else {
      const before = visible(this.#byTopic.get(topic) ?? null);
      // A copy: the payload is a view of a socket's chunk.
      const payload = Buffer.from(message.payload);
      const { qos, properties, timestamp } = message;
      const kept: Message = { topic, qos, retain: true, payload, properties, timestamp, publisher: message.publisher };
      this.#put({ message: kept, levels: topic.split('/'), feed, offset, before });
      const stored: StoredRetained = {
        v: 1,
        p: payload,
        q: qos,
        x: properties,
        t: timestamp,
        r: feed === null ? null : [feed.partition.topic.id, feed.partition.index, offset],
      };
      value = encode(stored);
    }
    this.#meta.write([{ key, value }]).then(
      () => done(null),
      (error: unknown) =>
        done(error instanceof HeadwaterError ? error : new HeadwaterError('STORE_FAILED', String(error))),
    );
  }

  /** Those that match; expired ones are forgotten on the way. */
  matching(filter: Levels): Retained[] {
    if (!filter.includes('+') && !filter.includes('#')) {
      const one = visible(this.#byTopic.get(filter.join('/')) ?? null);
      return one === null || this.#expired(one) ? [] : [one];
    }
    const found: Retained[] = [];
    for (const newest of this.#byTopic.values()) {
      if (!matches(filter, newest.levels)) continue;
      const retained = visible(newest);
      if (retained !== null && !this.#expired(retained)) found.push(retained);
    }
    return found;
  }

  #expired(retained: Retained): boolean {
    const { message } = retained;
    if (countedDown(message, this.#ageOf) !== null) return false;
    // One that was replaced, but whose successor does not count yet, is only not given out.
    if (this.#byTopic.get(message.topic) !== retained) return true;
    this.#byTopic.delete(message.topic);
    this.#bytes -= sizeOf(message);
    // Lost with a crash it is only found expired once more.
    this.#meta.write([{ key: metaKey('retained', message.topic), value: null }]).catch(() => undefined);
    return true;
  }
}
