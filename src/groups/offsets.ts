/** The committed offsets of one group in memory, and the rule when they may be forgotten. */
import type { Group } from './group.ts';
import { subscribedTopics } from './subscription.ts';

export interface CommittedOffset {
  readonly offset: number;
  /** -1: unknown. */
  readonly leaderEpoch: number;
  readonly metadata: string;
  /**
   * Milliseconds since 1970; -1 when the clock was not to be trusted. Commits that repeat it are not stored for
   * `repeatedFor` ms: the last of them may have come that much later.
   */
  readonly committedAt: number;
  /** Set by clients of OffsetCommit v2-4 (retention_time_ms); -1: the broker's retention. */
  readonly expiresAt: number;
  /** Ascends with every commit of this broker: the later of a commit and a transaction's commit wins. */
  readonly order: number;
}

/**
 * How long a commit that says what is stored already is acknowledged without a write, ms. Java's consumers commit their
 * positions every five seconds whether they moved or not. Apache Kafka appends a record each time, which here would be a
 * synced write each: some 350 MB a day of an idle consumer. What such a commit does change is how old the offset is for
 * retention, so retention waits as much longer (`expiredOffsets`): an offset is never forgotten earlier than Kafka would.
 */
const REPEATED_MAX_MS = 600_000;

export function repeatedFor(retentionMs: number): number {
  return Math.min(REPEATED_MAX_MS, retentionMs / 100);
}

interface TopicOffsets {
  readonly topicId: string;
  readonly partitions: Map<number, CommittedOffset>;
}

export interface OffsetEntry {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly value: CommittedOffset;
}

function put(topics: Map<string, TopicOffsets>, entry: OffsetEntry): number {
  let of = topics.get(entry.topic);
  let bytes = 0;
  if (of === undefined || of.topicId !== entry.topicId) {
    if (of !== undefined) for (const value of of.partitions.values()) bytes -= entryBytes(value);
    else bytes += 256;
    of = { topicId: entry.topicId, partitions: new Map() };
    topics.set(entry.topic, of);
  }
  const before = of.partitions.get(entry.partition);
  of.partitions.set(entry.partition, entry.value);
  return bytes + entryBytes(entry.value) - (before === undefined ? 0 : entryBytes(before));
}

function take(topics: Map<string, TopicOffsets>, topic: string, partition: number): number {
  const of = topics.get(topic);
  const value = of?.partitions.get(partition);
  if (of === undefined || value === undefined) return 0;
  of.partitions.delete(partition);
  if (of.partitions.size > 0) return -entryBytes(value);
  topics.delete(topic);
  return -entryBytes(value) - 256;
}

/** What the client asked for, ms; -1: nothing. */
const keptFor = ({ expiresAt, committedAt }: CommittedOffset) => (expiresAt < 0 ? -1 : expiresAt - committedAt);

const entryBytes = (value: CommittedOffset) => 128 + 2 * value.metadata.length;

function* entriesOf(topics: ReadonlyMap<string, TopicOffsets>): Iterable<OffsetEntry> {
  for (const [topic, { topicId, partitions }] of topics) {
    for (const [partition, value] of partitions) yield { topic, topicId, partition, value };
  }
}

export class OffsetTable {
  readonly #topics = new Map<string, TopicOffsets>();
  /** By producer id: what its open transaction will commit. */
  readonly #pending = new Map<number, Map<string, TopicOffsets>>();
  /** Estimated from above. */
  bytes = 0;

  get isEmpty(): boolean {
    return this.#topics.size === 0 && this.#pending.size === 0;
  }

  get(topic: string, partition: number): CommittedOffset | undefined {
    return this.#topics.get(topic)?.partitions.get(partition);
  }

