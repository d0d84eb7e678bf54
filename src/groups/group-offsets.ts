/** Committed offsets: commit, fetch, delete, retention, and those that transactions hold back until they end. */
import type { Log } from '../log/types.ts';
import type { Metrics, Series } from '../metrics.ts';
import type { MetaOperation } from '../store/meta.ts';
import type { GroupCell } from './cell.ts';
import { GROUP_ERROR } from './errors.ts';
import { type CommittedOffset, expiredOffsets, type OffsetEntry, repeatedFor } from './offsets.ts';
import { encodeOffset, type GroupRecord, offsetKey, pendingKey } from './records.ts';
import { groupValue, NOTHING } from './step.ts';
import { alive } from './step-member.ts';
import { type CommitRequest, checkCommit } from './step-offsets.ts';
import { CONSUMER_PROTOCOL_TYPE, subscribedTopics } from './subscription.ts';

/** `offset.metadata.max.bytes`, in characters as clients count them. */
export const OFFSET_METADATA_MAX_CHARS = 4_096;

/** Between v2 and v4 clients could say for how long; -1 leaves it to the broker. */
export interface OffsetCommitRequest extends CommitRequest {
  readonly apiVersion: number;
  readonly retentionMs: number;
  readonly offsets: readonly OffsetToCommit[];
}

export interface OffsetToCommit {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly metadata: string | null;
}

export interface FetchedOffset {
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly metadata: string;
  readonly error: number;
}

export interface GroupOffsetsParts {
  readonly cells: ReadonlyMap<string, GroupCell>;
  /** Makes the group if need be; null at the bound of groups. */
  cellFor(groupId: string): GroupCell | null;
  isRunning(): boolean;
  mayCommit(): boolean;
  hasRoom(): boolean;
  readonly log: Log;
  readonly metrics: Metrics;
  trustedNow(): number | null;
  /** When what was stamped so was written, ms; null: nobody knows. */
  writtenAt(timestamp: number): number | null;
  readonly retentionMs: number;
}

const NO_OFFSET = { offset: -1, leaderEpoch: -1, metadata: '', error: 0 };

export class GroupOffsets {
  readonly #parts: GroupOffsetsParts;
  readonly #commits: Series;
  readonly #expired: Series;
  #order = 0;

  constructor(parts: GroupOffsetsParts) {
    this.#parts = parts;
    const { metrics } = parts;
    this.#commits = metrics.counter('headwater_groups_offset_commits_total', 'Committed offsets (partitions)');
    this.#expired = metrics.counter('headwater_groups_offsets_expired_total', 'Committed offsets removed by retention');
  }

  /** One error code per offset, in order. Resolves when what was accepted is durable. */
  commit(groupId: string, request: OffsetCommitRequest): Promise<readonly number[]> {
    return this.#commit(groupId, request, request.offsets, null, request.apiVersion, request.retentionMs);
  }

  /** The same for offsets that `producerId`'s transaction commits with everything else, or not at all (KIP-98). */
  commitPending(
    groupId: string,
    producerId: number,
    request: CommitRequest,
    offsets: readonly OffsetToCommit[],
  ): Promise<readonly number[]> {
    return this.#commit(groupId, request, offsets, producerId, 0, -1);
  }

