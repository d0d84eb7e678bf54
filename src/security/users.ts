/**
 * The users file: one line a user, `NAME [scrypt:N:r:p:SALT:HASH] [scram-sha-256:ITERATIONS:SALT:STORED:SERVER] [...]`, in
 * base64, at least one of them. One store serves MQTT, HTTP and Kafka SASL; `headwater users` and kafka-configs edit it.
 * Secrets themselves are nowhere.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { HeadwaterError } from '../errors.ts';
import {
  hashSecret,
  matchesHash,
  matchesScram,
  type ScramKeys,
  type ScramMechanism,
  type ScryptHash,
  scramKeyBytes,
  scramKeys,
} from './secrets.ts';

export interface User {
  readonly name: string;
  /** null for users made over Kafka's protocol, which never carries the secret: they have SCRAM keys. */
  readonly scrypt: ScryptHash | null;
  /** Empty for users who may only send their secret (over TLS, one hopes). */
  readonly scram: ReadonlyMap<ScramMechanism, ScramKeys>;
}

export const SCRAM_MECHANISMS: readonly ScramMechanism[] = ['SCRAM-SHA-256', 'SCRAM-SHA-512'];
const SALT_BYTES = 16;
export const SECRET_MIN_CHARS = 8;
const SECRET_MAX_CHARS = 1_024;
/** Users whose secret was right lately: a fleet that reconnects must not hash for minutes. */
const REMEMBERED_MAX = 10_000;
/** Hashes that wait; more logins at once are refused rather than queued for minutes. */
const WAITING_MAX = 64;

const userName = /^[A-Za-z0-9._@:+=-]{1,128}$/;

export function userNameProblem(name: string): string | null {
  return userName.test(name) ? null : `"${name}" is not a user name: 1 to 128 letters, digits and . _ @ : + = -`;
}

/** A new user with fresh salts. Throws INVALID_REQUEST for a name or secret that is not allowed. */
export async function createUser(name: string, secret: string, withScram = true): Promise<User> {
  const problem = userNameProblem(name);
  if (problem !== null) throw new HeadwaterError('INVALID_REQUEST', problem);
  if (secret.length < SECRET_MIN_CHARS || secret.length > SECRET_MAX_CHARS) {
    throw new HeadwaterError('INVALID_REQUEST', `a secret has ${SECRET_MIN_CHARS} to ${SECRET_MAX_CHARS} characters`);
  }
  const scram = new Map<ScramMechanism, ScramKeys>();
  if (withScram) {
    for (const mechanism of SCRAM_MECHANISMS) {
      scram.set(mechanism, await scramKeys(mechanism, secret, randomBytes(SALT_BYTES)));
    }
  }
  return { name, scrypt: await hashSecret(secret, randomBytes(SALT_BYTES)), scram };
}

const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');

export function formatUsers(users: Iterable<User>): string {
  const lines = ['# Headwater users; edit with: headwater users add|remove'];
  for (const { name, scrypt, scram } of users) {
    const parts = [name];
    if (scrypt !== null) {
      parts.push(['scrypt', scrypt.N, scrypt.r, scrypt.p, b64(scrypt.salt), b64(scrypt.hash)].join(':'));
    }
    for (const [mechanism, { iterations, salt, storedKey, serverKey }] of scram) {
      parts.push([mechanism.toLowerCase(), iterations, b64(salt), b64(storedKey), b64(serverKey)].join(':'));
    }
    lines.push(parts.join(' '));
  }
  return `${lines.join('\n')}\n`;
}

/** Throws INVALID_CONFIG naming the line; what is in the line is not repeated. */
export function parseUsers(text: string, source: string): Map<string, User> {
  const users = new Map<string, User>();
  text.split('\n').forEach((raw, index) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) return;
    const refuse = (why: string) => new HeadwaterError('INVALID_CONFIG', `${source}:${index + 1}: ${why}`);
    const [name, ...credentials] = line.split(/\s+/);
    const problem = userNameProblem(name!);
    if (problem !== null) throw refuse(problem);
    if (users.has(name!)) throw refuse(`the user "${name}" is there twice`);
    let scrypt: ScryptHash | null = null;
    const scram = new Map<ScramMechanism, ScramKeys>();
    for (const credential of credentials) {
      const [kind, ...fields] = credential.split(':');
      const mechanism = SCRAM_MECHANISMS.find((known) => known.toLowerCase() === kind);
      if (kind === 'scrypt') {
        scrypt = parseScrypt(fields);
        if (scrypt === null) throw refuse(`the scrypt credential of "${name}" is damaged`);
      } else if (mechanism !== undefined) {
        const keys = parseScram(fields, mechanism);
        if (keys === null) throw refuse(`the ${kind} credential of "${name}" is damaged`);
        scram.set(mechanism, keys);
      } else throw refuse(`an unknown kind of credential for "${name}"; known: scrypt, scram-sha-256, scram-sha-512`);
    }
    if (scrypt === null && scram.size === 0) throw refuse(`the user "${name}" has no credential`);
    users.set(name!, { name: name!, scrypt, scram });
  });
  return users;
}

