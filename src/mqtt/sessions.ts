/**
 * All sessions: those with a connection as objects, those without as a name and a deadline (the rest is in the store).
 * Opening, taking over, putting to sleep and ending; steps on one client id never overlap.
 */
import type { Clock } from '../env.ts';
import { MQTT_CATCH_UP_READ_BYTES, MQTT_SESSIONS_MAX } from '../limits.ts';
import type { Logger } from '../logger.ts';
import { MqttError, REASON } from '../wire/mqtt/reason.ts';
import type { Connection } from './connection.ts';
import type { MqttCounters } from './counters.ts';
import type { DeliveryContext } from './delivery.ts';
import type { AgeOf } from './message.ts';
import { readRecords } from './read-records.ts';
import { NEVER, Session } from './session.ts';
import { type SessionStore, sleepLeft } from './session-store.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { PendingWill, Wills } from './wills.ts';

/** An intent is resolved by reading at most this many times from where its record would be. */
const INTENT_READS_MAX = 64;

/** So many changed sessions are stored every second; more of them every five. */
const SAVE_FEW_MAX = 64;

export interface SessionsDependencies {
  readonly clock: Clock;
  readonly ageOf: AgeOf;
  readonly store: SessionStore;
  readonly subscriptions: Subscriptions;
  readonly delivery: DeliveryContext;
  readonly counters: MqttCounters;
  readonly logger: Logger;
  readonly wills: Wills;
}

export interface OpenedSession {
  readonly session: Session;
  readonly present: boolean;
}

export class Sessions {
  readonly #deps: SessionsDependencies;
  readonly #active = new Map<string, Session>();
  /** Client id to the monotonic time of its end. */
  readonly #sleeping = new Map<string, number>();
  readonly #locks = new Map<string, Promise<unknown>>();

  constructor(deps: SessionsDependencies) {
    this.#deps = deps;
  }

  get activeCount(): number {
    return this.#active.size;
  }

  get sleepingCount(): number {
    return this.#sleeping.size;
  }

  active(): Iterable<Session> {
    return this.#active.values();
  }

  has(clientId: string): boolean {
    return this.#active.has(clientId) || this.#sleeping.has(clientId);
  }

  async load(): Promise<void> {
    const { store, clock, ageOf } = this.#deps;
    for (const stored of await store.list()) {
      this.#sleeping.set(stored.clientId, clock.monotonic() + sleepLeft(stored, ageOf));
    }
  }

  #locked<T>(clientId: string, task: () => Promise<T>): Promise<T> {
    const before = this.#locks.get(clientId) ?? Promise.resolve();
    const mine = before.then(task, task);
    this.#locks.set(clientId, mine);
    const release = () => {
      if (this.#locks.get(clientId) === mine) this.#locks.delete(clientId);
    };
    mine.then(release, release);
    return mine;
  }

