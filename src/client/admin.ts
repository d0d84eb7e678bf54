/** What command-line tools and links ask of a cluster: topics, configs, offsets, groups. */
import { listOffsets } from '../wire/kafka/api/02-list-offsets.ts';
import { offsetCommit } from '../wire/kafka/api/08-offset-commit.ts';
import { offsetFetch } from '../wire/kafka/api/09-offset-fetch.ts';
import { describeGroups } from '../wire/kafka/api/15-describe-groups.ts';
import { listGroups } from '../wire/kafka/api/16-list-groups.ts';
import { createTopics } from '../wire/kafka/api/19-create-topics.ts';
import { deleteTopics } from '../wire/kafka/api/20-delete-topics.ts';
import { deleteRecords } from '../wire/kafka/api/21-delete-records.ts';
import { describeConfigs } from '../wire/kafka/api/32-describe-configs.ts';
import { createPartitions } from '../wire/kafka/api/37-create-partitions.ts';
import { deleteGroups } from '../wire/kafka/api/42-delete-groups.ts';
import { incrementalAlterConfigs } from '../wire/kafka/api/44-incremental-alter-configs.ts';
import { decodeAssignment } from '../wire/kafka/consumer-protocol.ts';
import type { Cluster, PartitionMetadata, TopicMetadata } from './cluster.ts';
import type { Connection } from './connection.ts';
import { checkCode, checkTopicCode } from './error.ts';

const TIMEOUT_MS = 30_000;
const TOPIC = 2;
const BROKER = 4;
const SET = 0;
const DELETE = 1;

export type TopicDescription = TopicMetadata;

export interface ConfigEntry {
  readonly name: string;
  readonly value: string | null;
  readonly source: 'topic' | 'broker' | 'default' | 'unknown';
  readonly readOnly: boolean;
  readonly sensitive: boolean;
}

export interface OffsetRequest {
  readonly topic: string;
  readonly partition: number;
  /** -1 latest, -2 earliest, -3 of the largest timestamp, otherwise milliseconds since 1970. */
  readonly timestamp: number;
}

export interface OffsetAnswer {
  readonly topic: string;
  readonly partition: number;
  /** -1: none. */
  readonly offset: number;
  readonly timestamp: number;
  readonly leaderEpoch: number;
}

export interface GroupMember {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly host: string;
  readonly assignment: readonly { readonly topic: string; readonly partitions: readonly number[] }[];
}

export interface GroupDescription {
  readonly id: string;
  readonly state: string;
  readonly protocolType: string;
  /** The assignor. */
  readonly protocol: string;
  readonly members: readonly GroupMember[];
}

export interface GroupOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** Of the record before it (KIP-320); -1: not known. */
  readonly leaderEpoch: number;
  readonly metadata: string;
}

/** Codes 1, 2, 4, 5 and 6 of DescribeConfigs (section 10 of the protocol facts). */
const SOURCES: Readonly<Record<number, ConfigEntry['source']>> = {
  1: 'topic',
  2: 'broker',
  3: 'broker',
  4: 'broker',
  5: 'default',
};

/** Every item under its topic, in order of first appearance. */
function byTopic<T extends { readonly topic: string }>(items: readonly T[]): { name: string; items: T[] }[] {
  const topics = new Map<string, T[]>();
  for (const item of items) {
    const list = topics.get(item.topic);
    if (list === undefined) topics.set(item.topic, [item]);
    else list.push(item);
  }
  return [...topics].map(([name, list]) => ({ name, items: list }));
}

