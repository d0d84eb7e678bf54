/** What the JSON API and the admin page show and do, made from the parts of the broker: the callbacks of `http/views.ts`. */
import { statfs } from 'node:fs/promises';
import type { Changes } from './config/change.ts';
import type { Config, Endpoint, ListenerName } from './config/config.ts';
import type { Env } from './env.ts';
import { HeadwaterError } from './errors.ts';
import type { GroupCoordinator } from './groups/coordinator.ts';
import { Presenter } from './http/present.ts';
import { unitsOf } from './http/units.ts';
import type {
  BrokerView,
  GroupView,
  HttpProviders,
  MessageQuery,
  MessageView,
  MqttClientView,
  TopicView,
} from './http/views.ts';
import type { Links } from './links/links.ts';
import type { HeadwaterLog } from './log/headwater-log.ts';
import { recordsOf } from './log/reader.ts';
import { checkUnits } from './log/topic-config.ts';
import type { Partition, Topic } from './log/types.ts';
import type { MqttClient, MqttEdge } from './mqtt/edge.ts';
import type { Standby } from './standby/standby.ts';
import { isControl } from './wire/batch/record-batch.ts';
import { decodeAssignment } from './wire/kafka/consumer-protocol.ts';

export interface BrokerViewParts {
  readonly env: Env;
  readonly version: string;
  readonly identity: { readonly nodeId: number; readonly clusterId: string };
  /** Monotonic time of the start, milliseconds. */
  readonly startedAt: number;
  readonly config: () => Config;
  readonly addresses: () => Partial<Record<ListenerName, Endpoint>>;
  readonly log: HeadwaterLog;
  readonly groups: GroupCoordinator;
  readonly links: Links;
  readonly mqtt: MqttEdge;
  readonly timeTrusted: () => boolean;
  readonly reload: () => Promise<Changes>;
  readonly standby: Pick<Standby, 'status' | 'promote'> | null;
}

function topicView(topic: Topic): TopicView {
  const partitions = topic.partitions.map((partition) => ({
    partition: partition.index,
    logStartOffset: partition.logStartOffset,
    highWatermark: partition.highWatermark,
    logEndOffset: partition.logEndOffset,
    sizeBytes: partition.sizeBytes,
    leaderEpoch: partition.leaderEpoch,
    replicas: partition.replicas,
    inSyncReplicas: partition.inSyncReplicas,
  }));
  let [sizeBytes, records] = [0, 0];
  for (const partition of partitions) {
    sizeBytes += partition.sizeBytes;
    records += partition.highWatermark - partition.logStartOffset;
  }
  const { name, id, internal, config, overrides } = topic;
  return {
    name,
    id,
    internal,
    sizeBytes,
    records,
    partitions,
    config: { ...config },
    overrides: Object.fromEntries(overrides),
  };
}

/** `topic partition` -> member that reads it now. */
function ownersOf(members: ReturnType<GroupCoordinator['describe']>['members']): Map<string, string> {
  const owners = new Map<string, string>();
  for (const { memberId, assignment } of members) {
    if (assignment.length === 0) continue;
    try {
      for (const { topic, partitions } of decodeAssignment(assignment).assignedPartitions) {
        for (const partition of partitions) owners.set(`${topic} ${partition}`, memberId);
      }
    } catch {
      // Bytes of a protocol other than the consumers': nothing to show.
    }
  }
  return owners;
}

function groupView(groupId: string, { groups, log }: BrokerViewParts): GroupView {
  const { state, protocolName, members } = groups.describe(groupId);
  const owners = ownersOf(members);
  const offsets = groups.offsets.committed(groupId, false).flatMap(({ topic, partitions }) =>
    partitions.map(({ partition, offset }) => {
      const logEndOffset = log.topic(topic)?.partitions[partition]?.highWatermark ?? null;
      const lag = logEndOffset === null || offset < 0 ? null : Math.max(0, logEndOffset - offset);
      return { topic, partition, offset, logEndOffset, lag, memberId: owners.get(`${topic} ${partition}`) ?? null };
    }),
  );
  return {
    group: groupId,
    state,
    protocol: protocolName,
    members: members.map(({ memberId, clientId, clientHost }) => ({ memberId, clientId, host: clientHost })),
    offsets,
  };
}

const PROTOCOLS = { 3: 'MQTT 3.1', 4: 'MQTT 3.1.1', 5: 'MQTT 5.0' } as const;

function clientView({ clientId, user, address, protocol, subscriptions, inFlight }: MqttClient): MqttClientView {
  return {
    clientId,
    user,
    address,
    protocol: PROTOCOLS[protocol],
    connected: true,
    connectedAt: null,
    subscriptions: subscriptions.length,
    inflight: inFlight,
  };
}

function existingTopic(log: HeadwaterLog, name: string): Topic {
  const topic = log.topic(name);
  if (topic === undefined) throw new HeadwaterError('UNKNOWN_TOPIC', `topic "${name}" does not exist`);
  return topic;
}

function existingPartition(log: HeadwaterLog, name: string, index: number): Partition {
  const topic = existingTopic(log, name);
  const partition = topic.partitions[index];
  if (partition !== undefined) return partition;
  const last = topic.partitions.length - 1;
  throw new HeadwaterError('UNKNOWN_TOPIC', `topic "${name}" has partitions 0 to ${last}, not ${index}`);
}

const MESSAGES_READ_MAX_BYTES = 1024 * 1024;

