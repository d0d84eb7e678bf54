/**
 * The group coordinator: consumer groups of the classic protocol (KIP-394, KIP-345, KIP-429, KIP-559, KIP-814). It finds
 * the group, hands the request to a pure step, and lets the group's cell store and apply what was decided.
 * `offsets` is the other half: commits, and what reads them.
 */
import type { Env, Timer } from '../env.ts';
import type { HeadwaterError } from '../errors.ts';
import { GROUP_MEMBERS_MAX, GROUP_METADATA_MAX_BYTES, GROUPS_MAX, GROUPS_TOTAL_MAX_BYTES } from '../limits.ts';
import type { Log } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Metrics, Series } from '../metrics.ts';
import type { MetaStore } from '../store/meta.ts';
import { type CellHost, GroupCell } from './cell.ts';
import { GROUP_ERROR } from './errors.ts';
import { EMPTY_BYTES, type JoinResult, type MemberValue, metadataOf, type SyncResult } from './group.ts';
import { GroupOffsets } from './group-offsets.ts';
import { decodeRecord, GROUP_RECORDS, type GroupRecord } from './records.ts';
import type { GroupState } from './states.ts';
import { type GroupOptions, joinError, release, type StepContext, syncError } from './step.ts';
import { type JoinRequest, join } from './step-join.ts';
import {
  dropMembers,
  heartbeat,
  type Leaver,
  leave,
  type MemberRequest,
  type SyncRequest,
  sync,
} from './step-member.ts';

export interface GroupSettings {
  /** `group.initial.rebalance.delay.ms`, 0 to 2^31-1. Kafka's default is 3000; an edge broker has few members. */
  readonly initialRebalanceDelayMs: number;
  /** `group.min.session.timeout.ms` (Kafka: 6000), `group.max.session.timeout.ms` (Kafka: 1800000). */
  readonly minSessionTimeoutMs: number;
  readonly maxSessionTimeoutMs: number;
  /** `offsets.retention.minutes` in milliseconds (Kafka: 7 days). */
  readonly offsetsRetentionMs: number;
  /** `offsets.retention.check.interval.ms` (Kafka: 600000). */
  readonly retentionCheckMs: number;
}

export const DEFAULT_GROUP_SETTINGS: GroupSettings = {
  initialRebalanceDelayMs: 500,
  minSessionTimeoutMs: 6_000,
  maxSessionTimeoutMs: 1_800_000,
  offsetsRetentionMs: 7 * 86_400_000,
  retentionCheckMs: 600_000,
};

export interface GroupCoordinatorParts {
  readonly meta: MetaStore;
  readonly log: Log;
  readonly env: Env;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Wall clock in milliseconds, or null while it is not to be trusted (DESIGN 8). Default: always trusted. */
  readonly trustedNow?: () => number | null;
  /** When what the clock stamped was written, ms, where the clock was wrong; null: nobody knows. Default: the stamp. */
  readonly writtenAt?: (timestamp: number) => number | null;
  /**
   * Another broker leads and decides what is forgotten; this one only has what that one has (a standby). It tells no time
   * then: nothing is stamped, and what is not stamped does not age. Default: it leads.
   */
  readonly follows?: boolean;
  /** Whether there is space for commits. Default: always. */
  readonly mayCommit?: () => boolean;
  readonly settings?: Partial<GroupSettings>;
}

/** Kafka's authorizer and clients know no longer ones; the bound keeps keys and memory small. */
const GROUP_ID_MAX_CHARS = 1_024;

export interface GroupListing {
  readonly groupId: string;
  readonly protocolType: string;
  readonly state: GroupState;
}

export interface MemberDescription {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly metadata: Uint8Array;
  readonly assignment: Uint8Array;
}

export interface GroupDescription {
  /** `Dead` with an error for a group that does not exist. */
  readonly error: number;
  readonly groupId: string;
  readonly state: GroupState;
  readonly protocolType: string;
  readonly protocolName: string;
  readonly members: readonly MemberDescription[];
}

