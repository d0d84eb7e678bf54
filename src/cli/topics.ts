/** `headwater topics`. */
import { Admin } from '../client/admin.ts';
import type { Cluster } from '../client/cluster.ts';
import { HeadwaterError } from '../errors.ts';
import { type Command, EXIT, integerOption, onePositional, pairOption, parse, UsageError } from './command.ts';
import { CONNECTION_OPTIONS, CONNECTION_USAGE, withCluster } from './connection.ts';
import { count, json, table } from './table.ts';

export const usage = `Usage: headwater topics list|create|describe|alter|delete [TOPIC...] [OPTIONS]

list                                      names, partitions, records
create TOPIC [--partitions N] [--config NAME=VALUE]...
describe TOPIC...                         partitions with offsets and replicas, settings
alter TOPIC [--partitions N] [--config NAME=VALUE]... [--delete-config NAME]...
delete TOPIC...

  --if-not-exists / --if-exists   not an error when there is nothing to do
  --internal                      list the broker's own topics too
  --json                          for programs
${CONNECTION_USAGE}`;

interface Flags {
  readonly partitions?: string | undefined;
  readonly config?: readonly string[] | undefined;
  readonly 'delete-config'?: readonly string[] | undefined;
  readonly 'if-exists': boolean;
  readonly 'if-not-exists': boolean;
  readonly internal: boolean;
  readonly json: boolean;
}

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    ...CONNECTION_OPTIONS,
    partitions: { type: 'string' },
    config: { type: 'string', multiple: true },
    'delete-config': { type: 'string', multiple: true },
    'if-exists': { type: 'boolean', default: false },
    'if-not-exists': { type: 'boolean', default: false },
    internal: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  });
  const [action = 'list', ...names] = positionals;
  const actions: Readonly<Record<string, (cluster: Cluster, names: string[], flags: Flags) => Promise<string>>> = {
    list,
    create,
    describe,
    alter,
    delete: remove,
  };
  const act = Object.hasOwn(actions, action) ? actions[action] : undefined;
  if (act === undefined) throw new UsageError(`there is no "topics ${action}"`);
  if (action === 'list' && names.length > 0) throw new UsageError('list takes no topic; describe does');
  if ((action === 'describe' || action === 'delete') && names.length === 0) throw new UsageError('a topic is needed');
  if (action === 'create' || action === 'alter') onePositional(names, 'topic');
  await io.write(await withCluster(io, values, (cluster) => act(cluster, names, values)));
  return EXIT.ok;
};

interface PartitionState {
  readonly partition: number;
  readonly leader: number;
  readonly leaderEpoch: number;
  readonly replicas: readonly number[];
  readonly isr: readonly number[];
  readonly startOffset: number;
  readonly endOffset: number;
}

interface TopicState {
  readonly name: string;
  readonly id: string;
  readonly internal: boolean;
  readonly records: number;
  readonly partitions: readonly PartitionState[];
}

