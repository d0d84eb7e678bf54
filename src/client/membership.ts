/** Membership in a group, classic protocol with the range assignor: join, sync, heartbeats, leave. */
import type { Timer } from '../env.ts';
import { delay } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { offsetCommit } from '../wire/kafka/api/08-offset-commit.ts';
import { joinGroup } from '../wire/kafka/api/11-join-group.ts';
import { heartbeat } from '../wire/kafka/api/12-heartbeat.ts';
import { leaveGroup } from '../wire/kafka/api/13-leave-group.ts';
import { syncGroup } from '../wire/kafka/api/14-sync-group.ts';
import {
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
} from '../wire/kafka/consumer-protocol.ts';
import type { ResponseOf } from '../wire/kafka/schema.ts';
import { assignRange, type MemberSubscription } from './assignor.ts';
import type { Cluster } from './cluster.ts';
import type { Connection } from './connection.ts';
import { checkCode, UpstreamError } from './error.ts';

const ILLEGAL_GENERATION = 22;
const UNKNOWN_MEMBER_ID = 25;
const REBALANCE_IN_PROGRESS = 27;
const MEMBER_ID_REQUIRED = 79;
const FENCED_INSTANCE_ID = 82;
const RETRY_MS = 300;

export interface TopicPartitions {
  readonly topic: string;
  readonly partitions: readonly number[];
}

export interface MembershipOptions {
  readonly group: string;
  readonly instanceId: string | null;
  readonly sessionTimeoutMs: number;
}

type Joined = ResponseOf<typeof joinGroup>;

export class GroupMembership {
  readonly #cluster: Cluster;
  readonly #options: MembershipOptions;
  #memberId = '';
  #generation = -1;
  #rejoin = true;
  #heartbeats: Timer | null = null;
  #beating = false;