export class GroupCoordinator {
  readonly offsets: GroupOffsets;
  readonly #cells = new Map<string, GroupCell>();
  readonly #parts: GroupCoordinatorParts;
  readonly #settings: GroupSettings;
  readonly #options: GroupOptions;
  readonly #host: CellHost;
  readonly #rebalances: Series;
  #bytes = 0;
  #state: 'created' | 'loading' | 'running' | 'stopped' = 'created';
  #retention: Timer | null = null;

  constructor(parts: GroupCoordinatorParts) {
    this.#parts = parts;
    this.#settings = { ...DEFAULT_GROUP_SETTINGS, ...parts.settings };
    this.#options = { ...this.#settings, membersMax: GROUP_MEMBERS_MAX, metadataMaxBytes: GROUP_METADATA_MAX_BYTES };
    const { metrics, logger, env, meta } = parts;
    this.#rebalances = metrics.counter('headwater_groups_rebalances_total', 'Completed rebalances of consumer groups');
    metrics.gauge('headwater_groups', 'Consumer groups known', () => this.#cells.size);
    metrics.gauge('headwater_groups_memory_bytes', 'Memory held by groups and their offsets', () => this.#bytes);
    metrics.gauge('headwater_groups_members', 'Members of consumer groups', () => {
      let members = 0;
      for (const cell of this.#cells.values()) members += cell.group.members.size;
      return members;
    });
    this.#host = {
      meta,
      clock: env.clock,
      context: () => this.#context(),
      account: (bytes) => {
        this.#bytes += bytes;
      },
      idle: (cell) => {
        if (this.#cells.get(cell.group.id) !== cell) return;
        this.#cells.delete(cell.group.id);
        cell.forget();
      },
      writeFailed: (cell: GroupCell, error: HeadwaterError) => {
        logger.error({ group: cell.group.id, code: error.code }, `group ${cell.group.id}: ${error.message}`);
      },
      rebalanced: () => {
        this.#rebalances.value++;
      },
    };
    this.offsets = new GroupOffsets({
      cells: this.#cells,
      cellFor: (groupId) => this.#cellFor(groupId),
      isRunning: () => this.#state === 'running',
      mayCommit: parts.mayCommit ?? (() => true),
      hasRoom: () => this.#bytes < GROUPS_TOTAL_MAX_BYTES,
      log: parts.log,
      metrics,
      trustedNow: () => this.#trustedNow(),
      writtenAt: parts.writtenAt ?? ((timestamp) => timestamp),
      retentionMs: this.#settings.offsetsRetentionMs,
    });
  }

  /** Loads what is stored; the log must be open. Members found stored have one session timeout to be heard of. */
  async start(): Promise<void> {
    this.#state = 'loading';
    const { logger, log, env } = this.#parts;
    try {
      await this.#loadAll();
    } catch (error) {
      // It always starts: what could be read is there, members and admins are told of the rest as unknown.
      logger.error({ error: String(error) }, 'the stored groups cannot be read to their end');
    }
    for (const cell of this.#cells.values()) cell.settle();
    this.#state = 'running';
    log.onTopicEvent(({ kind, topic }) => {
      if (kind === 'deleted' && this.#state === 'running') this.offsets.forgetTopic(topic.name, topic.id);
    });
    this.offsets.dropOrphans();
    if (this.#parts.follows === true) {
      this.offsets.follow();
      for (const cell of [...this.#cells.values()]) cell.step((context) => dropMembers(cell.group, context));
    }
    for (const cell of [...this.#cells.values()]) cell.begin();
    this.#retention = env.clock.every(this.#settings.retentionCheckMs, () => this.offsets.enforceRetention());
  }

  async #loadAll(): Promise<void> {
    const { meta, logger } = this.#parts;
    for await (const { key, value } of meta.entries(GROUP_RECORDS)) {
      let record: GroupRecord;
      try {
        record = decodeRecord(key, value);
      } catch (error) {
        // Left where it is: a later version may read it, and nothing else depends on it.
        logger.error({ key: Buffer.from(key).toString('hex') }, `a group record cannot be read: ${String(error)}`);
        continue;
      }
      const cell = this.#load(record.groupId);
      if (record.kind === 'group') cell.load(record.value);
      else this.offsets.load(cell, record);
    }
  }

  /** Answers who waits; nothing more is written by this coordinator. */
  stop(): void {
    if (this.#state === 'stopped') return;
    this.#state = 'stopped';
    this.#retention?.cancel();
    for (const cell of this.#cells.values()) {
      cell.stop();
      for (const member of cell.group.members.values()) {
        for (const answer of release(member, GROUP_ERROR.COORDINATOR_NOT_AVAILABLE)) answer();
      }
    }
  }

  join(groupId: string, request: JoinRequest): Promise<JoinResult> {
    const unready = this.#unready(groupId);
    if (unready !== 0) return Promise.resolve(joinError(unready, request.memberId));
    if (!this.#cells.has(groupId) && request.memberId !== '') {
      return Promise.resolve(joinError(GROUP_ERROR.UNKNOWN_MEMBER_ID, request.memberId));
    }
    const full = request.memberId === '' && this.#bytes >= GROUPS_TOTAL_MAX_BYTES;
    const cell = full ? null : this.#cellFor(groupId);
    if (cell === null) {
      return Promise.resolve(joinError(GROUP_ERROR.THROTTLING_QUOTA_EXCEEDED, request.memberId));
    }
    // Copies: what came in is a view of the whole request.
    const protocols = request.protocols.map(({ name, metadata }) => ({ name, metadata: new Uint8Array(metadata) }));
    return new Promise((resolve) => {
      cell.step((context) => join(cell.group, { ...request, protocols }, resolve, context));
    });
  }

  sync(groupId: string, request: SyncRequest): Promise<SyncResult> {
    const unready = this.#unready(groupId);
    const cell = this.#cells.get(groupId);
    if (unready !== 0 || cell === undefined) {
      return Promise.resolve(syncError(unready || GROUP_ERROR.UNKNOWN_MEMBER_ID));
    }
    const assignments = request.assignments.map(({ memberId, assignment }) => ({
      memberId,
      assignment: new Uint8Array(assignment),
    }));
    return new Promise((resolve) => {
      cell.step((context) => sync(cell.group, { ...request, assignments }, resolve, context));
    });
  }

  /** Resolves with the error code. */
  heartbeat(groupId: string, request: MemberRequest): Promise<number> {
    const unready = this.#unready(groupId);
    const cell = this.#cells.get(groupId);
    if (unready !== 0 || cell === undefined) return Promise.resolve(unready || GROUP_ERROR.UNKNOWN_MEMBER_ID);
    return new Promise((resolve) => {
      cell.step((context) => {
        const { error, changes, answers } = heartbeat(cell.group, request, context);
        return { changes, answers: [...answers, () => resolve(error)] };
      });
    });
  }

  /** Resolves with one error code per leaver; `error` when the whole request is refused. */
  leave(groupId: string, leavers: readonly Leaver[]): Promise<{ error: number; errors: readonly number[] }> {
    const unready = this.#unready(groupId);
    if (unready !== 0) return Promise.resolve({ error: unready, errors: [] });
    const cell = this.#cells.get(groupId);
    if (cell === undefined) {
      return Promise.resolve({ error: 0, errors: leavers.map(() => GROUP_ERROR.UNKNOWN_MEMBER_ID) });
    }
    return new Promise((resolve) => {
      cell.step((context) => {
        const { errors, changes, answers } = leave(cell.group, leavers, context);
        return { changes, answers: [...answers, () => resolve({ error: 0, errors })] };
      });
    });
  }

  list(): GroupListing[] {
    return [...this.#cells.values()].map(({ group }) => ({
      groupId: group.id,
      protocolType: group.protocolType ?? '',
      state: group.state,
    }));
  }

  describe(groupId: string): GroupDescription {
    const group = this.#cells.get(groupId)?.group;
    if (group === undefined || this.#state !== 'running') {
      const error = this.#state === 'running' ? GROUP_ERROR.GROUP_ID_NOT_FOUND : GROUP_ERROR.COORDINATOR_NOT_AVAILABLE;
      return { error, groupId, state: 'Dead', protocolType: '', protocolName: '', members: [] };
    }
    const stable = group.state === 'Stable';
    const describe = (member: MemberValue): MemberDescription => ({
      memberId: member.id,
      instanceId: member.instanceId,
      clientId: member.clientId,
      clientHost: member.clientHost,
      metadata: stable ? metadataOf(member, group.protocolName) : EMPTY_BYTES,
      assignment: stable ? member.assignment : EMPTY_BYTES,
    });
    return {
      error: GROUP_ERROR.NONE,
      groupId,
      state: group.state,
      protocolType: group.protocolType ?? '',
      protocolName: stable ? (group.protocolName ?? '') : '',
      members: [...group.members.values()].map(({ value }) => describe(value)),
    };
  }

  /** Resolves with the error code when the deletion is durable. */
  deleteGroup(groupId: string): Promise<number> {
    if (this.#state !== 'running') return Promise.resolve(this.#unready(groupId));
    const cell = this.#cells.get(groupId);
    if (cell === undefined) return Promise.resolve(GROUP_ERROR.GROUP_ID_NOT_FOUND);
    return new Promise((resolve) => {
      cell.step(() => {
        const { state } = cell.group;
        const error =
          state === 'Empty' ? 0 : state === 'Dead' ? GROUP_ERROR.GROUP_ID_NOT_FOUND : GROUP_ERROR.NON_EMPTY_GROUP;
        return {
          changes: error === 0 ? [{ kind: 'removed' }] : [],
          answers: [() => resolve(error)],
          refusals: [() => resolve(GROUP_ERROR.COORDINATOR_NOT_AVAILABLE)],
        };
      }, true);
    });
  }

  #unready(groupId: string): number {
    if (this.#state === 'loading') return GROUP_ERROR.COORDINATOR_LOAD_IN_PROGRESS;
    if (this.#state !== 'running') return GROUP_ERROR.COORDINATOR_NOT_AVAILABLE;
    return groupId === '' || groupId.length > GROUP_ID_MAX_CHARS ? GROUP_ERROR.INVALID_GROUP_ID : 0;
  }

  /** null: there are GROUPS_MAX groups. */
  #cellFor(groupId: string): GroupCell | null {
    const cell = this.#cells.get(groupId);
    if (cell !== undefined) return cell;
    return this.#cells.size >= GROUPS_MAX || groupId.length > GROUP_ID_MAX_CHARS ? null : this.#load(groupId);
  }

  #load(groupId: string): GroupCell {
    let cell = this.#cells.get(groupId);
    if (cell === undefined) {
      cell = new GroupCell(groupId, this.#host);
      this.#cells.set(groupId, cell);
    }
    return cell;
  }

  #trustedNow(): number | null {
    const { trustedNow, env, follows } = this.#parts;
    if (follows === true) return null;
    return trustedNow === undefined ? env.clock.now() : trustedNow();
  }

  #context(): StepContext {
    const { clock, random } = this.#parts.env;
    return {
      now: clock.monotonic(),
      wall: this.#trustedNow() ?? -1,
      options: this.#options,
      newMemberId: (prefix) => `${prefix}-${uuid(random.bytes(16))}`,
    };
  }
}

/** RFC 9562 version 4. */
function uuid(bytes: Uint8Array): string {
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
