/** Makes the topics here what they are at the leader: names, ids, partitions, settings. */
import type { Admin } from '../client/admin.ts';
import type { ClusterMetadata, TopicMetadata } from '../client/cluster.ts';
import type { HeadwaterLog } from '../log/headwater-log.ts';
import type { Loss } from '../log/ledger.ts';
import type { Topic } from '../log/types.ts';

export interface CopyTopics {
  readonly log: HeadwaterLog;
  readonly admin: Pick<Admin, 'topicConfigs'>;
  readonly selects: (topic: string) => boolean;
  /** A leader that was fenced: topics that only it had go with a note in the loss ledger. */
  readonly fenced: boolean;
  /** Also settings of topics that are there: asked for now and then. */
  readonly withConfigs: boolean;
  readonly by: string;
}

const REPLICATED = { replicated: true } as const;

/** Every selected topic of the leader is here afterwards; others are gone. Returns what was followed. */
export async function copyTopics({ topics }: ClusterMetadata, options: CopyTopics): Promise<TopicMetadata[]> {
  const { log, selects } = options;
  const wanted = topics.filter(({ name, errorCode, internal }) => errorCode === 0 && !internal && selects(name));
  const names = new Map(wanted.map((topic) => [topic.name, topic]));
  for (const topic of log.topics()) {
    if (topic.internal || !selects(topic.name) || names.get(topic.name)?.id === topic.id) continue;
    if (options.fenced) await log.ledger.record(lossesOf(topic, options.by));
    await log.deleteTopic(topic.name, REPLICATED);
  }
  for (const one of wanted) {
    const here = log.topic(one.name);
    if (here === undefined) {
      const config = await overridesOf(options.admin, one.name);
      await log.createTopic({ name: one.name, id: one.id, partitions: one.partitions.length, config }, REPLICATED);
      continue;
    }
    if (here.partitions.length < one.partitions.length) {
      await log.createPartitions(one.name, one.partitions.length, REPLICATED);
    }
    if (options.withConfigs) await copyConfig(log, here, await overridesOf(options.admin, one.name));
  }
  return wanted;
}

async function overridesOf(admin: CopyTopics['admin'], topic: string): Promise<Map<string, string>> {
  const entries = await admin.topicConfigs(topic);
  return new Map(
    entries.flatMap(({ name, value, source }) => (source === 'topic' && value !== null ? [[name, value]] : [])),
  );
}

async function copyConfig(log: HeadwaterLog, topic: Topic, wanted: ReadonlyMap<string, string>): Promise<void> {
  const changes = new Map<string, string | null>();
  for (const [name, value] of wanted) if (topic.overrides.get(name) !== value) changes.set(name, value);
  for (const name of topic.overrides.keys()) if (!wanted.has(name)) changes.set(name, null);
  if (changes.size > 0) await log.alterTopic(topic.name, changes, REPLICATED);
}

function lossesOf(topic: Topic, by: string): Loss[] {
  return topic.partitions
    .filter(({ logStartOffset, logEndOffset }) => logEndOffset > logStartOffset)
    .map(({ index, logStartOffset, logEndOffset }) => ({
      topic: topic.name,
      topicId: topic.id,
      partition: index,
      firstOffset: logStartOffset,
      lastOffset: logEndOffset - 1,
      reason: 'truncated: the topic is not known to the broker that leads now',
      by,
    }));
}