  constructor(cluster: Cluster, options: MembershipOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** The group rebalances, or has forgotten us. */
  get mustRejoin(): boolean {
    return this.#rejoin;
  }

  /** Joins until there is an assignment. Throws what is not retriable. */
  async join(topics: readonly string[]): Promise<readonly TopicPartitions[]> {
    this.#stopHeartbeats();
    for (;;) {
      try {
        const coordinator = await this.#cluster.coordinator(this.#options.group);
        const joined = await this.#joinOnce(coordinator, topics);
        if (joined === null) continue;
        const assignment = await this.#sync(coordinator, joined);
        this.#rejoin = false;
        this.#startHeartbeats();
        return assignment;
      } catch (error) {
        if (!this.#mayJoinAgain(error)) throw error;
        await delay(this.#cluster.env.clock, RETRY_MS);
      }
    }
  }

  #mayJoinAgain(error: unknown): boolean {
    if (error instanceof UpstreamError && error.kafka === UNKNOWN_MEMBER_ID) {
      this.#memberId = '';
      return true;
    }
    if (error instanceof UpstreamError) {
      if (error.kafka === REBALANCE_IN_PROGRESS || error.kafka === ILLEGAL_GENERATION) return true;
    }
    return error instanceof HeadwaterError && error.retriable;
  }

  /** null: a member id was given (KIP-394), join again with it. */
  async #joinOnce(coordinator: Connection, topics: readonly string[]): Promise<Joined | null> {
    const { group, instanceId, sessionTimeoutMs } = this.#options;
    const rebalanceTimeoutMs = 60_000;
    const body = {
      groupId: group,
      sessionTimeoutMs,
      rebalanceTimeoutMs,
      memberId: this.#memberId,
      groupInstanceId: instanceId,
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata: encodeSubscription({ topics: [...topics] }) }],
    };
    const joined = await coordinator.send(joinGroup, body, { timeoutMs: rebalanceTimeoutMs + 30_000 });
    if (joined.errorCode === MEMBER_ID_REQUIRED) {
      this.#memberId = joined.memberId;
      return null;
    }
    checkCode(joined.errorCode, `join group ${group}`);
    this.#memberId = joined.memberId;
    this.#generation = joined.generationId;
    return joined;
  }

  async #assignments(joined: Joined): Promise<{ memberId: string; assignment: Buffer }[]> {
    const members: MemberSubscription[] = joined.members.map((member) => ({
      memberId: member.memberId,
      instanceId: member.groupInstanceId,
      topics: decodeSubscription(member.metadata).topics,
    }));
    const names = [...new Set(members.flatMap((member) => member.topics))];
    const { topics } = await this.#cluster.metadata(names);
    const partitions = new Map(topics.map((topic) => [topic.name, topic.partitions.map(({ index }) => index)]));
    return [...assignRange(members, partitions)].map(([memberId, assignedPartitions]) => ({
      memberId,
      assignment: encodeAssignment({ assignedPartitions }),
    }));
  }

  async #sync(coordinator: Connection, joined: Joined): Promise<readonly TopicPartitions[]> {
    const { group, instanceId } = this.#options;
    const leads = joined.leader === this.#memberId && !joined.skipAssignment;
    const synced = await coordinator.send(
      syncGroup,
      {
        groupId: group,
        generationId: this.#generation,
        memberId: this.#memberId,
        groupInstanceId: instanceId,
        protocolType: 'consumer',
        protocolName: joined.protocolName,
        assignments: leads ? await this.#assignments(joined) : [],
      },
      { timeoutMs: 90_000 },
    );
    checkCode(synced.errorCode, `sync group ${group}`);
    return synced.assignment.length === 0 ? [] : decodeAssignment(synced.assignment).assignedPartitions;
  }

  #startHeartbeats(): void {
    const every = Math.max(500, Math.floor(this.#options.sessionTimeoutMs / 10));
    this.#heartbeats = this.#cluster.env.clock.every(every, () => {
      if (!this.#beating) void this.#beat();
    });
  }

  #stopHeartbeats(): void {
    this.#heartbeats?.cancel();
    this.#heartbeats = null;
  }

  /** A failure to reach the coordinator is tried again at the next beat; what the coordinator says ends the generation. */
  async #beat(): Promise<void> {
    this.#beating = true;
    const { group, instanceId } = this.#options;
    try {
      const coordinator = await this.#cluster.coordinator(group);
      const { errorCode } = await coordinator.send(heartbeat, {
        groupId: group,
        generationId: this.#generation,
        memberId: this.#memberId,
        groupInstanceId: instanceId,
      });
      if (errorCode === UNKNOWN_MEMBER_ID || errorCode === FENCED_INSTANCE_ID) this.#memberId = '';
      if ([ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID].includes(errorCode)) {
        this.#rejoin = true;
      }
    } catch (error) {
      if (!(error instanceof HeadwaterError)) throw error;
    } finally {
      this.#beating = false;
    }
  }

  async commit(
    offsets: readonly { readonly topic: string; readonly partition: number; readonly offset: number }[],
  ): Promise<void> {
    const { group, instanceId } = this.#options;
    const coordinator = await this.#cluster.coordinator(group);
    const names = [...new Set(offsets.map(({ topic }) => topic))];
    const answer = await coordinator.send(offsetCommit, {
      groupId: group,
      generationIdOrMemberEpoch: this.#generation,
      memberId: this.#memberId,
      groupInstanceId: instanceId,
      topics: names.map((name) => ({
        name,
        partitions: offsets
          .filter(({ topic }) => topic === name)
          .map(({ partition, offset }) => ({
            partitionIndex: partition,
            committedOffset: offset,
            committedMetadata: '',
          })),
      })),
    });
    for (const topic of answer.topics) {
      for (const partition of topic.partitions) {
        checkCode(partition.errorCode, `commit of ${topic.name}-${partition.partitionIndex} for group ${group}`);
      }
    }
  }

  /** A static member does not leave: it comes back under its instance id (KIP-345). */
  async leave(): Promise<void> {
    this.#stopHeartbeats();
    if (this.#memberId === '' || this.#options.instanceId !== null) return;
    try {
      const coordinator = await this.#cluster.coordinator(this.#options.group);
      const members = [{ memberId: this.#memberId }];
      await coordinator.send(leaveGroup, { groupId: this.#options.group, memberId: this.#memberId, members });
    } catch (error) {
      // Gone already, or unreachable: the session timeout does the same.
      if (!(error instanceof HeadwaterError)) throw error;
    }
    this.#memberId = '';
  }
}
