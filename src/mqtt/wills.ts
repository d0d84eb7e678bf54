/**
 * Wills (3.1.2.5): kept in the store from CONNECT until they are published or discarded, so that those of connections
 * which the broker's own crash ended are published at its next start [MQTT-3.1.2-8]. A will is removed after its message
 * is stored: a crash between the two publishes it once more. Bounded in bytes, by refusing the newest.
 */
import { decode, encode } from 'cbor-x';
import type { Clock } from '../env.ts';
import { MQTT_WILLS_MAX_BYTES } from '../limits.ts';
import type { Logger } from '../logger.ts';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';
import type { QoS } from '../wire/mqtt/packets.ts';
import type { Properties } from '../wire/mqtt/properties.ts';
import type { Message } from './message.ts';

export interface PendingWill {
  readonly message: Message;
  /** Will Delay Interval, seconds; not more than the Session Expiry Interval. */
  readonly delay: number;
}

interface StoredWill {
  readonly v: number;
  readonly t: string;
  readonly p: Uint8Array;
  readonly q: QoS;
  readonly r: boolean;
  readonly x: Properties;
  /** Will Delay Interval, seconds. */
  readonly d: number;
}

export interface WillsDependencies {
  readonly clock: Clock;
  readonly meta: MetaStore;
  readonly logger: Logger;
  /** Calls back with null when the message is stored. */
  readonly publish: (clientId: string, message: Message, done: (error: Error | null) => void) => void;
}

const OVERHEAD_BYTES = 300;

function sizeOf({ message }: PendingWill): number {
  return OVERHEAD_BYTES + message.topic.length * 2 + message.payload.length;
}

export class Wills {
  readonly #deps: WillsDependencies;
  readonly #maxBytes: number;
  /** Not published and not discarded yet, by client identifier. */
  readonly #kept = new Map<string, PendingWill>();
  #bytes = 0;
  /** Those whose connection ended, with the monotonic time at which they are due. */
  readonly #delayed = new Map<string, { will: PendingWill; dueAt: number }>();
  readonly #running = new Set<Promise<void>>();

  constructor(deps: WillsDependencies, maxBytes = MQTT_WILLS_MAX_BYTES) {
    this.#deps = deps;
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#kept.size;
  }

  fits(clientId: string, will: PendingWill): boolean {
    const old = this.#kept.get(clientId);
    return this.#bytes + sizeOf(will) - (old === undefined ? 0 : sizeOf(old)) <= this.#maxBytes;
  }

  /** At the start: what is stored belongs to connections that are gone now, and delays begin now. */
  async load(): Promise<void> {
    for await (const { key, value } of this.#deps.meta.entries(metaRange('session', 'will'))) {
      const clientId = String(parseMetaKey(key)[1]);
      const { t: topic, p, q: qos, r: retain, x: properties, d: delay } = decode(value) as StoredWill;
      const payload = Buffer.from(p);
      const message = { topic, qos, retain, payload, properties, timestamp: 0, publisher: clientId };
      this.#keep(clientId, { message, delay });
    }
    for (const [clientId, will] of [...this.#kept]) this.ended(clientId, will, will.delay);
  }

  #keep(clientId: string, will: PendingWill): void {
    this.#forget(clientId);
    this.#kept.set(clientId, will);
    this.#bytes += sizeOf(will);
  }

  #forget(clientId: string): boolean {
    const old = this.#kept.get(clientId);
    if (old === undefined) return false;
    this.#bytes -= sizeOf(old);
    return this.#kept.delete(clientId);
  }

  /** A CONNECT with this will, or none, is accepted: it replaces an earlier one. Never rejects: a will is no reason. */
  async connected(clientId: string, will: PendingWill | null): Promise<void> {
    this.#delayed.delete(clientId); // [MQTT-3.1.3-9]
    if (will === null) {
      if (this.#forget(clientId)) await this.#write(clientId, null);
      return;
    }
    this.#keep(clientId, will);
    const { topic, payload, qos, retain, properties } = will.message;
    const stored: StoredWill = { v: 1, t: topic, p: payload, q: qos, r: retain, x: properties, d: will.delay };
    await this.#write(clientId, encode(stored));
  }

  /** The connection ended other than by DISCONNECT: publishes it after the delay. */
  ended(clientId: string, will: PendingWill, delay: number): void {
    if (delay === 0) this.publish(clientId, will);
    else this.#delayed.set(clientId, { will, dueAt: this.#deps.clock.monotonic() + delay * 1000 });
  }

  /** [MQTT-3.14.4-3] */
  discard(clientId: string): void {
    if (this.#forget(clientId)) this.#track(this.#write(clientId, null));
  }

  publish(clientId: string, will: PendingWill): void {
    this.#track(
      new Promise((resolve) => {
        this.#deps.publish(clientId, will.message, (error) => {
          // Refused, it stays: the next start tries again, unless the client comes back before.
          if (error !== null || this.#kept.get(clientId) !== will) resolve();
          else {
            this.#forget(clientId);
            resolve(this.#write(clientId, null));
          }
        });
      }),
    );
  }

  /** The session ended: a will that waits for its delay does not wait any longer. */
  sessionEnded(clientId: string): void {
    const pending = this.#delayed.get(clientId);
    this.#delayed.delete(clientId);
    if (pending !== undefined) this.publish(clientId, pending.will);
  }

  /** Called about once a second. */
  tick(now: number): void {
    for (const [clientId, { dueAt }] of this.#delayed) if (dueAt <= now) this.sessionEnded(clientId);
  }

  /** When what is being published or removed now is done. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #track(task: Promise<void>): void {
    this.#running.add(task);
    task.then(() => this.#running.delete(task));
  }

  async #write(clientId: string, value: Uint8Array | null): Promise<void> {
    try {
      await this.#deps.meta.write([{ key: metaKey('session', 'will', clientId), value }]);
    } catch (error) {
      this.#deps.logger.warn({ clientId, error }, 'a will could not be stored or removed');
    }
  }
}
