/** One session (4.1): subscriptions, QoS state of both directions, and its place in the log. Outlives its connections. */
import type { Connection } from './connection.ts';
import { Delivery, type DeliveryContext, type DeliveryOwner } from './delivery.ts';
import type { Feed } from './feed.ts';
import type { Subscription } from './subscription-index.ts';
import type { PendingWill } from './wills.ts';

/** Session Expiry Interval that means never. */
export const NEVER = 0xffffffff;

/** A QoS 2 PUBLISH of the client whose PUBREL has not come. */
export interface Inbound {
  /** `intending`: it may or may not be in the log; `received`: it is. */
  state: 'intending' | 'received';
  /** Where its record goes; null when nothing is stored. */
  readonly feed: Feed | null;
  /** The record has this offset or a later one. */
  readonly from: number;
  /** Value of the record's `mqtt.exchange` header: finds it again after a crash. */
  readonly exchange: Uint8Array | null;
  /** Its append is under way in this process. */
  pending: boolean;
  /** Called when the pending append succeeded: the client asked again on a newer connection. */
  onReceived: (() => void) | null;
}

export interface SessionSaver {
  saveState(session: Session, done: (error: unknown) => void): void;
}

export class Session implements DeliveryOwner {
  readonly clientId: string;
  readonly delivery: Delivery;
  readonly subscriptions = new Map<string, Subscription>();
  readonly inbound = new Map<number, Inbound>();
  /** Seconds after the connection ended; 0: ends with it; NEVER. */
  expirySeconds = 0;
  connection: Connection | null = null;
  will: PendingWill | null = null;
  /** Written to the store at some time: must be removed there when it ends. */
  stored = false;
  ended = false;
  readonly #saver: SessionSaver;

  constructor(clientId: string, context: DeliveryContext, saver: SessionSaver) {
    this.clientId = clientId;
    this.delivery = new Delivery(context, this);
    this.#saver = saver;
  }

  get persistent(): boolean {
    return this.expirySeconds > 0;
  }

  get hasNoLocal(): boolean {
    for (const subscription of this.subscriptions.values()) if (subscription.noLocal) return true;
    return false;
  }

  store(done: (error: unknown) => void): void {
    this.#saver.saveState(this, done);
  }
}
