/** `headwater groups`. */
import { Admin } from '../client/admin.ts';
import type { Cluster } from '../client/cluster.ts';
import { HeadwaterError } from '../errors.ts';
import { type Command, EXIT, integerOption, onePositional, parse, UsageError } from './command.ts';
import { CONNECTION_OPTIONS, CONNECTION_USAGE, withCluster } from './connection.ts';
import { parseTime } from './parse-time.ts';
import { count, json, table } from './table.ts';

export const usage = `Usage: headwater groups list|describe|reset|delete [GROUP...] [OPTIONS]

list                  all groups with their state
describe GROUP...     committed offsets, lag and members
reset GROUP --topic TOPIC [--partition N] (--to-earliest | --to-latest | --to-offset N | --to-time TIME) [--dry-run]
                      sets the offsets of a group without members; beyond the end of a partition: its end
delete GROUP...       forgets a group without members, and its offsets

  --json  for programs
${CONNECTION_USAGE}`;

interface Flags {
  readonly topic?: string | undefined;
  readonly partition?: string | undefined;
  readonly 'to-offset'?: string | undefined;
  readonly 'to-time'?: string | undefined;
  readonly 'to-earliest': boolean;
  readonly 'to-latest': boolean;
  readonly 'dry-run': boolean;
  readonly json: boolean;
}

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    ...CONNECTION_OPTIONS,
    topic: { type: 'string' },
    partition: { type: 'string' },
    'to-offset': { type: 'string' },
    'to-time': { type: 'string' },
    'to-earliest': { type: 'boolean', default: false },
    'to-latest': { type: 'boolean', default: false },
    'dry-run': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  });
  const [action = 'list', ...ids] = positionals;
  const actions: Readonly<Record<string, (cluster: Cluster, ids: string[], flags: Flags) => Promise<string>>> = {
    list,
    describe,
    reset,
    delete: remove,
  };
  const act = Object.hasOwn(actions, action) ? actions[action] : undefined;
  if (act === undefined) throw new UsageError(`there is no "groups ${action}"`);
  if (action !== 'list' && ids.length === 0) throw new UsageError('a group is needed');
  if (action === 'reset') onePositional(ids, 'group');
  await io.write(await withCluster(io, values, (cluster) => act(cluster, ids, values)));
  return EXIT.ok;
};

async function list(cluster: Cluster, _: string[], flags: Flags): Promise<string> {
  const groups = [...(await new Admin(cluster).groups())].sort((a, b) => (a.id < b.id ? -1 : 1));
  if (flags.json) return json(groups);
  if (groups.length === 0) return 'no groups\n';
  return table(
    [
      { head: 'GROUP', of: ({ id }) => id },
      { head: 'STATE', of: ({ state }) => state },
      { head: 'TYPE', of: ({ protocolType }) => protocolType },
    ],
    groups,
  );
}

async function describe(cluster: Cluster, ids: string[], flags: Flags): Promise<string> {
  const admin = new Admin(cluster);
  const groups = await admin.describeGroups(ids);
  const described = [];
  const absent: string[] = [];
  for (const group of groups) {
    const committed = await admin.groupOffsets(group.id);
    // What the protocol answers for a group that nobody knows.
    if (group.state === 'Dead' && group.members.length === 0 && committed.length === 0) {
      absent.push(`group "${group.id}" does not exist`);
      continue;
    }
    const owned = group.members.flatMap((member) =>
      member.assignment.flatMap(({ topic, partitions }) =>
        partitions.map((partition) => ({ topic, partition, member })),
      ),
    );
    const keys = new Map<string, { topic: string; partition: number }>();
    for (const { topic, partition } of [...committed, ...owned])
      keys.set(`${topic}/${partition}`, { topic, partition });
    const ends = await admin.offsets([...keys.values()].map((key) => ({ ...key, timestamp: -1 })));
    const offsets = [...keys.values()]
      .map(({ topic, partition }) => {
        const same = (other: { topic: string; partition: number }) =>
          other.topic === topic && other.partition === partition;
        const offset = committed.find(same)?.offset ?? null;
        const logEndOffset = ends.find(same)?.offset ?? null;
        const member = owned.find(same)?.member;
        const lag = offset === null || offset < 0 || logEndOffset === null ? null : logEndOffset - offset;
        return {
          topic,
          partition,
          offset,
          logEndOffset,
          lag,
          memberId: member?.memberId ?? null,
          clientId: member?.clientId ?? null,
          host: member?.host ?? null,
        };
      })
      .sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1));
    described.push({ group: group.id, state: group.state, protocol: group.protocol, members: group.members, offsets });
  }
  if (absent.length > 0) throw new HeadwaterError('INVALID_REQUEST', absent.join('; '));
  if (flags.json) return json(described);
  return described
    .map(({ group, state, protocol, members, offsets }) => {
      const assignor = protocol === '' ? '' : `  assignor: ${protocol}`;
      const heading = `Group: ${group}  state: ${state}  members: ${members.length}${assignor}\n`;
      if (offsets.length === 0) return `${heading}no offsets are committed\n`;
      return (
        heading +
        table(
          [
            { head: 'TOPIC', of: ({ topic }) => topic },
            { head: 'PARTITION', of: ({ partition }) => partition, right: true },
            { head: 'OFFSET', of: ({ offset }) => offset, right: true },
            { head: 'END', of: ({ logEndOffset }) => logEndOffset, right: true },
            { head: 'LAG', of: ({ lag }) => lag, right: true },
            { head: 'MEMBER', of: ({ memberId }) => memberId },
            { head: 'CLIENT', of: ({ clientId }) => clientId },
            { head: 'HOST', of: ({ host }) => host },
          ],
          offsets,
        )
      );
    })
    .join('\n');
}