  #commit(
    groupId: string,
    request: CommitRequest,
    offsets: readonly OffsetToCommit[],
    producerId: number | null,
    apiVersion: number,
    retentionMs: number,
  ): Promise<readonly number[]> {
    const all = (error: number) => Promise.resolve(offsets.map(() => error));
    const { isRunning, mayCommit, cells, cellFor } = this.#parts;
    // Of a full disk too: clients try again later, while they give up at KAFKA_STORAGE_ERROR.
    if (!isRunning() || !mayCommit()) return all(GROUP_ERROR.COORDINATOR_NOT_AVAILABLE);
    const transactional = producerId !== null;
    if (!cells.has(groupId)) {
      const error = checkCommit(undefined, request, transactional, apiVersion >= 9);
      if (error !== 0) return all(error);
    }
    const cell = cellFor(groupId);
    if (cell === null) return all(GROUP_ERROR.THROTTLING_QUOTA_EXCEEDED);
    return new Promise((resolve) => {
      cell.enqueue(() => {
        const refused = checkCommit(cell.group, request, transactional, apiVersion >= 9);
        if (refused !== 0) {
          resolve(offsets.map(() => refused));
          return;
        }
        this.#refresh(cell, request.memberId);
        this.#write(cell, offsets, producerId, retentionMs, resolve);
      });
    });
  }

  /** A commit is a sign of life, except while the group waits for the leader's assignment. */
  #refresh(cell: GroupCell, memberId: string): void {
    const { state } = cell.group;
    if (memberId === '' || (state !== 'Stable' && state !== 'PreparingRebalance')) return;
    cell.step((context) => ({ ...NOTHING, changes: alive(cell.group, memberId, context) }));
  }

  #write(
    cell: GroupCell,
    offsets: readonly OffsetToCommit[],
    producerId: number | null,
    retentionMs: number,
    resolve: (errors: readonly number[]) => void,
  ): void {
    const wall = this.#parts.trustedNow() ?? -1;
    const expiresAt = retentionMs >= 0 && wall >= 0 ? wall + retentionMs : -1;
    const operations: MetaOperation[] = [];
    const entries: OffsetEntry[] = [];
    let repeated = 0;
    const mayRepeat = producerId === null && cell.offsetsAreStored;
    const errors = offsets.map(({ topic: name, partition, offset, leaderEpoch, metadata }): number => {
      const topic = this.#parts.log.topic(name);
      if (topic?.partitions[partition] === undefined) return GROUP_ERROR.UNKNOWN_TOPIC_OR_PARTITION;
      if (metadata !== null && metadata.length > OFFSET_METADATA_MAX_CHARS)
        return GROUP_ERROR.OFFSET_METADATA_TOO_LARGE;
      if (!this.#parts.hasRoom() && cell.offsets.get(name, partition) === undefined) {
        return GROUP_ERROR.THROTTLING_QUOTA_EXCEEDED;
      }
      const value: CommittedOffset = {
        offset,
        leaderEpoch,
        metadata: metadata ?? '',
        committedAt: wall,
        expiresAt,
        order: ++this.#order,
      };
      const entry = { topic: name, topicId: topic.id, partition, value };
      if (mayRepeat && cell.offsets.isRepeated(entry, repeatedFor(this.#parts.retentionMs))) {
        repeated++;
        return GROUP_ERROR.NONE;
      }
      const groupId = cell.group.id;
      const key =
        producerId === null ? offsetKey(groupId, name, partition) : pendingKey(producerId, groupId, name, partition);
      operations.push({ key, value: encodeOffset(topic.id, value) });
      entries.push(entry);
      return GROUP_ERROR.NONE;
    });
    this.#commits.value += repeated;
    if (operations.length === 0) {
      resolve(errors);
      return;
    }
    cell.write(operations, (failed) => {
      if (failed !== null) {
        resolve(errors.map((error) => (error === 0 ? GROUP_ERROR.COORDINATOR_NOT_AVAILABLE : error)));
        return;
      }
      for (const entry of entries) {
        if (producerId === null) cell.offsets.put(entry);
        else cell.offsets.putPending(producerId, entry);
      }
      this.#commits.value += entries.length;
      resolve(errors);
    });
  }

  /** `requireStable` (OffsetFetch v7+, KIP-447): UNSTABLE_OFFSET_COMMIT while a transaction is about to commit. */
  fetch(groupId: string, topic: string, partitions: readonly number[], requireStable: boolean): FetchedOffset[] {
    const cell = this.#parts.cells.get(groupId);
    return partitions.map((partition) => {
      if (cell === undefined) return { partition, ...NO_OFFSET };
      if (requireStable && cell.offsets.isUnstable(topic, partition)) {
        return { partition, ...NO_OFFSET, error: GROUP_ERROR.UNSTABLE_OFFSET_COMMIT };
      }
      const found = cell.offsets.get(topic, partition);
      if (found === undefined) return { partition, ...NO_OFFSET };
      const { offset, leaderEpoch, metadata } = found;
      return { partition, offset, leaderEpoch, metadata, error: 0 };
    });
  }

  /** Topics and partitions with a commit. */
  committed(groupId: string, requireStable: boolean): { topic: string; partitions: FetchedOffset[] }[] {
    const cell = this.#parts.cells.get(groupId);
    if (cell === undefined) return [];
    const topics = new Set<string>();
    for (const { topic } of cell.offsets.entries()) topics.add(topic);
    return [...topics].map((topic) => ({
      topic,
      partitions: this.fetch(groupId, topic, cell.offsets.partitions(topic), requireStable),
    }));
  }

  /** OffsetDelete. `errors` is parallel to `offsets`, or empty when `error` refuses the whole. */
  delete(
    groupId: string,
    offsets: readonly { topic: string; partition: number }[],
  ): Promise<{ error: number; errors: readonly number[] }> {
    if (!this.#parts.isRunning()) return Promise.resolve({ error: GROUP_ERROR.COORDINATOR_NOT_AVAILABLE, errors: [] });
    const cell = this.#parts.cells.get(groupId);
    if (cell === undefined) return Promise.resolve({ error: GROUP_ERROR.GROUP_ID_NOT_FOUND, errors: [] });
    return new Promise((resolve) => {
      cell.enqueue(() => {
        const { group } = cell;
        if (group.state === 'Dead') return resolve({ error: GROUP_ERROR.GROUP_ID_NOT_FOUND, errors: [] });
        const busy = group.state !== 'Empty';
        if (busy && group.protocolType !== CONSUMER_PROTOCOL_TYPE) {
          return resolve({ error: GROUP_ERROR.NON_EMPTY_GROUP, errors: [] });
        }
        // Topics that cannot be known count as subscribed.
        const subscribed = busy ? subscribedTopics(group) : new Set<string>();
        const isSubscribed = (topic: string) => subscribed === null || subscribed.has(topic);
        const errors = offsets.map(({ topic, partition }) => {
          if (this.#parts.log.topic(topic)?.partitions[partition] === undefined) {
            return GROUP_ERROR.UNKNOWN_TOPIC_OR_PARTITION;
          }
          return isSubscribed(topic) ? GROUP_ERROR.GROUP_SUBSCRIBED_TO_TOPIC : GROUP_ERROR.NONE;
        });
        this.#forget(
          cell,
          offsets.filter((_, i) => errors[i] === 0),
          (failed) => {
            if (failed) resolve({ error: GROUP_ERROR.COORDINATOR_NOT_AVAILABLE, errors: [] });
            else resolve({ error: 0, errors });
          },
        );
      }, true);
    });
  }

  /** Deletes committed offsets; in turn and alone. */
  #forget(
    cell: GroupCell,
    gone: readonly { topic: string; partition: number }[],
    done: (failed: boolean) => void = () => {},
  ): void {
    const known = gone.filter(({ topic, partition }) => cell.offsets.get(topic, partition) !== undefined);
    if (known.length === 0) {
      done(false);
      return;
    }
    const operations = known.map(({ topic, partition }) => ({
      key: offsetKey(cell.group.id, topic, partition),
      value: null,
    }));
    cell.write(operations, (error) => {
      if (error === null) for (const { topic, partition } of known) cell.offsets.delete(topic, partition);
      done(error !== null);
    });
  }

  /**
   * The end of `producerId`'s transaction for one group: what it held back becomes a commit, or is dropped. Rejects when
   * that could not be stored; may be repeated.
   */
  endTransaction(groupId: string, producerId: number, commit: boolean): Promise<void> {
    const cell = this.#parts.cells.get(groupId);
    if (cell === undefined) return Promise.resolve();
    return new Promise((resolve, reject) => {
      cell.enqueue(() => {
        const held = cell.offsets.pendingOf(producerId);
        if (held.length === 0) return resolve();
        const released = commit
          ? held.filter((entry) => (cell.offsets.get(entry.topic, entry.partition)?.order ?? -1) < entry.value.order)
          : [];
        const groupIdOf = cell.group.id;
        const operations: MetaOperation[] = held.map(({ topic, partition }) => ({
          key: pendingKey(producerId, groupIdOf, topic, partition),
          value: null,
        }));
        for (const { topic, topicId, partition, value } of released) {
          operations.push({ key: offsetKey(groupIdOf, topic, partition), value: encodeOffset(topicId, value) });
        }
        cell.write(operations, (error) => {
          if (error !== null) return reject(error);
          for (const { topic, partition } of held) cell.offsets.deletePending(producerId, topic, partition);
          for (const entry of released) cell.offsets.put(entry);
          resolve();
        });
      }, true);
    });
  }

  /** At load. */
  load(cell: GroupCell, record: Extract<GroupRecord, { kind: 'offset' }>): void {
    const { topic, topicId, partition, value, producerId } = record;
    this.#order = Math.max(this.#order, value.order);
    if (producerId === null) cell.offsets.put({ topic, topicId, partition, value });
    else cell.offsets.putPending(producerId, { topic, topicId, partition, value });
  }

  /** A topic is deleted: its offsets go in every group (also those a transaction holds back). */
  forgetTopic(topic: string, topicId: string): void {
    for (const cell of this.#parts.cells.values()) {
      this.#forgetWhere(cell, (entry) => entry.topic === topic && entry.topicId === topicId);
    }
  }

  /** Offsets of topics that went while this coordinator was not there to see it. */
  dropOrphans(): void {
    for (const cell of this.#parts.cells.values()) {
      this.#forgetWhere(cell, ({ topic, topicId }) => this.#parts.log.topic(topic)?.id !== topicId);
    }
  }

  /**
   * This broker follows another from now on. Only the leader knows who is alive, so only the leader lets offsets age: the
   * stamps of an earlier lead go, and whatever is here begins to age when this broker leads (KIP-211 counts from when a
   * group became empty; until then nobody had the chance to come back). What transactions held back goes: the promotion
   * of the other broker aborted them.
   */
  follow(): void {
    for (const cell of this.#parts.cells.values()) {
      cell.enqueue(() => {
        this.#forgetPending(cell, () => true);
        const stamped = [...cell.offsets.entries()].filter(({ value }) => value.committedAt >= 0);
        this.#stamp(cell, stamped, { committedAt: -1, expiresAt: -1 });
      }, true);
    }
  }

  #forgetWhere(cell: GroupCell, goes: (entry: OffsetEntry) => boolean): void {
    cell.enqueue(() => {
      this.#forgetPending(cell, goes);
      this.#forget(cell, [...cell.offsets.entries()].filter(goes));
    }, true);
  }

  /** In turn and alone. */
  #forgetPending(cell: GroupCell, goes: (entry: OffsetEntry) => boolean): void {
    const held = [...cell.offsets.pending()].filter(({ entry }) => goes(entry));
    if (held.length === 0) return;
    const operations = held.map(({ producerId, entry }) => ({
      key: pendingKey(producerId, cell.group.id, entry.topic, entry.partition),
      value: null,
    }));
    cell.write(operations, (error) => {
      if (error !== null) return;
      for (const { producerId, entry } of held) cell.offsets.deletePending(producerId, entry.topic, entry.partition);
    });
  }

  /** The same offsets with other times; in turn and alone. */
  #stamp(cell: GroupCell, entries: readonly OffsetEntry[], times: Partial<CommittedOffset>): void {
    if (entries.length === 0) return;
    const stamped = entries.map((entry) => ({ ...entry, value: { ...entry.value, ...times } }));
    const operations = stamped.map(({ topic, topicId, partition, value }) => ({
      key: offsetKey(cell.group.id, topic, partition),
      value: encodeOffset(topicId, value),
    }));
    cell.write(operations, (error) => {
      if (error === null) for (const entry of stamped) cell.offsets.put(entry);
    });
  }

  /**
   * Forgets what is older than `offsets.retention.minutes`, and groups that have nothing left. Only on trusted time: what
   * an untrusted clock stamped is stamped anew and begins to age now; so is what came from the broker that led before.
   */
  enforceRetention(): void {
    const now = this.#parts.trustedNow();
    if (now === null) return;
    for (const cell of this.#parts.cells.values()) cell.enqueue(() => this.#retain(cell, now), true);
  }

  #retain(cell: GroupCell, now: number): void {
    const { group, offsets } = cell;
    const unstamped = [...offsets.entries()].filter(({ value }) => value.committedAt < 0);
    if (unstamped.length > 0) {
      this.#stamp(cell, unstamped, { committedAt: now });
      return;
    }
    if (group.state === 'Empty' && group.stateAt < 0 && group.generation > 0) {
      cell.step((context) => {
        if (group.state !== 'Empty') return NOTHING;
        const value = { ...groupValue(group, context, 'Empty', []), stateAt: now };
        return { changes: [{ kind: 'metadata', move: 'loaded', value }], answers: [] };
      });
      return;
    }
    const old = expiredOffsets(group, offsets, now, this.#parts.retentionMs, this.#parts.writtenAt);
    this.#forget(cell, old, (failed) => {
      if (failed) return;
      this.#expired.value += old.length;
      const isVoid = () => group.state === 'Empty' && group.pending.size === 0 && offsets.isEmpty;
      if (isVoid()) cell.step(() => (isVoid() ? { changes: [{ kind: 'removed' }], answers: [] } : NOTHING), true);
    });
  }
}
