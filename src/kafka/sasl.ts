/**
 * SASL on one connection: SaslHandshake chooses the mechanism, then SaslAuthenticate carries its messages (KIP-152). After
 * version 0 of the handshake they come as bare frames instead, without any header (KIP-43).
 */
import { HeadwaterError } from '../errors.ts';
import type { SaslExchange, SaslMechanism } from '../security/sasl.ts';

/** What a listener asks about logins; `Security` is one. */
export interface SaslSource {
  /** Whether clients must log in; may change on reload. */
  readonly required: boolean;
  /** sasl.enabled.mechanisms. */
  readonly mechanisms: readonly SaslMechanism[];
  /** One exchange with a client at `address`; counts failures and makes who guesses wait. */
  sasl(mechanism: string, address: string): SaslExchange;
}

/** `handshake` -> `exchange` -> `done` or `failed`; nothing leads back. */
type State = 'handshake' | 'exchange' | 'done' | 'failed';

export class SaslSession {
  readonly #source: SaslSource;
  readonly #address: string;
  #state: State = 'handshake';
  #exchange: SaslExchange | null = null;
  /** Messages come as bare frames (after SaslHandshake version 0) until the exchange is over. */
  bare = false;
  user: string | null = null;

  constructor(source: SaslSource, address: string) {
    this.#source = source;
    this.#address = address;
  }

  get required(): boolean {
    return this.#source.required;
  }

  get mechanisms(): readonly string[] {
    return this.#source.mechanisms;
  }

  get state(): State {
    return this.#state;
  }

  /** False: the mechanism is not enabled. Throws when it is not the time for a handshake. */
  begin(mechanism: string, bare: boolean): boolean {
    if (this.#state !== 'handshake') {
      throw new HeadwaterError('INVALID_REQUEST', `SaslHandshake in state ${this.#state}, allowed once at the start`);
    }
    if (!this.mechanisms.includes(mechanism)) return false;
    this.#exchange = this.#source.sasl(mechanism, this.#address);
    this.#state = 'exchange';
    this.bare = bare;
    return true;
  }

  /** The server's next message. Whatever it throws, the session is over then. */
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
      }
      return reply;
    } catch (error) {
      this.#state = 'failed';
      throw error;
    }
  }
}