  put(entry: OffsetEntry): void {
    this.bytes += put(this.#topics, entry);
  }

  /**
   * Whether a commit says what is there, of not more than `withinMs` ago. Not while a transaction is about to commit the
   * partition: the later of the two wins.
   */
  isRepeated({ topic, topicId, partition, value }: OffsetEntry, withinMs: number): boolean {
    const of = this.#topics.get(topic);
    const before = of?.topicId === topicId ? of.partitions.get(partition) : undefined;
    if (before === undefined || this.isUnstable(topic, partition)) return false;
    if (before.offset !== value.offset || before.leaderEpoch !== value.leaderEpoch) return false;
    if (before.metadata !== value.metadata || keptFor(before) !== keptFor(value)) return false;
    // Without a time, only what has none either: it is given one when the clock is believed (retention).
    if (before.committedAt < 0 || value.committedAt < 0) return before.committedAt === value.committedAt;
    const age = value.committedAt - before.committedAt;
    return age >= 0 && age < withinMs;
  }

  delete(topic: string, partition: number): void {
    this.bytes += take(this.#topics, topic, partition);
  }

  entries(): Iterable<OffsetEntry> {
    return entriesOf(this.#topics);
  }

  /** Of the topic, or of all topics. */
  partitions(topic: string): number[] {
    return [...(this.#topics.get(topic)?.partitions.keys() ?? [])];
  }

  putPending(producerId: number, entry: OffsetEntry): void {
    let topics = this.#pending.get(producerId);
    if (topics === undefined) {
      topics = new Map();
      this.#pending.set(producerId, topics);
    }
    this.bytes += put(topics, entry);
  }

  deletePending(producerId: number, topic: string, partition: number): void {
    const topics = this.#pending.get(producerId);
    if (topics === undefined) return;
    this.bytes += take(topics, topic, partition);
    if (topics.size === 0) this.#pending.delete(producerId);
  }

  pendingOf(producerId: number): OffsetEntry[] {
    return [...entriesOf(this.#pending.get(producerId) ?? new Map())];
  }

  *pending(): Iterable<{ producerId: number; entry: OffsetEntry }> {
    for (const [producerId, topics] of this.#pending) {
      for (const entry of entriesOf(topics)) yield { producerId, entry };
    }
  }

  /** KIP-447: an open transaction is about to commit this partition. */
  isUnstable(topic: string, partition: number): boolean {
    for (const topics of this.#pending.values()) if (topics.get(topic)?.partitions.has(partition)) return true;
    return false;
  }
}

/**
 * Which offsets retention may forget at `now` (trusted milliseconds since 1970). Counted from when the group became
 * empty; for a group without members ever, from each commit; for a group at work only topics it no longer subscribes to
 * (KIP-211). What was stamped by an untrusted clock never counts as old: the caller stamps it anew first. `writtenAt`
 * corrects what a wrong clock stamped; null: nobody knows, and it is not old.
 * A commit counts as `repeatedFor` ms younger than its stamp: it may have been repeated.
 */
export function expiredOffsets(
  group: Group,
  offsets: OffsetTable,
  now: number,
  retentionMs: number,
  writtenAt: (timestamp: number) => number | null,
): OffsetEntry[] {
  const lasted = (since: number, ms: number): boolean => {
    const written = writtenAt(since);
    return written !== null && now - written >= ms;
  };
  const committed = (value: CommittedOffset, ms: number) => lasted(value.committedAt, ms + repeatedFor(retentionMs));
  const subscribed = group.state === 'Stable' ? subscribedTopics(group) : null;
  const isOld = ({ topic, partition, value }: OffsetEntry): boolean => {
    if (value.committedAt < 0 || offsets.isUnstable(topic, partition)) return false;
    if (group.protocolType === null) {
      return committed(value, value.expiresAt >= 0 ? keptFor(value) : retentionMs);
    }
    if (group.state === 'Empty') {
      if (value.expiresAt >= 0) return committed(value, keptFor(value));
      return group.stateAt >= 0 && lasted(group.stateAt, retentionMs) && committed(value, retentionMs);
    }
    return subscribed !== null && !subscribed.has(topic) && committed(value, retentionMs);
  };
  return [...offsets.entries()].filter(isOld);
}
