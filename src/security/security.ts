/**
 * Who may come in and do what, for all edges: one users file, one set of rules, one back-off, one pair of certificates.
 * Without a users file nobody is asked, and the configuration has made sure that only this host can connect.
 */
import { readFile } from 'node:fs/promises';
import type { Env } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import { type Acl, ANONYMOUS, type KafkaOperation, type KafkaResource, type MqttAction, parseAcl } from './acl.ts';
import { PlainExchange, type SaslExchange, type SaslMechanism, ScramExchange } from './sasl.ts';
import { LoginThrottle } from './throttle.ts';
import { TlsContexts, type TlsFiles } from './tls.ts';
import { parseUsers, type User, Users } from './users.ts';
import { readUsers, writeUsers } from './users-file.ts';

export interface SecuritySettings {
  readonly usersFile: string | null;
  readonly aclFile: string | null;
  /** Users whom the rules do not bind. */
  readonly superUsers: readonly string[];
  /** Lets clients in that present nothing, although there is a users file. */
  readonly allowAnonymous: boolean;
  readonly saslMechanisms: readonly SaslMechanism[];
  readonly tls: TlsFiles | null;
}

export interface SecurityParts {
  readonly env: Env;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** What was read from the files, replaced as a whole. */
interface Loaded {
  readonly settings: SecuritySettings;
  readonly acl: Acl | null;
  readonly superUsers: ReadonlySet<string>;
}

export interface Presented {
  readonly username: string | null;
  readonly password: Uint8Array | null;
  /** Common name of a verified client certificate. */
  readonly certificate: string | null;
  readonly remoteAddress: string;
}

export class Security {
  readonly #parts: SecurityParts;
  readonly #throttle: LoginThrottle;
  readonly #users: Users;
  readonly #tls: TlsContexts | null;
  readonly #decoyKey: Uint8Array;
  readonly #failures: (edge: string) => { value: number };
  readonly #onReload: (() => void)[] = [];
  #loaded: Loaded;
  /** One change of the users file after the other. */
  #lastEdit: Promise<unknown> = Promise.resolve();

  private constructor(parts: SecurityParts, loaded: Loaded, users: Users, tls: TlsContexts | null) {
    this.#parts = parts;
    this.#loaded = loaded;
    this.#users = users;
    this.#tls = tls;
    this.#throttle = new LoginThrottle(parts.env.clock);
    this.#decoyKey = parts.env.random.bytes(32);
    this.#failures = parts.metrics.counters('headwater_login_failures_total', 'Refused logins.', 'edge');
    if (tls !== null) {
      parts.metrics.gauge('headwater_tls_certificate_expiry_seconds', 'When our certificate ends, Unix time.', () =>
        Math.round(tls.validTo / 1_000),
      );
    }
  }

  /** Reads every file; throws INVALID_CONFIG naming the file and line that is wrong. */
  static async load(settings: SecuritySettings, parts: SecurityParts): Promise<Security> {
    const { users, acl } = await readFiles(settings);
    const tls = settings.tls === null ? null : await TlsContexts.load(settings.tls);
    return new Security(parts, { settings, acl, superUsers: new Set(settings.superUsers) }, new Users(users), tls);
  }