async function messages(log: HeadwaterLog, query: MessageQuery): Promise<MessageView[]> {
  const presenter = new Presenter();
  const partition = existingPartition(log, query.topic, query.partition);
  let from: number;
  if ('offset' in query.from) {
    const { offset } = query.from;
    // A negative offset counts from the end, as `tail` does.
    from = offset < 0 ? Math.max(partition.logStartOffset, partition.highWatermark + offset) : offset;
  } else {
    from = (await partition.offsetForTimestamp(query.from.timestamp))?.offset ?? partition.highWatermark;
  }
  from = Math.max(from, partition.logStartOffset);
  const found: MessageView[] = [];
  while (found.length < query.limit && from < partition.highWatermark) {
    const upTo = partition.highWatermark;
    const { batches, nextOffset } = await partition.read({ from, upTo, maxBytes: MESSAGES_READ_MAX_BYTES });
    for (const batch of batches) {
      if (isControl(batch)) continue;
      const cursor = await recordsOf(batch);
      while (cursor.next() && found.length < query.limit) {
        if (cursor.offset < from) continue;
        const key = await presenter.present(cursor.key);
        const value = await presenter.present(cursor.value);
        const headers = cursor.headers();
        found.push({
          partition: query.partition,
          offset: cursor.offset,
          timestamp: cursor.timestamp,
          keyFormat: key.format,
          key: key.value,
          valueFormat: value.format,
          value: value.value,
          valueBytes: cursor.value?.length ?? 0,
          units: unitsOf(headers),
          headers: headers.map((header) => ({
            key: header.key,
            value: header.value === null ? null : Buffer.from(header.value).toString('utf8'),
          })),
        });
      }
    }
    if (nextOffset <= from) break;
    from = nextOffset;
  }
  return found;
}

async function resetOffsets(
  { groups, log }: BrokerViewParts,
  group: string,
  topicName: string,
  to: 'earliest' | 'latest' | number,
): Promise<void> {
  const topic = existingTopic(log, topicName);
  const refusal = log.changeRefusal('offset is committed');
  if (refusal !== null) throw refusal;
  const offsets = topic.partitions.map((partition) => {
    const { logStartOffset, highWatermark } = partition;
    const offset =
      to === 'earliest'
        ? logStartOffset
        : to === 'latest'
          ? highWatermark
          : Math.min(Math.max(to, logStartOffset), highWatermark);
    return { topic: topicName, partition: partition.index, offset, leaderEpoch: -1, metadata: '' };
  });
  const errors = await groups.offsets.commit(group, {
    memberId: '',
    instanceId: null,
    generation: -1,
    apiVersion: 9,
    retentionMs: -1,
    offsets,
  });
  const refused = errors.find((error) => error !== 0);
  if (refused === undefined) return;
  throw new HeadwaterError(
    'INVALID_REQUEST',
    `group "${group}" has members or cannot be reset (Kafka error ${refused})`,
  );
}

async function space(directory: string): Promise<{ freeBytes: number | null }> {
  try {
    const { bsize, bavail } = await statfs(directory);
    return { freeBytes: bsize * bavail };
  } catch {
    return { freeBytes: null };
  }
}

export function brokerProviders(parts: BrokerViewParts): HttpProviders {
  const { env, log, groups, links } = parts;
  return {
    ready: () => log.conditions(),
    broker: async (): Promise<BrokerView> => {
      const { settings } = parts.config();
      const topics = [...log.topics()];
      const uptimeMs = env.clock.monotonic() - parts.startedAt;
      const listeners = Object.entries(parts.addresses()).map(([name, { host, port }]) => [name, `${host}:${port}`]);
      return {
        brokerId: settings['broker.id'] ?? '',
        nodeId: parts.identity.nodeId,
        clusterId: parts.identity.clusterId,
        version: parts.version,
        startedAt: env.clock.now() - uptimeMs,
        uptimeMs,
        listeners: Object.fromEntries(listeners),
        rssBytes: process.memoryUsage.rss(),
        memoryBudgetBytes: settings['memory.budget'],
        storedBytes: log.liveBytes,
        ...(await space(settings['data.dir'])),
        topics: topics.length,
        partitions: topics.reduce((sum, topic) => sum + topic.partitions.length, 0),
        timeTrusted: parts.timeTrusted(),
      };
    },
    topics: () => [...log.topics()].map(topicView),
    groups: () => groups.list().map(({ groupId }) => groupView(groupId, parts)),
    links: () => links.status(),
    clients: (limit) => parts.mqtt.clients().slice(0, limit).map(clientView),
    messages: (query) => messages(log, query),
    createTopic: async (name, partitions, config) => {
      checkUnits(config);
      await log.createTopic({ name, partitions, config });
    },
    alterTopic: async (name, changes, partitions) => {
      checkUnits(changes);
      if (partitions !== null) await log.createPartitions(name, partitions);
      if (changes.size > 0) await log.alterTopic(name, changes);
    },
    deleteTopic: (name) => log.deleteTopic(name),
    resetOffsets: (group, topic, to) => resetOffsets(parts, group, topic, to),
    pauseLink: (name, paused) => links.pause(name, paused),
    standby: () => parts.standby?.status() ?? null,
    promote: () => {
      if (parts.standby === null) {
        throw new HeadwaterError('INVALID_REQUEST', 'this broker is not one of a pair: it has no link of type standby');
      }
      return parts.standby.promote();
    },
    reload: () => parts.reload(),
  };
}
