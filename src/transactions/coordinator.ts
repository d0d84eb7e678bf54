/**
 * The transaction coordinator (KIP-98, KIP-360; protocol V1). Requests of one transactional id run in turn: each decides
 * by a pure step, stores the value, then answers. Once an end is stored as PrepareCommit or PrepareAbort it will happen:
 * markers go to every partition, held-back offsets are released, and only then the id is free again. A restart picks up
 * what is prepared; what was open has its whole timeout again.
 */
import type { Env, Timer } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import { TRANSACTIONAL_IDS_MAX } from '../limits.ts';
import type { Log, Partition } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Metrics, Series } from '../metrics.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';
import { TXN_ERROR } from './errors.ts';
import { compilePattern, matchesFilter, type TransactionFilter, unknownStates } from './listing.ts';
import { appendMarkers } from './markers.ts';
import { decodeTransaction, encodeTransaction, TRANSACTION_RECORDS, transactionKey } from './records.ts';
import { nextTxnState } from './states.ts';
import {
  add,
  admits,
  complete,
  end,
  fence,
  initialize,
  needsNewId,
  newTransaction,
  type ProducerIdentity,
  type TxnDecision,
  type TxnPartition,
  type TxnValue,
} from './step.ts';

/** Where transactions commit offsets: the group coordinator's. */
export interface TransactionalOffsets {
  /** Rejects when it could not be stored; may be repeated. */
  endTransaction(groupId: string, producerId: number, commit: boolean): Promise<void>;
}

export interface TransactionSettings {
  /** `transaction.max.timeout.ms` (Kafka: 900000). */
  readonly maxTimeoutMs: number;
  /** `transactional.id.expiration.ms` (Kafka: 7 days): an idle id is forgotten. */
  readonly idExpirationMs: number;
}

export const DEFAULT_TRANSACTION_SETTINGS: TransactionSettings = {
  maxTimeoutMs: 900_000,
  idExpirationMs: 7 * 86_400_000,
};

export interface TransactionCoordinatorParts {
  readonly meta: MetaStore;
  readonly log: Log;
  readonly env: Env;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly offsets: TransactionalOffsets;
  /** Wall clock in milliseconds, or null while it is not to be trusted (DESIGN 8). Default: always trusted. */
  readonly trustedNow?: () => number | null;
  /** When what the clock stamped was written, ms, where the clock was wrong; null: nobody knows. Default: the stamp. */
  readonly writtenAt?: (timestamp: number) => number | null;
  /**
   * Another broker leads, and its promotion aborted what was open here: ids of an earlier lead are forgotten at the start.
   * Kept, what was prepared would be carried out against the leader's log. Default: it leads.
   */
  readonly follows?: boolean;
  readonly settings?: Partial<TransactionSettings>;
}

const RETRY_MS = 1_000;
const EXPIRATION_CHECK_MS = 3_600_000;
const TRANSACTIONAL_ID_MAX_CHARS = 1_024;

/** One transactional id at work. */
interface Entry {
  readonly id: string;
  /** undefined until the first InitProducerId is stored. */
  value: TxnValue | undefined;
  /** The end of the queue of requests. */
  tail: Promise<unknown>;
  timeout: Timer | null;
}

export interface TransactionDescription {
  readonly error: number;
  readonly transactionalId: string;
  readonly value: TxnValue | null;
}

export class TransactionCoordinator {
  readonly #parts: TransactionCoordinatorParts;
  readonly #settings: TransactionSettings;
  readonly #entries = new Map<string, Entry>();
  readonly #ended: (result: string) => Series;
  readonly #timers = new Set<Timer>();
  #state: 'created' | 'loading' | 'running' | 'stopped' = 'created';