function parseScrypt(fields: readonly string[]): ScryptHash | null {
  const [N, r, p] = fields.slice(0, 3).map(Number) as [number, number, number];
  const [salt, hash] = fields.slice(3).map((field) => Buffer.from(field, 'base64'));
  const sane = fields.length === 5 && N >= 1_024 && N <= 65_536 && (N & (N - 1)) === 0 && r === 8 && p >= 1 && p <= 16;
  return sane && salt!.length >= 8 && hash!.length === 32 ? { N, r, p, salt: salt!, hash: hash! } : null;
}

function parseScram(fields: readonly string[], mechanism: ScramMechanism): ScramKeys | null {
  const iterations = Number(fields[0]);
  const [salt, storedKey, serverKey] = fields.slice(1).map((field) => Buffer.from(field, 'base64'));
  const size = scramKeyBytes(mechanism);
  const sane = fields.length === 4 && iterations >= 4_096 && iterations <= 1_000_000;
  if (!sane || salt!.length < 8 || storedKey!.length !== size || serverKey!.length !== size) return null;
  return { iterations, salt: salt!, storedKey: storedKey!, serverKey: serverKey! };
}

/** The users as the listeners ask them. Replaced as a whole on reload. */
export class Users {
  #users: ReadonlyMap<string, User>;
  #remembered = new Set<string>();
  /** Kept in this process only: what is remembered is worth nothing elsewhere. */
  readonly #key = randomBytes(32);
  /** Someone to compare an unknown name with, so that it takes as long as a known one. */
  readonly #nobody: ScryptHash;
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(users: ReadonlyMap<string, User>) {
    this.#users = users;
    this.#nobody = { N: 16_384, r: 8, p: 1, salt: randomBytes(SALT_BYTES), hash: randomBytes(32) };
  }

  get names(): string[] {
    return [...this.#users.keys()];
  }

  replace(users: ReadonlyMap<string, User>): void {
    this.#users = users;
    this.#remembered = new Set();
  }

  all(): Iterable<User> {
    return this.#users.values();
  }

  has(name: string): boolean {
    return this.#users.has(name);
  }

  scram(name: string, mechanism: ScramMechanism): ScramKeys | null {
    return this.#users.get(name)?.scram.get(mechanism) ?? null;
  }

  /** Whether this secret was found right lately: such a client need not wait for somebody else's guesses. */
  remembers(name: string, secret: string): boolean {
    return this.#users.has(name) && this.#remembered.has(this.#proof(name, secret));
  }

  #proof(name: string, secret: string): string {
    return createHmac('sha256', this.#key).update(`${name.length}:${name}${secret}`).digest('base64');
  }

  /**
   * Whether the secret is the user's. One hash at a time: each takes 16 MiB and a thread that the store needs as well.
   * Throws QUOTA_EXCEEDED when too many wait.
   */
  async verify(name: string, secret: string): Promise<boolean> {
    if (secret.length > SECRET_MAX_CHARS) return false;
    const proof = this.#proof(name, secret);
    const user = this.#users.get(name);
    if (user !== undefined && this.#remembered.has(proof)) return true;
    if (this.#waiting >= WAITING_MAX) throw new HeadwaterError('QUOTA_EXCEEDED', 'too many logins at once; try again');
    this.#waiting++;
    const turn = this.#last.then(() => this.#matches(secret, user));
    this.#last = turn.catch(() => {});
    const users = this.#users;
    try {
      const right = (await turn) && user !== undefined && users === this.#users;
      if (right) {
        if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered = new Set();
        this.#remembered.add(proof);
      }
      return right;
    } finally {
      this.#waiting--;
    }
  }

  async #matches(secret: string, user: User | undefined): Promise<boolean> {
    if (user !== undefined && user.scrypt !== null) return matchesHash(secret, user.scrypt);
    for (const [mechanism, keys] of user?.scram ?? []) if (await matchesScram(mechanism, secret, keys)) return true;
    // Whether the user exists or not: a refusal takes as long as that of a memory-hard hash.
    await matchesHash(secret, this.#nobody);
    return false;
  }
}