export class Admin {
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** null: all. UpstreamError for a name that does not exist. */
  async topics(names: readonly string[] | null): Promise<TopicDescription[]> {
    const { topics } = await this.#cluster.metadata(names);
    for (const topic of topics) checkTopicCode(topic.errorCode, topic.name);
    return [...topics].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** -1 for partitions or replicationFactor: the server's default. */
  async createTopic(spec: {
    readonly name: string;
    readonly partitions: number;
    readonly replicationFactor: number;
    readonly configs?: Readonly<Record<string, string>>;
  }): Promise<{ id: string; partitions: number; replicationFactor: number }> {
    const controller = await this.#cluster.controller();
    const answer = await controller.send(createTopics, {
      topics: [
        {
          name: spec.name,
          numPartitions: spec.partitions,
          replicationFactor: spec.replicationFactor,
          assignments: [],
          configs: Object.entries(spec.configs ?? {}).map(([name, value]) => ({ name, value })),
        },
      ],
      timeoutMs: TIMEOUT_MS,
    });
    const [topic] = answer.topics;
    checkCode(topic?.errorCode ?? -1, `create topic ${spec.name}`, topic?.errorMessage);
    return { id: topic!.topicId, partitions: topic!.numPartitions, replicationFactor: topic!.replicationFactor };
  }

  /** Deletes in turn what exists; throws at the first that cannot be deleted. */
  async deleteTopics(names: readonly string[]): Promise<void> {
    const controller = await this.#cluster.controller();
    const body = { topicNames: names, timeoutMs: TIMEOUT_MS };
    const answer = await controller.send(deleteTopics, body, { maxVersion: 5 });
    for (const topic of answer.responses) {
      checkCode(topic.errorCode, `delete topic ${topic.name}`, topic.errorMessage);
    }
  }

  async createPartitions(name: string, total: number): Promise<void> {
    const controller = await this.#cluster.controller();
    const answer = await controller.send(createPartitions, {
      topics: [{ name, count: total, assignments: null }],
      timeoutMs: TIMEOUT_MS,
      validateOnly: false,
    });
    for (const result of answer.results) {
      checkCode(result.errorCode, `partitions of topic ${name}`, result.errorMessage);
    }
  }

  topicConfigs(name: string): Promise<ConfigEntry[]> {
    return this.#configs(this.#cluster.any(), TOPIC, name);
  }

  brokerConfigs(id: number): Promise<ConfigEntry[]> {
    return this.#configs(this.#cluster.broker(id), BROKER, String(id));
  }

  async #configs(opening: Promise<Connection>, resourceType: number, resourceName: string): Promise<ConfigEntry[]> {
    const connection = await opening;
    const answer = await connection.send(describeConfigs, {
      resources: [{ resourceType, resourceName, configurationKeys: null }],
    });
    const [result] = answer.results;
    checkCode(result?.errorCode ?? -1, `configs of ${resourceName}`, result?.errorMessage);
    return result!.configs.map((config) => ({
      name: config.name,
      value: config.value,
      source: SOURCES[config.configSource] ?? 'unknown',
      readOnly: config.readOnly,
      sensitive: config.isSensitive,
    }));
  }

  /** null removes an override. */
  async alterTopicConfigs(name: string, changes: Readonly<Record<string, string | null>>): Promise<void> {
    const connection = await this.#cluster.controller();
    const answer = await connection.send(incrementalAlterConfigs, {
      resources: [
        {
          resourceType: TOPIC,
          resourceName: name,
          configs: Object.entries(changes).map(([key, value]) => ({
            name: key,
            configOperation: value === null ? DELETE : SET,
            value,
          })),
        },
      ],
      validateOnly: false,
    });
    for (const result of answer.responses) checkCode(result.errorCode, `configs of ${name}`, result.errorMessage);
  }

