/** A consumer for tools: partitions given by hand, or shared with the members of a group. */
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import { openBatch } from '../wire/batch/compression.ts';
import {
  baseOffsetOf,
  isControl,
  isTransactional,
  nextOffsetOf,
  producerIdOf,
  splitBatches,
} from '../wire/batch/record-batch.ts';
import type { DecodedHeader } from '../wire/batch/record-cursor.ts';
import { fetch } from '../wire/kafka/api/01-fetch.ts';
import type { ResponseOf } from '../wire/kafka/schema.ts';
import { Admin } from './admin.ts';
import type { Cluster, TopicMetadata } from './cluster.ts';
import { checkCode, UpstreamError } from './error.ts';
import { GroupMembership, type TopicPartitions } from './membership.ts';

const KiB = 1024;
const OFFSET_OUT_OF_RANGE = 1;

export interface ConsumedRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  /** Views of the response: copy what you keep. */
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly DecodedHeader[];
}

export interface ConsumerOptions {
  readonly group?: string;
  readonly instanceId?: string;
  /** Where to begin without a committed offset; `latest`. */
  readonly from?: 'earliest' | 'latest';
  /** An offset that is not there, any more or yet, becomes the nearest that is; otherwise what `from` says. */
  readonly nearest?: boolean;
  readonly isolation?: 'read_committed' | 'read_uncommitted';
  /** How long the server may wait for records, milliseconds. */
  readonly maxWaitMs?: number;
  /** Of one answer. */
  readonly maxBytes?: number;
  readonly sessionTimeoutMs?: number;
  /** How often offsets are committed, milliseconds; 0: only by `commit`. */
  readonly autoCommitMs?: number;
}

export interface Assignment {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number | 'earliest' | 'latest';
}

export interface Position {
  readonly topic: string;
  readonly partition: number;
  /** The next record to be read. */
  readonly offset: number;
  /** -1 before the first answer. */
  readonly highWatermark: number;
  /** What kept it from being read in the last round, also when it passes and others were read; null: nothing. */
  readonly error: HeadwaterError | null;
}

/** Everything that is there was read, and nothing kept it from being read. */
export function isAtEnd({ offset, highWatermark, error }: Position): boolean {
  return error === null && highWatermark >= 0 && offset >= highWatermark;
}

interface Reading {
  readonly topic: string;
  readonly partition: number;
  offset: number;
  highWatermark: number;
  error: HeadwaterError | null;
}

/** These could not be read in this round. */
type Failed = (readings: readonly Reading[], error: unknown) => void;

type PartitionAnswer = ResponseOf<typeof fetch>['responses'][number]['partitions'][number];

export class Consumer {
  readonly #cluster: Cluster;
  readonly #admin: Admin;
  readonly #options: ConsumerOptions;
  readonly #membership: GroupMembership | null;
  #subscribed: readonly string[] = [];
  #readings: Reading[] = [];
  #topics = new Map<string, TopicMetadata>();
  #lastCommit = 0;
  #committed = new Map<string, number>();
  #closed = false;
  #turn = 0;
  /** Of a round that had records as well: thrown by the next one. */
  #failure: unknown = null;

  constructor(cluster: Cluster, options: ConsumerOptions = {}) {
    this.#cluster = cluster;
    this.#admin = new Admin(cluster);
    this.#options = options;
    this.#membership =
      options.group === undefined
        ? null
        : new GroupMembership(cluster, {
            group: options.group,
            instanceId: options.instanceId ?? null,
            sessionTimeoutMs: options.sessionTimeoutMs ?? 30_000,
          });
  }

  /** With a group: joins it. Without: all partitions of the topics. */
  async subscribe(topics: readonly string[]): Promise<void> {
    this.#subscribed = topics;
    if (this.#membership !== null) {
      await this.#join();
      return;
    }
    const from = this.#options.from ?? 'latest';
    const found = await this.#admin.topics(topics);
    await this.assign(
      found.flatMap((topic) =>
        topic.partitions.map(({ index }) => ({ topic: topic.name, partition: index, offset: from })),
      ),
    );
  }