  constructor(parts: TransactionCoordinatorParts) {
    this.#parts = parts;
    this.#settings = { ...DEFAULT_TRANSACTION_SETTINGS, ...parts.settings };
    const { metrics } = parts;
    this.#ended = metrics.counters('headwater_transactions_ended_total', 'Transactions ended, by result', 'result');
    metrics.gauge('headwater_transactions_ids', 'Transactional ids known', () => this.#entries.size);
    metrics.gauge('headwater_transactions_open', 'Transactions that are open', () => {
      let open = 0;
      for (const { value } of this.#entries.values()) if (value?.state === 'Ongoing') open++;
      return open;
    });
  }

  /** Loads what is stored and finishes what was prepared; log and groups must be started. */
  async start(): Promise<void> {
    this.#state = 'loading';
    const { logger, env, follows } = this.#parts;
    try {
      if (follows === true) await this.#forgetAll();
      else await this.#loadAll();
    } catch (error) {
      // It always starts: ids that could not be read are unknown, their producers begin anew.
      const what = follows === true ? 'of an earlier lead cannot be forgotten' : 'cannot be read to their end';
      logger.error({ error: String(error) }, `the stored transactions ${what}`);
    }
    this.#state = 'running';
    const prepared: Promise<unknown>[] = [];
    for (const entry of this.#entries.values()) {
      const state = entry.value?.state;
      if (state === 'PrepareCommit' || state === 'PrepareAbort')
        prepared.push(this.#inTurn(entry, () => this.#finish(entry)));
      if (state === 'Ongoing') this.#armTimeout(entry);
    }
    await Promise.all(prepared);
    this.#timers.add(env.clock.every(EXPIRATION_CHECK_MS, () => this.#expireIdle()));
  }

  async #forgetAll(): Promise<void> {
    const { meta } = this.#parts;
    const operations: MetaOperation[] = [];
    for await (const { key } of meta.entries(TRANSACTION_RECORDS)) operations.push({ key, value: null });
    if (operations.length > 0) await meta.write(operations);
  }

  async #loadAll(): Promise<void> {
    const { meta, logger } = this.#parts;
    for await (const { key, value: bytes } of meta.entries(TRANSACTION_RECORDS)) {
      try {
        const { transactionalId, value } = decodeTransaction(key, bytes);
        this.#entry(transactionalId).value = value;
      } catch (error) {
        logger.error(
          { key: Buffer.from(key).toString('hex') },
          `a transaction record cannot be read: ${String(error)}`,
        );
      }
    }
  }

  /** Open transactions stay open in the store. */
  stop(): void {
    this.#state = 'stopped';
    for (const timer of this.#timers) timer.cancel();
    for (const { timeout } of this.#entries.values()) timeout?.cancel();
  }

  /** InitProducerId. `expected` (v3+) is what the producer has, or null. */
  async initProducerId(
    transactionalId: string | null,
    timeoutMs: number,
    expected: ProducerIdentity | null,
  ): Promise<{ error: number; producerId: number; epoch: number }> {
    const refuse = (error: number) => ({ error, producerId: -1, epoch: -1 });
    if (transactionalId === null) return { error: 0, producerId: await this.#parts.log.nextProducerId(), epoch: 0 };
    if (transactionalId === '' || transactionalId.length > TRANSACTIONAL_ID_MAX_CHARS) {
      return refuse(TXN_ERROR.INVALID_REQUEST);
    }
    if (timeoutMs <= 0 || timeoutMs > this.#settings.maxTimeoutMs) return refuse(TXN_ERROR.INVALID_TRANSACTION_TIMEOUT);
    const unready = this.#unready();
    if (unready !== 0) return refuse(unready);
    if (!this.#entries.has(transactionalId) && this.#entries.size >= TRANSACTIONAL_IDS_MAX) {
      return refuse(TXN_ERROR.THROTTLING_QUOTA_EXCEEDED);
    }
    const entry = this.#entry(transactionalId);
    return this.#inTurn(entry, async () => {
      const nextProducerId = () => this.#parts.log.nextProducerId();
      const before = entry.value ?? newTransaction(await nextProducerId(), timeoutMs);
      const newId = needsNewId(before, expected) ? await nextProducerId() : null;
      const error = await this.#decide(entry, initialize(before, expected, timeoutMs, newId, this.#wall()));
      if (error !== 0) return refuse(error);
      if (entry.value!.state === 'Empty')
        return { error, producerId: entry.value!.producerId, epoch: entry.value!.epoch };
      await this.#finish(entry);
      return refuse(TXN_ERROR.CONCURRENT_TRANSACTIONS);
    });
  }

  /** AddPartitionsToTxn for one id. The partitions must exist. Resolves with the error code when stored. */
  addPartitions(
    transactionalId: string,
    producer: ProducerIdentity,
    partitions: readonly TxnPartition[],
  ): Promise<number> {
    return this.#step(transactionalId, (value) => add(value, producer, { partitions }, this.#wall()));
  }

  /** AddOffsetsToTxn. */
  addGroup(transactionalId: string, producer: ProducerIdentity, groupId: string): Promise<number> {
    return this.#step(transactionalId, (value) => add(value, producer, { groups: [groupId] }, this.#wall()));
  }

  /** EndTxn: resolves when the end is stored and its markers are, or 0 earlier when those must be tried again. */
  end(transactionalId: string, producer: ProducerIdentity, commit: boolean): Promise<number> {
    return this.#step(transactionalId, (value) => end(value, producer, commit, this.#wall()));
  }

  /** Whether Produce may append for this producer to this partition now (TransactionGate of the Kafka edge). */
  admits(transactionalId: string, producerId: number, epoch: number, { topic, index }: Partition): number {
    const value = this.#entries.get(transactionalId)?.value;
    return admits(value, { producerId, epoch }, ({ partitions }) =>
      partitions.some((one) => one.partition === index && one.topic === topic.name && one.topicId === topic.id),
    );
  }

  /** Whether TxnOffsetCommit may hold offsets of this group back now. */
  admitsGroup(transactionalId: string, producer: ProducerIdentity, groupId: string): number {
    const value = this.#entries.get(transactionalId)?.value;
    return admits(value, producer, ({ groups }) => groups.includes(groupId));
  }

  /** AddPartitionsToTxn v4+ with verifyOnly (KIP-890): one error code per partition. */
  verify(
    transactionalId: string,
    producer: ProducerIdentity,
    partitions: readonly { topic: string; partition: number }[],
    absent: number,
  ): number[] {
    const value = this.#entries.get(transactionalId)?.value;
    return partitions.map(({ topic, partition }) => {
      if (value?.producerId !== producer.producerId) return TXN_ERROR.INVALID_PRODUCER_ID_MAPPING;
      if (value.epoch !== producer.epoch) return TXN_ERROR.PRODUCER_FENCED;
      if (value.state === 'PrepareCommit' || value.state === 'PrepareAbort') return TXN_ERROR.CONCURRENT_TRANSACTIONS;
      const isIn = value.partitions.some((one) => one.topic === topic && one.partition === partition);
      return isIn ? TXN_ERROR.NONE : absent;
    });
  }

  describe(transactionalId: string): TransactionDescription {
    if (transactionalId === '') return { error: TXN_ERROR.INVALID_REQUEST, transactionalId, value: null };
    const unready = this.#unready();
    if (unready !== 0) return { error: unready, transactionalId, value: null };
    const value = this.#entries.get(transactionalId)?.value ?? null;
    return { error: value === null ? TXN_ERROR.TRANSACTIONAL_ID_NOT_FOUND : 0, transactionalId, value };
  }

  list(filter: TransactionFilter): {
    error: number;
    unknownStates: string[];
    transactions: { transactionalId: string; producerId: number; state: string }[];
  } {
    const unknown = unknownStates(filter.states);
    const pattern = filter.pattern === null || filter.pattern === '' ? null : compilePattern(filter.pattern);
    const isBad = filter.pattern !== null && filter.pattern !== '' && pattern === null;
    const error = this.#unready() || (isBad ? TXN_ERROR.INVALID_REGULAR_EXPRESSION : 0);
    if (error !== 0) return { error, unknownStates: unknown, transactions: [] };
    const now = this.#parts.env.clock.now();
    const transactions = [...this.#entries.values()].flatMap(({ id, value }) => {
      if (value === undefined) return [];
      const { producerId, state, startedAt } = value;
      const row = { transactionalId: id, producerId, state, startedAt };
      return matchesFilter(row, filter, pattern, now) ? [{ transactionalId: id, producerId, state }] : [];
    });
    return { error: 0, unknownStates: unknown, transactions };
  }

  #step(transactionalId: string, decide: (value: TxnValue) => TxnDecision): Promise<number> {
    const unready = this.#unready();
    if (unready !== 0) return Promise.resolve(unready);
    if (transactionalId === '') return Promise.resolve(TXN_ERROR.INVALID_REQUEST);
    const entry = this.#entries.get(transactionalId);
    if (entry === undefined) return Promise.resolve(TXN_ERROR.INVALID_PRODUCER_ID_MAPPING);
    return this.#inTurn(entry, async () => {
      if (entry.value === undefined) return TXN_ERROR.INVALID_PRODUCER_ID_MAPPING;
      const before = entry.value;
      const error = await this.#decide(entry, decide(before));
      const prepared = entry.value.state === 'PrepareCommit' || entry.value.state === 'PrepareAbort';
      if (error === 0 && prepared && entry.value !== before) await this.#finish(entry);
      return error;
    });
  }

  /** Stores what was decided, then applies it. Resolves with the error code. */
  async #decide(entry: Entry, decision: TxnDecision): Promise<number> {
    if ('error' in decision) return decision.error;
    const { next } = decision;
    try {
      await this.#parts.meta.write([{ key: transactionKey(entry.id), value: encodeTransaction(next) }]);
    } catch (cause) {
      this.#failed(entry, cause);
      return TXN_ERROR.COORDINATOR_NOT_AVAILABLE;
    }
    const wasOpen = entry.value?.state === 'Ongoing';
    entry.value = next;
    if (next.state === 'Ongoing') {
      if (!wasOpen) this.#armTimeout(entry);
    } else {
      entry.timeout?.cancel();
      entry.timeout = null;
    }
    return TXN_ERROR.NONE;
  }

  /**
   * Carries out a stored end, in turn. When a marker or an offset cannot be stored now (disk full) the rest is tried again
   * later: the id stays prepared, and is busy (CONCURRENT_TRANSACTIONS) until then.
   */
  async #finish(entry: Entry): Promise<void> {
    const { log, env, offsets } = this.#parts;
    const value = entry.value!;
    const commit = value.state === 'PrepareCommit';
    try {
      // Offsets first: who sees the records of the transaction also finds its offsets.
      await Promise.all(value.groups.map((groupId) => offsets.endTransaction(groupId, value.producerId, commit)));
      const { failed, error } = await appendMarkers(log, env.clock, value, value.partitions);
      if (failed.length > 0) throw error ?? new HeadwaterError('STORE_FAILED', 'a marker could not be stored');
      const completed = complete(value, this.#wall());
      await this.#parts.meta.write([{ key: transactionKey(entry.id), value: encodeTransaction(completed) }]);
      entry.value = completed;
      this.#ended(commit ? 'commit' : 'abort').value++;
    } catch (cause) {
      this.#failed(entry, cause);
      this.#later(RETRY_MS, () => void this.#inTurn(entry, () => this.#finish(entry)));
    }
  }

  #later(ms: number, task: () => void): void {
    if (this.#state === 'stopped') return;
    const timer = this.#parts.env.clock.after(ms, () => {
      this.#timers.delete(timer);
      task();
    });
    this.#timers.add(timer);
  }

  #failed(entry: Entry, cause: unknown): void {
    const { code, message } = asHeadwaterError(cause);
    this.#parts.logger.error({ transactionalId: entry.id, code }, `transaction of ${entry.id}: ${message}`);
  }

  /** transaction.timeout.ms on the monotonic clock: a clock that steps aborts nothing. */
  #armTimeout(entry: Entry): void {
    entry.timeout?.cancel();
    if (this.#state !== 'running') return;
    const { timeoutMs } = entry.value!;
    entry.timeout = this.#parts.env.clock.after(timeoutMs, () => {
      entry.timeout = null;
      void this.#inTurn(entry, async () => {
        if (entry.value?.state !== 'Ongoing') return;
        const fenced = await this.#decide(entry, fence(entry.value, this.#wall()));
        if (fenced !== 0) {
          this.#later(RETRY_MS, () => this.#armTimeout(entry));
          return;
        }
        this.#parts.logger.info({ transactionalId: entry.id }, `transaction of ${entry.id} timed out and is aborted`);
        await this.#finish(entry);
      });
    });
  }

  #expireIdle(): void {
    const now = this.#parts.trustedNow === undefined ? this.#parts.env.clock.now() : this.#parts.trustedNow();
    if (now === null) return;
    for (const entry of this.#entries.values()) void this.#inTurn(entry, () => this.#expire(entry, now));
  }

  async #expire(entry: Entry, now: number): Promise<void> {
    const { value } = entry;
    if (value === undefined) {
      this.#entries.delete(entry.id);
      return;
    }
    const isIdle = value.state !== 'Ongoing' && value.state !== 'PrepareCommit' && value.state !== 'PrepareAbort';
    if (!isIdle) return;
    // Stamped by an untrusted clock: it begins to age now.
    if (value.updatedAt < 0) {
      await this.#decide(entry, { next: { ...value, updatedAt: now } });
      return;
    }
    const { writtenAt } = this.#parts;
    const written = writtenAt === undefined ? value.updatedAt : writtenAt(value.updatedAt);
    if (written === null || now - written < this.#settings.idExpirationMs) return;
    nextTxnState(value.state, 'expire');
    try {
      await this.#parts.meta.write([{ key: transactionKey(entry.id), value: null }]);
      this.#entries.delete(entry.id);
    } catch (cause) {
      this.#failed(entry, cause);
    }
  }

  #inTurn<T>(entry: Entry, task: () => Promise<T>): Promise<T> {
    const result = entry.tail.then(task);
    entry.tail = result.catch(() => {});
    return result;
  }

  #entry(transactionalId: string): Entry {
    let entry = this.#entries.get(transactionalId);
    if (entry === undefined) {
      entry = { id: transactionalId, value: undefined, tail: Promise.resolve(), timeout: null };
      this.#entries.set(transactionalId, entry);
    }
    return entry;
  }

  #unready(): number {
    if (this.#state === 'running') return 0;
    return this.#state === 'loading' ? TXN_ERROR.COORDINATOR_LOAD_IN_PROGRESS : TXN_ERROR.COORDINATOR_NOT_AVAILABLE;
  }

  #wall(): number {
    const { trustedNow, env } = this.#parts;
    return trustedNow === undefined ? env.clock.now() : (trustedNow() ?? -1);
  }
}