async function reset(cluster: Cluster, ids: string[], flags: Flags): Promise<string> {
  const admin = new Admin(cluster);
  const group = ids[0]!;
  const { topic } = flags;
  if (topic === undefined) throw new UsageError('--topic is needed');
  const given = [
    flags['to-earliest'],
    flags['to-latest'],
    flags['to-offset'] !== undefined,
    flags['to-time'] !== undefined,
  ];
  if (given.filter(Boolean).length !== 1) {
    throw new UsageError('one of --to-earliest, --to-latest, --to-offset and --to-time is needed');
  }
  const [{ members } = { members: [] }] = await admin.describeGroups([group]);
  if (members.length > 0 && !flags['dry-run']) {
    throw new HeadwaterError(
      'INVALID_REQUEST',
      `group ${group} has ${count(members.length, 'member')}, whose next commit would undo this; stop them first`,
    );
  }
  const offset = integerOption('to-offset', flags['to-offset'], 0, Number.MAX_SAFE_INTEGER);
  const only = integerOption('partition', flags.partition, 0, 2_147_483_647);
  const [description] = await admin.topics([topic]);
  const partitions = description!.partitions
    .map(({ index }) => index)
    .filter((index) => only === undefined || index === only);
  if (partitions.length === 0) throw new UsageError(`--partition: ${topic} has no partition ${only}`);
  const timestamp = flags['to-earliest']
    ? -2
    : flags['to-latest'] || flags['to-time'] === undefined
      ? -1
      : parseTime(flags['to-time']);
  const found = await admin.offsets(partitions.map((partition) => ({ topic, partition, timestamp })));
  const ends =
    timestamp < 0 ? found : await admin.offsets(partitions.map((partition) => ({ topic, partition, timestamp: -1 })));
  const offsets = partitions.map((partition) => {
    const at = found.find((answer) => answer.partition === partition)?.offset ?? -1;
    const end = ends.find((answer) => answer.partition === partition)?.offset ?? 0;
    // No record that late: the end, as Kafka's tool does. One that is not there (yet) would make consumers jump.
    return { topic, partition, offset: Math.min(offset ?? (at < 0 ? end : at), end) };
  });
  if (!flags['dry-run']) await admin.setGroupOffsets(group, offsets);
  if (flags.json) return json({ group, offsets, dryRun: flags['dry-run'] });
  return table(
    [
      { head: 'TOPIC', of: (row) => row.topic },
      { head: 'PARTITION', of: ({ partition }) => partition, right: true },
      { head: flags['dry-run'] ? 'WOULD BE' : 'NOW AT', of: (row) => row.offset, right: true },
    ],
    offsets,
  );
}

async function remove(cluster: Cluster, ids: string[], flags: Flags): Promise<string> {
  await new Admin(cluster).deleteGroups(ids);
  return flags.json ? json({ deleted: ids }) : ids.map((id) => `deleted ${id}\n`).join('');
}