  /** Finds or makes the session of a CONNECT and gives it to the connection. An older connection of it is closed. */
  open(
    connection: Connection,
    clientId: string,
    clean: boolean,
    expirySeconds: number,
    will: PendingWill | null,
  ): Promise<OpenedSession> {
    return this.#locked(clientId, async () => {
      // Nothing may be awaited between taking a session over and connecting its subscriptions again: no commit is missed.
      const taken = this.#takeOver(clientId, clean);
      const { session, present } =
        taken instanceof Session ? { session: taken, present: true } : await this.#find(clientId, clean || taken);
      if (connection.isClosed) {
        this.#active.set(clientId, session);
        session.connection = null;
        this.#leave(session);
        throw new MqttError(REASON.UNSPECIFIED, 'the connection closed during CONNECT');
      }
      this.#active.set(clientId, session);
      session.connection = connection;
      session.expirySeconds = expirySeconds;
      const willKept = this.#deps.wills.connected(clientId, will);
      try {
        await this.#resume(session, present);
      } catch (error) {
        // CONNECT is refused.
        this.#deps.wills.discard(clientId);
        throw error;
      }
      await willKept;
      session.will = will;
      return { session, present };
    });
  }

  async #resume(session: Session, present: boolean): Promise<void> {
    const { subscriptions, store } = this.#deps;
    if (present) {
      for (const subscription of session.subscriptions.values()) subscriptions.connect(session, subscription);
      await this.#resolveIntents(session);
    }
    if (session.persistent) await store.saveInfo(session, true);
    else if (session.stored) {
      // It ends with this connection now, after a crash too.
      await store.remove(session.clientId);
      session.stored = false;
    }
  }

  /** The session, when it goes on; true: it ended; false: nobody was connected. */
  #takeOver(clientId: string, clean: boolean): Session | boolean {
    const old = this.#active.get(clientId);
    if (old === undefined) return false;
    this.#deps.counters.takeovers.value++;
    const { connection, will } = old;
    old.connection = null;
    old.will = null;
    old.delivery.detach();
    const resumes = !clean && old.persistent;
    // A shared group whose only member this is lives on with its backlog until the session is connected again.
    this.#deps.subscriptions.disconnectAll(old, resumes);
    connection?.takenOver(); // [MQTT-3.1.4-3]
    // When it resumes, its CONNECT takes a delayed will away, unless it fails.
    if (will !== null) this.#deps.wills.ended(clientId, will, resumes ? will.delay : 0);
    if (resumes) return old;
    this.#active.delete(clientId);
    old.ended = true;
    if (old.stored) this.#sleeping.set(clientId, Number.POSITIVE_INFINITY);
    return true;
  }

  async #find(clientId: string, clean: boolean): Promise<OpenedSession> {
    const { store, delivery } = this.#deps;
    const sleeps = this.#sleeping.has(clientId);
    if (!sleeps && this.#active.size + this.#sleeping.size >= MQTT_SESSIONS_MAX) {
      throw new MqttError(REASON.QUOTA_EXCEEDED, 'too many sessions');
    }
    const session = new Session(clientId, delivery, store);
    if (!sleeps) return { session, present: false };
    if (!clean && this.#sleeping.get(clientId)! > this.#deps.clock.monotonic()) {
      const present = await store.load(session);
      this.#sleeping.delete(clientId);
      return { session, present };
    }
    await this.#endSleeping(clientId);
    return { session, present: false };
  }

  /** The connection of a session is gone. */
  closed(connection: Connection, session: Session, sendWill: boolean): void {
    if (session.connection !== connection) return;
    const { will, clientId } = session;
    session.connection = null;
    session.will = null;
    const { wills } = this.#deps;
    if (!sendWill) wills.discard(clientId);
    else if (will !== null) wills.ended(clientId, will, Math.min(will.delay, session.expirySeconds));
    this.#leave(session);
  }

  #leave(session: Session): void {
    const { clientId } = session;
    const { clock, store, subscriptions, logger } = this.#deps;
    session.delivery.link = null;
    // Before it leaves the index: what is committed from here on is read from the log.
    if (session.persistent) store.pin(session);
    subscriptions.disconnectAll(session, session.persistent);
    if (!session.persistent) {
      this.#active.delete(clientId);
      session.ended = true;
      if (session.stored) {
        this.#locked(clientId, () => store.remove(clientId)).catch((error: unknown) =>
          logger.warn({ clientId, error }, 'a session that ended could not be removed from the store'),
        );
      }
      return;
    }
    this.#locked(clientId, async () => {
      if (session.connection !== null || session.ended) return;
      await store.saveInfo(session, false);
      await new Promise<void>((resolve) => store.saveState(session, () => resolve()));
      if (session.connection !== null || session.ended) return;
      session.delivery.detach();
      this.#active.delete(clientId);
      const left = session.expirySeconds === NEVER ? Number.POSITIVE_INFINITY : session.expirySeconds * 1000;
      this.#sleeping.set(clientId, clock.monotonic() + left);
    }).catch((error: unknown) => logger.warn({ clientId, error }, 'a session could not be stored'));
  }

  async #endSleeping(clientId: string): Promise<void> {
    await this.#deps.store.remove(clientId);
    this.#sleeping.delete(clientId);
    this.#deps.subscriptions.forgetSleeper(clientId);
    this.#deps.wills.sessionEnded(clientId);
  }

  /** Both parts: a subscription without a position would be read from the start of the log after a crash. */
  async saveSubscriptions(session: Session): Promise<void> {
    const { store } = this.#deps;
    const state = new Promise<void>((resolve, reject) =>
      store.saveState(session, (error) => (error == null ? resolve() : reject(error))),
    );
    await Promise.all([state, store.saveInfo(session, true), this.#deps.subscriptions.saveGroupsOf(session)]);
  }

  /** Wills that are due, sessions that expired. Called about once a second. */
  tick(): void {
    const now = this.#deps.clock.monotonic();
    this.#deps.wills.tick(now);
    for (const [clientId, deadline] of this.#sleeping) {
      if (deadline > now) continue;
      this.#locked(clientId, async () => {
        const still = this.#sleeping.get(clientId);
        if (still !== undefined && still <= this.#deps.clock.monotonic()) await this.#endSleeping(clientId);
      }).catch(() => undefined);
    }
  }

  /** Connected sessions whose stored state is behind, while they are few; with many a write of all is a load of its own. */
  async saveFew(): Promise<void> {
    const { store } = this.#deps;
    const dirty: Session[] = [];
    for (const session of this.#active.values()) {
      if (!session.persistent || !session.delivery.dirty) continue;
      if (dirty.push(session) > SAVE_FEW_MAX) return;
    }
    await Promise.all(dirty.map((one) => new Promise<void>((resolve) => store.saveState(one, () => resolve()))));
  }

  /** Stores what changed. Called every few seconds, and with `everything` at the stop. */
  async save(everything: boolean): Promise<void> {
    const { store, subscriptions } = this.#deps;
    const writes: Promise<void>[] = [];
    for (const session of this.#active.values()) {
      if (!session.persistent || !(everything || session.delivery.dirty)) continue;
      if (everything) writes.push(store.saveInfo(session, false));
      writes.push(new Promise((resolve) => store.saveState(session, () => resolve())));
    }
    writes.push(subscriptions.saveGroups(this.#active.values()));
    await Promise.all(writes);
  }

  /** When what is being opened, stored or ended now is done. */
  async settled(): Promise<void> {
    while (this.#locks.size > 0) await Promise.allSettled(this.#locks.values());
    await this.#deps.wills.settled();
  }

  /**
   * After a crash: was a QoS 2 PUBLISH stored whose intent is known? Its record carries the intent's mark, at or after
   * the offset noted: found, it counts as received; not found, the client's repetition is the first.
   */
  async #resolveIntents(session: Session): Promise<void> {
    for (const [packetId, inbound] of session.inbound) {
      if (inbound.state === 'received' || inbound.pending) continue;
      const { feed, exchange } = inbound;
      let found = false;
      if (feed !== null && exchange !== null) {
        const { partition } = feed;
        let from = Math.max(inbound.from, partition.logStartOffset);
        const wanted = Buffer.from(exchange);
        for (let reads = 0; !found && from < partition.logEndOffset && reads < INTENT_READS_MAX; reads++) {
          from = await readRecords(partition, from, partition.logEndOffset, MQTT_CATCH_UP_READ_BYTES, (_, record) => {
            found = record.headers.some(
              ({ key, value }) => key === 'mqtt.exchange' && value !== null && wanted.equals(value),
            );
            return !found;
          });
        }
      }
      if (found) inbound.state = 'received';
      else session.inbound.delete(packetId);
    }
  }
}
