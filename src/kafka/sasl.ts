/**
 * SASL on one connection: SaslHandshake chooses the mechanism, then SaslAuthenticate carries its messages (KIP-152). After
 * version 0 of the handshake they come as bare frames instead, without any header (KIP-43).
 */
import type { Random } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import { PlainExchange, type SaslExchange, type SaslMechanism, ScramExchange } from '../security/sasl.ts';
import type { LoginThrottle } from '../security/throttle.ts';
import type { Users } from '../security/users.ts';

export interface SaslOptions {
  /** sasl.enabled.mechanisms, at least one. */
  readonly mechanisms: readonly SaslMechanism[];
  readonly users: Users;
  readonly throttle: LoginThrottle;
  readonly random: Random;
  /** 32 random bytes of this process: keeps the salts of users that do not exist stable. */
  readonly decoyKey: Uint8Array;
}

/** `handshake` -> `exchange` -> `done` or `failed`; nothing leads back. */
type State = 'handshake' | 'exchange' | 'done' | 'failed';

export class SaslSession {
  readonly #options: SaslOptions;
  readonly #address: string;
  #state: State = 'handshake';
  #exchange: SaslExchange | null = null;
  /** Messages come as bare frames (after SaslHandshake version 0) until the exchange is over. */
  bare = false;
  user: string | null = null;

  constructor(options: SaslOptions, address: string) {
    this.#options = options;
    this.#address = address;
  }

  get mechanisms(): readonly string[] {
    return this.#options.mechanisms;
  }

  get state(): State {
    return this.#state;
  }

  /** False: the mechanism is not enabled. Throws when it is not the time for a handshake. */
  begin(name: string, bare: boolean): boolean {
    if (this.#state !== 'handshake') {
      throw new HeadwaterError('INVALID_REQUEST', `SaslHandshake in state ${this.#state}, allowed once at the start`);
    }
    const mechanism = this.#options.mechanisms.find((known) => known === name);
    if (mechanism === undefined) return false;
    this.#exchange = this.#exchangeOf(mechanism);
    this.#state = 'exchange';
    this.bare = bare;
    return true;
  }

  /** The server's next message. Throws AUTHENTICATION_FAILED, MALFORMED or INVALID_REQUEST; the session is over then. */
  async step(message: Uint8Array): Promise<Uint8Array> {
    const exchange = this.#exchange;
    if (this.#state !== 'exchange' || exchange === null) {
      throw new HeadwaterError(
        'INVALID_REQUEST',
        `SaslAuthenticate in state ${this.#state}, allowed after SaslHandshake`,
      );
    }
    try {
      const { reply, user } = await exchange.step(message);
      if (user !== null) {
        this.user = user;
        this.#state = 'done';
        this.bare = false;
        this.#options.throttle.succeeded(user);
      }
      return reply;
    } catch (thrown) {
      this.#state = 'failed';
      const error = asHeadwaterError(thrown);
      if (error.code === 'AUTHENTICATION_FAILED') this.#options.throttle.failed(this.#address, exchange.claimed);
      throw error;
    }
  }

  /** Whoever has to wait is refused like an unknown user: the answer does not tell which it was. */
  #exchangeOf(mechanism: SaslMechanism): SaslExchange {
    const { users, throttle, random, decoyKey } = this.#options;
    const mustWait = (name: string): boolean => throttle.waitFor(this.#address, name) > 0;
    if (mechanism === 'PLAIN') {
      return new PlainExchange(async (name, secret) =>
        !mustWait(name) && (await users.verify(name, secret)) ? name : null,
      );
    }
    return new ScramExchange(
      mechanism,
      (name) => (mustWait(name) ? null : users.scram(name, mechanism)),
      random,
      decoyKey,
    );
  }
}