  /** Each partition's leader is asked; all in one round trip per broker. */
  async offsets(requests: readonly OffsetRequest[]): Promise<OffsetAnswer[]> {
    if (requests.length === 0) return [];
    const names = [...new Set(requests.map((request) => request.topic))];
    const topics = new Map((await this.topics(names)).map((topic) => [topic.name, topic]));
    const byLeader = new Map<Connection, OffsetRequest[]>();
    for (const request of requests) {
      const leader = await this.#cluster.leader(topics.get(request.topic)!, request.partition);
      const list = byLeader.get(leader);
      if (list === undefined) byLeader.set(leader, [request]);
      else list.push(request);
    }
    const answers = await Promise.all([...byLeader].map(([leader, list]) => this.#offsetsAt(leader, list)));
    return answers.flat();
  }

  async #offsetsAt(leader: Connection, requests: readonly OffsetRequest[]): Promise<OffsetAnswer[]> {
    const answer = await leader.send(listOffsets, {
      replicaId: -1,
      topics: byTopic(requests).map(({ name, items }) => ({
        name,
        partitions: items.map(({ partition, timestamp }) => ({ partitionIndex: partition, timestamp })),
      })),
      timeoutMs: TIMEOUT_MS,
    });
    return answer.topics.flatMap((topic) =>
      topic.partitions.map((partition) => {
        checkCode(partition.errorCode, `offsets of ${topic.name}-${partition.partitionIndex}`);
        const { offset, timestamp, leaderEpoch } = partition;
        return { topic: topic.name, partition: partition.partitionIndex, offset, timestamp, leaderEpoch };
      }),
    );
  }

  /** Every broker, or this one, is asked for the groups that it coordinates. */
  async groups(brokerId?: number): Promise<{ id: string; protocolType: string; state: string }[]> {
    const ids = brokerId === undefined ? (await this.#cluster.metadata([])).brokers.map(({ id }) => id) : [brokerId];
    const lists = await Promise.all(
      ids.map(async (id) => {
        const answer = await (await this.#cluster.broker(id)).send(listGroups, {});
        checkCode(answer.errorCode, 'list of groups');
        return answer.groups;
      }),
    );
    return lists
      .flat()
      .map((group) => ({ id: group.groupId, protocolType: group.protocolType, state: group.groupState }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  describeGroups(ids: readonly string[]): Promise<GroupDescription[]> {
    return Promise.all(ids.map((id) => this.#describeGroup(id)));
  }

  async #describeGroup(id: string): Promise<GroupDescription> {
    const coordinator = await this.#cluster.coordinator(id);
    // Up to v5 an unknown group is `Dead`; from v6 an error.
    const answer = await coordinator.send(describeGroups, { groups: [id] }, { maxVersion: 5 });
    const [group] = answer.groups;
    checkCode(group?.errorCode ?? -1, `group ${id}`, group?.errorMessage);
    return {
      id,
      state: group!.groupState,
      protocolType: group!.protocolType,
      protocol: group!.protocolData,
      members: group!.members.map((member) => ({
        memberId: member.memberId,
        instanceId: member.groupInstanceId,
        clientId: member.clientId,
        host: member.clientHost,
        // Before the first assignment there is none; other protocol types have their own layout.
        assignment:
          group!.protocolType === 'consumer' && member.memberAssignment.length > 0
            ? decodeAssignment(member.memberAssignment).assignedPartitions
            : [],
      })),
    };
  }

  /** Without `topics`: everything committed. Partitions without an offset are left out. */
  async groupOffsets(
    group: string,
    topics?: readonly { readonly topic: string; readonly partitions: readonly number[] }[],
  ): Promise<GroupOffset[]> {
    const coordinator = await this.#cluster.coordinator(group);
    const answer = await coordinator.send(
      offsetFetch,
      {
        groupId: group,
        topics: topics?.map(({ topic, partitions }) => ({ name: topic, partitionIndexes: partitions })) ?? null,
      },
      { maxVersion: 7 },
    );
    checkCode(answer.errorCode, `offsets of group ${group}`);
    return answer.topics.flatMap((topic) =>
      topic.partitions
        .filter((partition) => {
          checkCode(partition.errorCode, `offset of group ${group} in ${topic.name}-${partition.partitionIndex}`);
          return partition.committedOffset >= 0;
        })
        .map((partition) => ({
          topic: topic.name,
          partition: partition.partitionIndex,
          offset: partition.committedOffset,
          leaderEpoch: partition.committedLeaderEpoch,
          metadata: partition.metadata ?? '',
        })),
    );
  }

  /** Only for a group without members. */
  async setGroupOffsets(
    group: string,
    offsets: readonly { readonly topic: string; readonly partition: number; readonly offset: number }[],
  ): Promise<void> {
    const coordinator = await this.#cluster.coordinator(group);
    const answer = await coordinator.send(offsetCommit, {
      groupId: group,
      memberId: '',
      topics: byTopic(offsets).map(({ name, items }) => ({
        name,
        partitions: items.map(({ partition, offset }) => ({
          partitionIndex: partition,
          committedOffset: offset,
          committedMetadata: '',
        })),
      })),
    });
    for (const topic of answer.topics) {
      for (const partition of topic.partitions) {
        checkCode(partition.errorCode, `offset of group ${group} in ${topic.name}-${partition.partitionIndex}`);
      }
    }
  }

  async deleteGroups(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      const coordinator = await this.#cluster.coordinator(id);
      const answer = await coordinator.send(deleteGroups, { groupsNames: [id] });
      for (const result of answer.results) checkCode(result.errorCode, `delete group ${result.groupId}`);
    }
  }

  /** Removes the records before an offset (-1: all); returns the new first offset. */
  async deleteRecords(topic: string, partition: number, before: number): Promise<number> {
    const leader = await this.#cluster.leader(await this.#cluster.topic(topic), partition);
    const answer = await leader.send(deleteRecords, {
      topics: [{ name: topic, partitions: [{ partitionIndex: partition, offset: before }] }],
      timeoutMs: TIMEOUT_MS,
    });
    const result: PartitionResult | undefined = answer.topics[0]?.partitions[0];
    checkCode(result?.errorCode ?? -1, `delete records of ${topic}-${partition}`);
    return result!.lowWatermark;
  }
}

type PartitionResult = Pick<PartitionMetadata, 'errorCode'> & { readonly lowWatermark: number };