async function topicStates(admin: Admin, names: readonly string[] | null): Promise<TopicState[]> {
  const topics = await admin.topics(names);
  const ask = topics.flatMap(({ name, partitions }) =>
    partitions.flatMap(({ index }) => [-2, -1].map((timestamp) => ({ topic: name, partition: index, timestamp }))),
  );
  const answers = await admin.offsets(ask);
  const start = new Map<string, number>();
  const end = new Map<string, number>();
  // Answers come per partition in the order asked: earliest, then latest.
  for (const { topic, partition, offset } of answers) {
    const key = `${topic}/${partition}`;
    (start.has(key) ? end : start).set(key, offset);
  }
  return topics
    .map(({ name, id, internal, partitions }) => {
      const states = partitions
        .map(({ index, leader, leaderEpoch, replicas, isr }) => ({
          partition: index,
          leader,
          leaderEpoch,
          replicas,
          isr,
          startOffset: start.get(`${name}/${index}`) ?? -1,
          endOffset: end.get(`${name}/${index}`) ?? -1,
        }))
        .sort((a, b) => a.partition - b.partition);
      const records = states.reduce((sum, { startOffset, endOffset }) => sum + Math.max(0, endOffset - startOffset), 0);
      return { name, id, internal, records, partitions: states };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function list(cluster: Cluster, _: string[], { internal, json: asJson }: Flags): Promise<string> {
  const states = (await topicStates(new Admin(cluster), null)).filter((topic) => internal || !topic.internal);
  const rows = states.map(({ name, id, records, partitions, internal: own }) => ({
    name,
    id,
    partitions: partitions.length,
    records,
    internal: own,
  }));
  if (asJson) return json(rows);
  if (rows.length === 0)
    return 'no topics yet; they are created by the first record, or: headwater topics create NAME\n';
  return table(
    [
      { head: 'TOPIC', of: ({ name }) => name },
      { head: 'PARTITIONS', of: ({ partitions }) => partitions, right: true },
      { head: 'RECORDS', of: ({ records }) => records, right: true },
    ],
    rows,
  );
}

async function create(cluster: Cluster, names: string[], flags: Flags): Promise<string> {
  const name = names[0]!;
  const configs = Object.fromEntries((flags.config ?? []).map((text) => pairOption('config', text)));
  const partitions = integerOption('partitions', flags.partitions, 1, 4_096) ?? -1;
  try {
    const created = await new Admin(cluster).createTopic({ name, partitions, replicationFactor: -1, configs });
    return flags.json ? json({ name, ...created }) : `created ${name} with ${count(created.partitions, 'partition')}\n`;
  } catch (error) {
    if (!flags['if-not-exists'] || kafkaCode(error) !== 36) throw error;
    return flags.json ? json({ name, exists: true }) : `${name} exists already\n`;
  }
}

async function describe(cluster: Cluster, names: string[], flags: Flags): Promise<string> {
  const admin = new Admin(cluster);
  const states = await topicStates(admin, names);
  const described = [];
  for (const state of states) {
    const configs = await admin.topicConfigs(state.name);
    described.push({ ...state, configs: configs.map(({ name, value, source }) => ({ name, value, source })) });
  }
  if (flags.json) return json(described);
  return described
    .map(({ name, id, partitions, records, configs }) => {
      const set = configs.filter(({ source }) => source === 'topic');
      const heading = `Topic: ${name}  id: ${id}  partitions: ${partitions.length}  records: ${records}\n`;
      const settings = `Set on the topic: ${set.length === 0 ? '(nothing)' : set.map((c) => `${c.name}=${c.value}`).join(' ')}\n`;
      return (
        heading +
        settings +
        table<PartitionState>(
          [
            { head: 'PARTITION', of: ({ partition }) => partition, right: true },
            { head: 'LEADER', of: ({ leader }) => leader, right: true },
            { head: 'EPOCH', of: ({ leaderEpoch }) => leaderEpoch, right: true },
            { head: 'REPLICAS', of: ({ replicas }) => replicas.join(',') },
            { head: 'ISR', of: ({ isr }) => isr.join(',') },
            { head: 'START', of: ({ startOffset }) => startOffset, right: true },
            { head: 'END', of: ({ endOffset }) => endOffset, right: true },
            { head: 'RECORDS', of: ({ startOffset, endOffset }) => endOffset - startOffset, right: true },
          ],
          partitions,
        )
      );
    })
    .join('\n');
}

async function alter(cluster: Cluster, names: string[], flags: Flags): Promise<string> {
  const name = names[0]!;
  const admin = new Admin(cluster);
  const changes: Record<string, string | null> = {};
  for (const text of flags.config ?? []) {
    const [key, value] = pairOption('config', text);
    changes[key] = value;
  }
  for (const key of flags['delete-config'] ?? []) changes[key] = null;
  const partitions = integerOption('partitions', flags.partitions, 1, 4_096);
  if (partitions === undefined && Object.keys(changes).length === 0) {
    throw new UsageError('nothing to alter: give --partitions, --config or --delete-config');
  }
  if (Object.keys(changes).length > 0) await admin.alterTopicConfigs(name, changes);
  if (partitions !== undefined) await admin.createPartitions(name, partitions);
  return flags.json ? json({ name, partitions, changes }) : `altered ${name}\n`;
}

async function remove(cluster: Cluster, names: string[], flags: Flags): Promise<string> {
  const deleted: string[] = [];
  for (const name of names) {
    try {
      await new Admin(cluster).deleteTopics([name]);
      deleted.push(name);
    } catch (error) {
      if (!flags['if-exists'] || kafkaCode(error) !== 3) throw error;
    }
  }
  return flags.json ? json({ deleted }) : deleted.map((name) => `deleted ${name}\n`).join('');
}

/** The protocol's error code of a refusal; -1 for anything else. */
function kafkaCode(error: unknown): number {
  return error instanceof HeadwaterError && 'kafka' in error && typeof error.kafka === 'number' ? error.kafka : -1;
}