  /** All files again; when one is bad nothing changes and the error is thrown. */
  async reload(settings: SecuritySettings): Promise<void> {
    const { users, acl } = await readFiles(settings);
    if (this.#tls !== null && settings.tls !== null) await this.#tls.reload(settings.tls);
    this.#users.replace(users);
    this.#loaded = { settings, acl, superUsers: new Set(settings.superUsers) };
    for (const task of this.#onReload) task();
  }

  /** As the listeners know them now. */
  users(): Iterable<User> {
    return this.#users.all();
  }

  /**
   * Changes the users file and what is known of it: `change` gets the users as the file has them. Whoever is logged in stays
   * so. Throws what `change` throws, and INVALID_CONFIG when there is no file or it may not be written; nothing has changed then.
   */
  async editUsers(change: (users: Map<string, User>) => void): Promise<void> {
    const edit = this.#lastEdit.then(() => this.#edit(change));
    this.#lastEdit = edit.catch(() => {});
    return edit;
  }

  async #edit(change: (users: Map<string, User>) => void): Promise<void> {
    const { usersFile } = this.#loaded.settings;
    if (usersFile === null) throw new HeadwaterError('INVALID_CONFIG', 'users.file is not set: there are no users');
    let users: Map<string, User>;
    try {
      users = await readUsers(usersFile, true);
      change(users);
      await writeUsers(usersFile, users);
    } catch (error) {
      if (error instanceof HeadwaterError) throw error;
      const { message } = error as Error;
      throw new HeadwaterError('INVALID_CONFIG', `users.file cannot be changed by the broker: ${message}`, {
        cause: error,
      });
    }
    this.#users.replace(users);
    this.#parts.logger.info({ file: usersFile, users: users.size }, 'the users file was changed over the network');
    for (const task of this.#onReload) task();
  }

  onReload(task: () => void): void {
    this.#onReload.push(task);
  }

  /** null: no TLS is configured. */
  get tls(): TlsContexts | null {
    return this.#tls;
  }

  /** Whether clients must log in. */
  get required(): boolean {
    const { usersFile, allowAnonymous } = this.#loaded.settings;
    return usersFile !== null && !allowAnonymous;
  }

  /** Whether there is anybody to log in as. */
  get hasUsers(): boolean {
    return this.#loaded.settings.usersFile !== null;
  }

  get mechanisms(): readonly SaslMechanism[] {
    return this.#loaded.settings.saslMechanisms;
  }

  /**
   * The user that `presented` proves, `anonymous` where that is allowed, or null. Throws QUOTA_EXCEEDED for who guesses
   * too often: not even looked at.
   */
  async login(edge: string, presented: Presented): Promise<string | null> {
    if (presented.certificate !== null && presented.username === null) return presented.certificate;
    const { username, password, remoteAddress } = presented;
    if (!this.hasUsers) return username ?? presented.certificate ?? ANONYMOUS;
    if (username === null) {
      if (!this.required) return ANONYMOUS;
      this.#refused(edge, remoteAddress, null);
      return null;
    }
    const secret = password === null ? '' : Buffer.from(password).toString('utf8');
    if (this.#users.remembers(username, secret)) return username;
    this.#mayTry(remoteAddress, username);
    if (secret !== '' && (await this.#users.verify(username, secret))) {
      this.#throttle.succeeded(remoteAddress, username);
      return username;
    }
    this.#refused(edge, remoteAddress, username);
    return null;
  }

  /** One SASL exchange from `address`. Throws INVALID_REQUEST for a mechanism that is not enabled. */
  sasl(mechanism: string, address: string): SaslExchange {
    const enabled = this.mechanisms.find((name) => name === mechanism);
    if (enabled === undefined) {
      throw new HeadwaterError(
        'INVALID_REQUEST',
        `SASL mechanism "${mechanism}" is not one of ${this.mechanisms.join(', ')}`,
      );
    }
    if (enabled === 'PLAIN') {
      return new PlainExchange((username, secret) =>
        this.login('kafka', { username, password: Buffer.from(secret), certificate: null, remoteAddress: address }),
      );
    }
    const exchange = new ScramExchange(
      enabled,
      (user, wanted) => {
        this.#mayTry(address, user);
        return this.#users.scram(user, wanted);
      },
      this.#parts.env.random,
      this.#decoyKey,
    );
    return {
      get claimed() {
        return exchange.claimed;
      },
      step: async (message) => {
        try {
          const step = await exchange.step(message);
          if (step.user !== null) this.#throttle.succeeded(address, step.user);
          return step;
        } catch (error) {
          if (error instanceof HeadwaterError && error.code === 'AUTHENTICATION_FAILED') {
            this.#refused('kafka', address, exchange.claimed);
          }
          throw error;
        }
      },
    };
  }

  isSuperUser(user: string): boolean {
    return this.#loaded.superUsers.has(user);
  }

  /** Quick: called per packet. */
  allowsMqtt(user: string, clientId: string, action: MqttAction, topic: string): boolean {
    const { acl, superUsers } = this.#loaded;
    return acl === null || superUsers.has(user) || acl.allowsMqtt(user, clientId, action, topic);
  }

  allowsKafka(user: string | null, operation: KafkaOperation, resource: KafkaResource, name: string): boolean {
    const { acl, superUsers } = this.#loaded;
    const who = user ?? ANONYMOUS;
    return acl === null || superUsers.has(who) || acl.allowsKafka(who, operation, resource, name);
  }

  #mayTry(address: string, user: string): void {
    const wait = this.#throttle.waitFor(address, user);
    if (wait === 0) return;
    throw new HeadwaterError('QUOTA_EXCEEDED', `too many failed logins; try again in ${Math.ceil(wait / 1_000)} s`);
  }

  #refused(edge: string, address: string, user: string | null): void {
    this.#failures(edge).value += 1;
    if (user !== null) this.#throttle.failed(address, user);
    this.#parts.logger.warn({ edge, address, user }, 'a login was refused');
  }
}

async function readFiles({ usersFile, aclFile }: SecuritySettings) {
  const users = usersFile === null ? new Map() : parseUsers(await readText('users.file', usersFile), usersFile);
  const acl = aclFile === null ? null : parseAcl(await readText('acl.file', aclFile), aclFile);
  return { users, acl };
}

async function readText(setting: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : code === 'EACCES' ? 'may not be read by this user' : message;
    throw new HeadwaterError('INVALID_CONFIG', `${setting}: ${file} ${why}`, { cause: error });
  }
}
