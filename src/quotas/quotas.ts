/** Client quotas: kept in the metadata database, held in memory, asked for by every request once there is one. */
import { Encoder } from 'cbor-x';
import type { Clock } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { QUOTA_CLIENTS_MAX, QUOTAS_MAX } from '../limits.ts';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';
import {
  Bucket,
  candidates,
  entityName,
  parseEntityName,
  QUOTA_KEYS,
  type QuotaEntity,
  type QuotaKey,
  type QuotaRates,
} from './rules.ts';

const VERSION = 1;
const NAME_MAX_CHARS = 255;
const cbor = new Encoder({ useRecords: false, tagUint8Array: false });

interface Quota {
  readonly entity: QuotaEntity;
  readonly rates: QuotaRates;
}

const mapKey = (entity: QuotaEntity): string => entityName(entity).join('\n');
const storeKey = (entity: QuotaEntity): Uint8Array => metaKey('quota', ...entityName(entity));

export class Quotas {
  readonly #meta: MetaStore;
  readonly #clock: Clock;
  readonly #quotas = new Map<string, Quota>();
  /** By key and who shares it. */
  #buckets = new Map<string, Bucket>();
  /** By key, user and client id; null: nothing binds them. */
  #known = new Map<string, Bucket | null>();
  #lastChange: Promise<unknown> = Promise.resolve();

  private constructor(meta: MetaStore, clock: Clock) {
    this.#meta = meta;
    this.#clock = clock;
  }

  /** Reads what is stored. Throws RangeError for an entry that this version cannot read. */
  static async open(meta: MetaStore, clock: Clock): Promise<Quotas> {
    const quotas = new Quotas(meta, clock);
    for await (const { key, value } of meta.entries(metaRange('quota'))) {
      const [user, clientId] = parseMetaKey(key) as [string, string];
      const [version, rates] = cbor.decode(value) as [number, [QuotaKey, number][]];
      if (version !== VERSION) throw new RangeError(`a quota has format version ${version}; known: ${VERSION}`);
      const entity = parseEntityName(user, clientId);
      quotas.#quotas.set(mapKey(entity), { entity, rates: new Map(rates) });
    }
    return quotas;
  }

  /** Whether anybody has a quota: without one nothing else needs to be asked. */
  get active(): boolean {
    return this.#quotas.size > 0;
  }

  all(): Iterable<Quota> {
    return this.#quotas.values();
  }

  /** Counts what a client used. Returns the milliseconds that it has to wait before it goes on. */
  charge(key: QuotaKey, user: string, clientId: string, bytes: number): number {
    return this.#bucketOf(key, user, clientId)?.take(bytes, this.#clock.monotonic()) ?? 0;
  }

  /** Bytes a second that bind a client; Infinity when nothing does. */
  rateOf(key: QuotaKey, user: string, clientId: string): number {
    return this.#bucketOf(key, user, clientId)?.rate ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Sets (or with null removes) rates of one entity; durable when it resolves. Throws INVALID_REQUEST for an entity or a rate
   * that is not allowed and QUOTA_EXCEEDED when there are too many quotas.
   */
  async alter(
    entity: QuotaEntity,
    changes: ReadonlyMap<string, number | null>,
    { validateOnly }: { validateOnly: boolean },
  ): Promise<void> {
    const change = this.#lastChange.then(() => this.#alter(entity, changes, validateOnly));
    this.#lastChange = change.catch(() => {});
    return change;
  }

  async #alter(entity: QuotaEntity, changes: ReadonlyMap<string, number | null>, validateOnly: boolean): Promise<void> {
    checkEntity(entity);
    const name = mapKey(entity);
    const before = this.#quotas.get(name);
    const rates = new Map(before?.rates);
    for (const [key, value] of changes) {
      const known = checkKey(key);
      if (value === null) rates.delete(known);
      else rates.set(known, checkRate(known, value));
    }
    if (before === undefined && rates.size > 0 && this.#quotas.size >= QUOTAS_MAX) {
      throw new HeadwaterError('QUOTA_EXCEEDED', `there are ${QUOTAS_MAX} quotas, more are not kept`);
    }
    if (validateOnly) return;
    const value = rates.size === 0 ? null : cbor.encode([VERSION, [...rates]]);
    await this.#meta.write([{ key: storeKey(entity), value }]);
    if (rates.size === 0) this.#quotas.delete(name);
    else this.#quotas.set(name, { entity, rates });
    this.#forget();
  }

  #forget(): void {
    this.#buckets = new Map();
    this.#known = new Map();
  }

  #bucketOf(key: QuotaKey, user: string, clientId: string): Bucket | null {
    const name = `${key}\n${user}\n${clientId}`;
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    // What was owed is forgiven then: with so many clients no quota for each of them is what limits the host.
    if (this.#known.size >= QUOTA_CLIENTS_MAX) this.#forget();
    const found = this.#find(key, user, clientId);
    this.#known.set(name, found);
    return found;
  }

  #find(key: QuotaKey, user: string, clientId: string): Bucket | null {
    for (const { entity, shared } of candidates(user, clientId)) {
      const rate = this.#quotas.get(mapKey(entity))?.rates.get(key);
      if (rate === undefined) continue;
      const name = `${key}\n${mapKey(shared)}`;
      let bucket = this.#buckets.get(name);
      if (bucket === undefined) {
        bucket = new Bucket(rate, this.#clock.monotonic());
        this.#buckets.set(name, bucket);
      }
      return bucket;
    }
    return null;
  }
}

function checkEntity({ user, clientId }: QuotaEntity): void {
  if (user === undefined && clientId === undefined) {
    throw new HeadwaterError('INVALID_REQUEST', 'a quota is for a user, a client id or both');
  }
  for (const name of [user, clientId]) {
    if (name === null || name === undefined || (name !== '' && name.length <= NAME_MAX_CHARS)) continue;
    throw new HeadwaterError(
      'INVALID_REQUEST',
      `a name of ${name.length} characters: allowed are 1 to ${NAME_MAX_CHARS}`,
    );
  }
}

function checkKey(key: string): QuotaKey {
  const known = QUOTA_KEYS.find((one) => one === key);
  if (known !== undefined) return known;
  throw new HeadwaterError('INVALID_REQUEST', `there is no quota "${key}" here; known: ${QUOTA_KEYS.join(', ')}`);
}

function checkRate(key: QuotaKey, value: number): number {
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new HeadwaterError('INVALID_REQUEST', `${key}: ${value} is not a whole number of bytes a second, 1 or more`);
}
