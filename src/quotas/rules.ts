/** KIP-55: which quota binds a client, and how long it waits for what it used. Numbers in, numbers out. */

export const QUOTA_KEYS = ['producer_byte_rate', 'consumer_byte_rate'] as const;
export type QuotaKey = (typeof QUOTA_KEYS)[number];

/** Whom a quota is for. `null`: everybody of that kind who has none of their own; absent: the kind does not matter. */
export interface QuotaEntity {
  readonly user?: string | null;
  readonly clientId?: string | null;
}

/** Bytes a second by key. */
export type QuotaRates = ReadonlyMap<QuotaKey, number>;

const part = (name: string | null | undefined): string => (name === undefined ? '' : name === null ? '*' : `=${name}`);

/** Names an entity; different entities have different names. */
export function entityName({ user, clientId }: QuotaEntity): readonly [user: string, clientId: string] {
  return [part(user), part(clientId)];
}

const unpart = (text: string): string | null | undefined =>
  text === '' ? undefined : text === '*' ? null : text.slice(1);

/** Throws RangeError for what `entityName` does not make. */
export function parseEntityName(user: string, clientId: string): QuotaEntity {
  for (const text of [user, clientId]) {
    if (text !== '' && text !== '*' && !text.startsWith('=')) throw new RangeError(`"${text}" names no quota entity`);
  }
  const entity: { user?: string | null; clientId?: string | null } = {};
  const [of, at] = [unpart(user), unpart(clientId)];
  if (of !== undefined) entity.user = of;
  if (at !== undefined) entity.clientId = at;
  return entity;
}

/** The entities that may bind a client, the first that has a quota counts; with it who shares one: the parts that are named. */
export function candidates(user: string, clientId: string): readonly { entity: QuotaEntity; shared: QuotaEntity }[] {
  const both = { user, clientId };
  return [
    { entity: { user, clientId }, shared: both },
    { entity: { user, clientId: null }, shared: both },
    { entity: { user }, shared: { user } },
    { entity: { user: null, clientId }, shared: both },
    { entity: { user: null, clientId: null }, shared: both },
    { entity: { user: null }, shared: { user } },
    { entity: { clientId }, shared: { clientId } },
    { entity: { clientId: null }, shared: { clientId } },
  ];
}

/** The longest wait that is asked for; what is owed beyond it is waited for with the next request. */
export const THROTTLE_MAX_MS = 3_600_000;

/** What one or more clients may use: a second's worth at once, then as it comes in. What was used beyond it is owed. */
export class Bucket {
  /** Bytes a second. */
  readonly rate: number;
  #left: number;
  #at: number;

  constructor(rate: number, now: number) {
    this.rate = rate;
    this.#left = rate;
    this.#at = now;
  }

  /** `now` in milliseconds, never going back. Returns the milliseconds until nothing is owed. */
  take(bytes: number, now: number): number {
    this.#left = Math.min(this.rate, this.#left + (this.rate * (now - this.#at)) / 1_000) - bytes;
    this.#at = now;
    return this.#left >= 0 ? 0 : Math.min(THROTTLE_MAX_MS, Math.ceil((-this.#left / this.rate) * 1_000));
  }
}
