/** What one client may take: connections per address and per user, and how fast it may publish. */

export interface ClientLimitOptions {
  readonly connectionsPerAddress: number;
  readonly connectionsPerUser: number;
  /** Of one connection, everything it sends counted; 0: no bound. */
  readonly publishBytesPerSecond: number;
  readonly publishMessagesPerSecond: number;
}

export const NO_CLIENT_LIMITS: ClientLimitOptions = {
  connectionsPerAddress: Number.POSITIVE_INFINITY,
  connectionsPerUser: Number.POSITIVE_INFINITY,
  publishBytesPerSecond: 0,
  publishMessagesPerSecond: 0,
};

/** A connection as the counts see it; `clientId` is empty before CONNECT. */
export interface Counted {
  readonly clientId: string;
}

/** IPv4 over an IPv6 socket is the same address. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}

/** Connections that share something, bounded. A client that comes back is not refused because of its own dead connection. */
class Shared {
  readonly #max: number;
  readonly #members = new Map<string, Set<Counted>>();

  constructor(max: number) {
    this.#max = max;
  }

  /** `clientId` takes over a connection of its own, which then does not count. */
  fits(name: string, clientId: string, mine: Counted | null): boolean {
    const members = this.#members.get(name);
    if (members === undefined || members.size < this.#max) return true;
    let others = 0;
    for (const one of members) if (one !== mine && one.clientId !== clientId) others++;
    return others < this.#max;
  }

  count(name: string): number {
    return this.#members.get(name)?.size ?? 0;
  }

  add(name: string, one: Counted): void {
    if (this.#max === Number.POSITIVE_INFINITY) return;
    const members = this.#members.get(name);
    if (members === undefined) this.#members.set(name, new Set([one]));
    else members.add(one);
  }

  remove(name: string, one: Counted): void {
    const members = this.#members.get(name);
    if (members?.delete(one) === true && members.size === 0) this.#members.delete(name);
  }

  get size(): number {
    return this.#members.size;
  }
}

export class ClientLimits {
  readonly options: ClientLimitOptions;
  readonly #addresses: Shared;
  readonly #users: Shared;

  constructor(options: ClientLimitOptions) {
    this.options = options;
    this.#addresses = new Shared(options.connectionsPerAddress);
    this.#users = new Shared(options.connectionsPerUser);
  }

  /** Before CONNECT one connection more may be there: it may be a client that takes its own over. */
  mayAccept(address: string): boolean {
    return this.#addresses.count(plainAddress(address)) <= this.options.connectionsPerAddress;
  }

  accepted(address: string, connection: Counted): void {
    this.#addresses.add(plainAddress(address), connection);
  }

  /** The name of the bound that a CONNECT would break, or null; then it counts for the user. */
  admit(connection: Counted, address: string, user: string, clientId: string): string | null {
    if (!this.#addresses.fits(plainAddress(address), clientId, connection)) return 'connections_per_address';
    if (!this.#users.fits(user, clientId, connection)) return 'connections_per_user';
    this.#users.add(user, connection);
    return null;
  }

  closed(connection: Counted, address: string, user: string): void {
    this.#addresses.remove(plainAddress(address), connection);
    this.#users.remove(user, connection);
  }

  /** Addresses and users that are counted now. */
  get tracked(): number {
    return this.#addresses.size + this.#users.size;
  }

  /** null: publishing is not bounded. */
  publishRate(now: number): PublishRate | null {
    const { publishBytesPerSecond: bytes, publishMessagesPerSecond: messages } = this.options;
    return bytes === 0 && messages === 0 ? null : new PublishRate(bytes, messages, now);
  }
}

/** A bucket that may go into debt by one packet: what arrived is handled, what follows waits. A second's worth is saved up. */
class Bucket {
  readonly #perSecond: number;
  #tokens: number;
  #at: number;

  constructor(perSecond: number, now: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
    this.#at = now;
  }

  take(amount: number, now: number): void {
    this.#refill(now);
    this.#tokens -= amount;
  }

  /** Milliseconds until more may be taken; 0: now. */
  waitMs(now: number): number {
    this.#refill(now);
    return this.#tokens > 0 ? 0 : Math.ceil((-this.#tokens / this.#perSecond) * 1000) + 1;
  }

  #refill(now: number): void {
    this.#tokens = Math.min(this.#perSecond, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
  }
}

export class PublishRate {
  readonly #bytes: Bucket | null;
  readonly #messages: Bucket | null;

  constructor(bytesPerSecond: number, messagesPerSecond: number, now: number) {
    this.#bytes = bytesPerSecond > 0 ? new Bucket(bytesPerSecond, now) : null;
    this.#messages = messagesPerSecond > 0 ? new Bucket(messagesPerSecond, now) : null;
  }

  received(bytes: number, messages: number, now: number): void {
    this.#bytes?.take(bytes, now);
    this.#messages?.take(messages, now);
  }

  /** How long the socket is not to be read, and by which bound; null: it may be read. */
  wait(now: number): { readonly ms: number; readonly bound: 'bytes_per_second' | 'messages_per_second' } | null {
    const bytes = this.#bytes?.waitMs(now) ?? 0;
    const messages = this.#messages?.waitMs(now) ?? 0;
    if (bytes === 0 && messages === 0) return null;
    return bytes >= messages
      ? { ms: bytes, bound: 'bytes_per_second' }
      : { ms: messages, bound: 'messages_per_second' };
  }
}
