/** SASL as a server: PLAIN (RFC 4616) and SCRAM (RFC 5802, 7677) over the users file. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { Random } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { digestOf, SCRAM_ITERATIONS, type ScramKeys, type ScramMechanism } from './secrets.ts';

export type SaslMechanism = 'PLAIN' | ScramMechanism;

/** Checks a secret that was sent; the user's name when it is right. */
export type VerifySecret = (user: string, secret: string) => Promise<string | null>;
export type FindScram = (user: string, mechanism: ScramMechanism) => ScramKeys | null;

export interface SaslStep {
  readonly reply: Uint8Array;
  /** Set by the step that completes the exchange. */
  readonly user: string | null;
}

/** One login. `step` gets what the client sent; it throws AUTHENTICATION_FAILED (or MALFORMED) and is over then. */
export interface SaslExchange {
  /** Who it claims to be, as far as known; for back-off and the log. */
  readonly claimed: string;
  step(message: Uint8Array): Promise<SaslStep>;
}

const failed = () => new HeadwaterError('AUTHENTICATION_FAILED', 'unknown user or wrong secret');
const malformed = (why: string) => new HeadwaterError('MALFORMED', `SASL: ${why}`);
const MESSAGE_MAX_BYTES = 4_096;

function textOf(message: Uint8Array): string {
  if (message.length > MESSAGE_MAX_BYTES) throw malformed(`a message of more than ${MESSAGE_MAX_BYTES} bytes`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(message);
  } catch {
    throw malformed('a message that is not UTF-8');
  }
}

export class PlainExchange implements SaslExchange {
  readonly #verify: VerifySecret;
  claimed = '';

  constructor(verify: VerifySecret) {
    this.#verify = verify;
  }

  async step(message: Uint8Array): Promise<SaslStep> {
    const parts = textOf(message).split('\0');
    if (parts.length !== 3) throw malformed('PLAIN is three parts with NUL between them');
    const [authorizeAs, name, secret] = parts as [string, string, string];
    this.claimed = name;
    if (name === '' || secret === '') throw failed();
    if (authorizeAs !== '' && authorizeAs !== name) throw failed();
    const user = await this.#verify(name, secret);
    if (user === null) throw failed();
    return { reply: new Uint8Array(0), user };
  }
}

/** States of a SCRAM exchange. */
type ScramState = 'first' | 'final' | 'over';

export class ScramExchange implements SaslExchange {
  readonly #mechanism: ScramMechanism;
  readonly #find: FindScram;
  readonly #random: Random;
  /** Makes a stable salt for names that do not exist: the answer must not tell which do. */
  readonly #decoyKey: Uint8Array;
  #state: ScramState = 'first';
  #keys: ScramKeys | null = null;
  #gs2 = '';
  /** Our part of the nonce, fresh for each exchange. */
  #serverNonce = '';
  #clientFirst = '';
  #serverFirst = '';
  claimed = '';

  constructor(mechanism: ScramMechanism, find: FindScram, random: Random, decoyKey: Uint8Array) {
    this.#mechanism = mechanism;
    this.#find = find;
    this.#random = random;
    this.#decoyKey = decoyKey;
  }

  async step(message: Uint8Array): Promise<SaslStep> {
    const state = this.#state;
    this.#state = 'over';
    if (state === 'first') return this.#first(textOf(message));
    if (state === 'final') return this.#final(textOf(message));
    throw malformed('the exchange is over');
  }

  #first(text: string): SaslStep {
    // gs2-header [reserved-mext ","] username "," nonce ["," extensions]; channel binding "p=" is not offered.
    const match = /^([ny]),(a=[^,]*)?,(n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)$/s.exec(text);
    if (match === null) throw malformed('a client-first-message of SCRAM was expected');
    const [, flag, authorizeAs = '', bare, rawName, clientNonce] = match as unknown as string[];
    const name = decodeName(rawName!);
    if (authorizeAs !== '' && decodeName(authorizeAs.slice(2)) !== name) throw failed();
    this.claimed = name;
    this.#gs2 = `${flag},${authorizeAs},`;
    this.#clientFirst = bare!;
    this.#serverNonce = Buffer.from(this.#random.bytes(18)).toString('base64');
    this.#keys = this.#find(name, this.#mechanism);
    const { salt, iterations } = this.#keys ?? this.#decoy(name);
    this.#serverFirst = `r=${clientNonce}${this.#serverNonce},s=${Buffer.from(salt).toString('base64')},i=${iterations}`;
    this.#state = 'final';
    return { reply: Buffer.from(this.#serverFirst), user: null };
  }

  #decoy(name: string): { salt: Uint8Array; iterations: number } {
    const salt = createHmac('sha256', this.#decoyKey).update(`${this.#mechanism} ${name}`).digest().subarray(0, 16);
    return { salt, iterations: SCRAM_ITERATIONS };
  }

  #final(text: string): SaslStep {
    const match = /^(c=([A-Za-z0-9+/=]*),r=([^,]+)(?:,.*)?),p=([A-Za-z0-9+/=]+)$/s.exec(text);
    if (match === null) throw malformed('a client-final-message of SCRAM was expected');
    const [, withoutProof, binding, nonce, proofText] = match as unknown as string[];
    const keys = this.#keys;
    const rightBinding = Buffer.from(binding!, 'base64').toString('utf8') === this.#gs2;
    // Kafka looks at the end only, and librdkafka before 2.6 relies on it: it sends its own part of the nonce twice.
    if (keys === null || !nonce!.endsWith(this.#serverNonce) || !rightBinding) throw failed();
    const digest = digestOf(this.#mechanism);
    const authMessage = `${this.#clientFirst},${this.#serverFirst},${withoutProof}`;
    const signature = createHmac(digest, keys.storedKey).update(authMessage).digest();
    const proof = Buffer.from(proofText!, 'base64');
    if (proof.length !== signature.length) throw failed();
    const clientKey = Buffer.from(proof.map((byte, i) => byte ^ signature[i]!));
    if (!timingSafeEqual(createHash(digest).update(clientKey).digest(), keys.storedKey)) throw failed();
    const verifier = createHmac(digest, keys.serverKey).update(authMessage).digest('base64');
    return { reply: Buffer.from(`v=${verifier}`), user: this.claimed };
  }
}

/** RFC 5802, section 5.1: "," and "=" are written =2C and =3D. */
function decodeName(text: string): string {
  if (/=(?!2C|3D)/.test(text) || text === '') throw malformed('a user name with a bare "=" or none at all');
  return text.replaceAll('=2C', ',').replaceAll('=3D', '=');
}