  async assign(assignments: readonly Assignment[]): Promise<void> {
    const offsets = await this.#admin.offsets(
      assignments
        .filter(({ offset }) => typeof offset === 'string')
        .map(({ topic, partition, offset }) => ({ topic, partition, timestamp: offset === 'earliest' ? -2 : -1 })),
    );
    this.#topics.clear();
    this.#readings = assignments.map(({ topic, partition, offset }) => ({
      topic,
      partition,
      offset:
        typeof offset === 'number'
          ? offset
          : offsets.find((answer) => answer.topic === topic && answer.partition === partition)!.offset,
      highWatermark: -1,
      error: null,
    }));
  }

  async #join(): Promise<void> {
    const membership = this.#membership!;
    const assigned = await membership.join(this.#subscribed);
    await this.#resume(assigned);
  }

  /** Starts where the group has committed. */
  async #resume(assigned: readonly TopicPartitions[]): Promise<void> {
    const from = this.#options.from ?? 'latest';
    const { group } = this.#options;
    const committed = assigned.length === 0 ? [] : await this.#admin.groupOffsets(group!, assigned);
    this.#committed = new Map(committed.map(({ topic, partition, offset }) => [`${topic}/${partition}`, offset]));
    await this.assign(
      assigned.flatMap(({ topic, partitions }) =>
        partitions.map((partition) => ({
          topic,
          partition,
          offset: this.#committed.get(`${topic}/${partition}`) ?? from,
        })),
      ),
    );
    this.#lastCommit = this.#cluster.env.clock.monotonic();
  }

  positions(): Position[] {
    return this.#readings.map((reading) => ({ ...reading }));
  }

  /** One round of fetches: the records, or none when `maxWaitMs` passed without any. */
  async poll(): Promise<ConsumedRecord[]> {
    if (this.#closed) throw new HeadwaterError('CONNECTION_LOST', 'the consumer is closed');
    await this.#maintain();
    if (this.#readings.length === 0) {
      await new Promise<void>((resolve) => {
        this.#cluster.env.clock.after(this.#options.maxWaitMs ?? 500, resolve);
      });
      return [];
    }
    if (this.#failure !== null) {
      const failure = this.#failure;
      this.#failure = null;
      throw failure;
    }
    const records: ConsumedRecord[] = [];
    try {
      await this.#round(records);
    } catch (error) {
      this.#topics.clear();
      const again = !this.#closed && passes(error);
      // The positions are behind these already: they are given out whatever happened to other partitions.
      if (records.length > 0) {
        if (!again) this.#failure = error;
        return records;
      }
      if (!again) throw error;
      await new Promise<void>((resolve) => {
        this.#cluster.env.clock.after(200, resolve);
      });
    }
    return records;
  }

  /** One fetch from every leader. When all were asked an error is thrown: the first that does not pass, or else the first. */
  async #round(into: ConsumedRecord[]): Promise<void> {
    const errors: unknown[] = [];
    const failed: Failed = (readings, error) => {
      for (const reading of readings) reading.error = asHeadwaterError(error);
      errors.push(error);
    };
    const byLeader = await this.#readingsByLeader(failed);
    // Leaders in turn: the first one's long poll must not starve the others for ever.
    const leaders = [...byLeader];
    const first = leaders.length === 0 ? 0 : this.#turn++ % leaders.length;
    for (const [leaderId, readings] of [...leaders.slice(first), ...leaders.slice(0, first)]) {
      const waitMs = leaders.length === 1 || into.length === 0 ? (this.#options.maxWaitMs ?? 500) : 0;
      try {
        await this.#fetch(leaderId, readings, Math.ceil(waitMs / leaders.length), into, failed);
      } catch (error) {
        failed(readings, error);
      }
    }
    if (errors.length > 0) throw errors.find((error) => !passes(error)) ?? errors[0];
  }

  /** What is due between fetches: a rebalance, a commit. */
  async #maintain(): Promise<void> {
    const membership = this.#membership;
    if (membership === null) return;
    const { autoCommitMs = 5_000 } = this.#options;
    const due = autoCommitMs > 0 && this.#cluster.env.clock.monotonic() - this.#lastCommit >= autoCommitMs;
    if (due || membership.mustRejoin) await this.#autoCommit();
    if (membership.mustRejoin) await this.#join();
  }

  async #autoCommit(): Promise<void> {
    if ((this.#options.autoCommitMs ?? 5_000) === 0) return;
    try {
      await this.commit();
    } catch (error) {
      // The group moved on without us: what was not committed is read again by its new owner.
      if (!(error instanceof UpstreamError)) throw error;
    }
  }

  /** A partition without a leader, or a topic that is not there, goes to `failed` and holds no other. */
  async #readingsByLeader(failed: Failed): Promise<Map<number, Reading[]>> {
    const byLeader = new Map<number, Reading[]>();
    for (const [name, readings] of byTopic(this.#readings)) {
      let topic = this.#topics.get(name);
      if (topic === undefined) {
        try {
          topic = await this.#cluster.topic(name);
        } catch (error) {
          // Nobody answers: asking for each topic again would take as long again.
          failed(error instanceof UpstreamError ? readings : this.#readings, error);
          if (error instanceof UpstreamError) continue;
          throw error;
        }
        this.#topics.set(name, topic);
      }
      for (const reading of readings) {
        const leader = topic.partitions.find(({ index }) => index === reading.partition)?.leader ?? -1;
        if (leader < 0) failed([reading], new UpstreamError(5, `${reading.topic}-${reading.partition}`));
        else byLeader.set(leader, [...(byLeader.get(leader) ?? []), reading]);
      }
    }
    return byLeader;
  }

  async #fetch(
    leaderId: number,
    readings: readonly Reading[],
    maxWaitMs: number,
    into: ConsumedRecord[],
    failed: Failed,
  ): Promise<void> {
    const { maxBytes = 1_024 * KiB, isolation = 'read_committed' } = this.#options;
    const connection = await this.#cluster.broker(leaderId);
    const body = {
      maxWaitMs,
      minBytes: 1,
      maxBytes,
      isolationLevel: isolation === 'read_committed' ? 1 : 0,
      topics: [...byTopic(readings)].map(([topic, list]) => ({
        topic,
        partitions: list.map(({ partition, offset }) => ({
          partition,
          fetchOffset: offset,
          partitionMaxBytes: maxBytes,
        })),
      })),
    };
    // v13 and later name topics by id.
    const answer = await connection.send(fetch, body, { maxVersion: 12, timeoutMs: maxWaitMs + 30_000 });
    checkCode(answer.errorCode, 'fetch');
    for (const { topic, partitions } of answer.responses) {
      for (const partition of partitions) {
        const reading = readings.find((one) => one.topic === topic && one.partition === partition.partitionIndex);
        if (reading === undefined) continue;
        try {
          await this.#take(reading, partition, into);
          reading.error = null;
        } catch (error) {
          failed([reading], error);
        }
      }
    }
  }

  async #take(reading: Reading, answer: PartitionAnswer, into: ConsumedRecord[]): Promise<void> {
    const { topic, partition } = reading;
    if (answer.errorCode === OFFSET_OUT_OF_RANGE) {
      reading.offset = await this.#offsetInRange(reading);
      return;
    }
    checkCode(answer.errorCode, `fetch of ${topic}-${partition}`);
    reading.highWatermark = answer.highWatermark;
    const aborted = abortedFilter(answer.abortedTransactions ?? []);
    for (const batch of splitBatches(answer.records ?? new Uint8Array(0))) {
      const skip = aborted(batch) || isControl(batch);
      if (!skip) {
        const cursor = await openBatch(batch);
        while (cursor.next()) {
          // A batch is sent whole: it may begin before the offset asked for.
          if (cursor.offset < reading.offset) continue;
          const { offset, timestamp, key, value } = cursor;
          into.push({ topic, partition, offset, timestamp, key, value, headers: cursor.headers() });
          reading.offset = offset + 1;
        }
      }
      reading.offset = Math.max(reading.offset, nextOffsetOf(batch));
    }
  }

  async #offsetInRange({ topic, partition, offset }: Reading): Promise<number> {
    const { from = 'latest', nearest = false } = this.#options;
    const at = async (timestamp: number) => (await this.#admin.offsets([{ topic, partition, timestamp }]))[0]!.offset;
    if (!nearest) return at(from === 'earliest' ? -2 : -1);
    const first = await at(-2);
    return offset < first ? first : at(-1);
  }

  /** Commits the positions, or these next offsets, for the group. */
  async commit(upTo: readonly { topic: string; partition: number; offset: number }[] = this.#readings): Promise<void> {
    const membership = this.#membership;
    if (membership === null) throw new HeadwaterError('INVALID_REQUEST', 'commit: this consumer has no group');
    const moved = upTo.filter(({ topic, partition, offset }) => {
      return this.#committed.get(`${topic}/${partition}`) !== offset;
    });
    this.#lastCommit = this.#cluster.env.clock.monotonic();
    if (moved.length === 0) return;
    const offsets = moved.map(({ topic, partition, offset }) => ({ topic, partition, offset }));
    await membership.commit(offsets);
    for (const { topic, partition, offset } of offsets) this.#committed.set(`${topic}/${partition}`, offset);
  }

  /** Commits what was polled (unless autoCommitMs is 0) and leaves the group. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#membership === null) return;
    try {
      await this.#autoCommit();
    } finally {
      await this.#membership.leave();
    }
  }
}

function passes(error: unknown): boolean {
  return error instanceof HeadwaterError && error.retriable;
}

function byTopic(readings: readonly Reading[]): Map<string, Reading[]> {
  const topics = new Map<string, Reading[]>();
  for (const reading of readings) {
    const list = topics.get(reading.topic);
    if (list === undefined) topics.set(reading.topic, [reading]);
    else list.push(reading);
  }
  return topics;
}

/**
 * KIP-98: batches of a producer are dropped from `firstOffset` of its aborted transaction until its abort marker. The list
 * comes in order of first offset.
 */
function abortedFilter(
  aborted: readonly { producerId: number; firstOffset: number }[],
): (batch: Uint8Array) => boolean {
  let next = 0;
  const open = new Set<number>();
  const inOrder = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset);
  return (batch) => {
    while (next < inOrder.length && inOrder[next]!.firstOffset <= baseOffsetOf(batch))
      open.add(inOrder[next++]!.producerId);
    if (!isTransactional(batch)) return false;
    const producer = producerIdOf(batch);
    if (isControl(batch)) {
      open.delete(producer);
      return true;
    }
    return open.has(producer);
  };
}
