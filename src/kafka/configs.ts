/** Settings as Kafka's admin requests show and change them: resource types, sources, kinds. */
import { HeadwaterError } from '../errors.ts';
import {
  checkUnits,
  TOPIC_SETTINGS,
  type TopicSetting,
  type TopicSettingRow,
  topicSettingRow,
} from '../log/topic-config.ts';
import type { Topic } from '../log/types.ts';
import type { describeConfigs } from '../wire/kafka/api/32-describe-configs.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import type { ResponseInput } from '../wire/kafka/schema.ts';
import type { BrokerSetting, KafkaContext } from './context.ts';
import type { ClientConnection } from './handler.ts';
import { requireTopic } from './partitions.ts';

/** The protocol's resource types. */
export const RESOURCE = Object.freeze({ TOPIC: 2, BROKER: 4, BROKER_LOGGER: 8, CLIENT_METRICS: 16, GROUP: 32 });

/** Where a value comes from. */
const SOURCE = Object.freeze({ DYNAMIC_TOPIC: 1, STATIC_BROKER: 4, DEFAULT: 5 });

/** The protocol's value types. */
const KIND = Object.freeze({ string: 2, int: 3, long: 5, double: 6, list: 7 });

export const OPERATION = Object.freeze({ SET: 0, DELETE: 1, APPEND: 2, SUBTRACT: 3 });

export type ConfigEntry = ResponseInput<typeof describeConfigs>['results'][number]['configs'][number];

/** Broker-wide names of topic settings that are not just `log.` and the topic's name. */
const BROKER_NAMES: Partial<Record<TopicSetting, string>> = {
  'compression.type': 'compression.type',
  'max.message.bytes': 'message.max.bytes',
  'min.insync.replicas': 'min.insync.replicas',
  'segment.ms': 'log.roll.ms',
};

const wanted = (keys: readonly string[] | null, name: string): boolean => keys === null || keys.includes(name);

/** As a Kafka client expects it: plain numbers, and Long.MAX_VALUE for "no limit". */
function textOf(value: string | number): string {
  return value === Number.MAX_SAFE_INTEGER ? '9223372036854775807' : String(value);
}

function topicEntry(context: KafkaContext, topic: Topic, row: TopicSettingRow): ConfigEntry {
  const { name } = row;
  const value = textOf(topic.config[name]);
  const brokerValue = context.settings.topicDefaults().get(name);
  const overridden = topic.overrides.has(name);
  const synonyms = [];
  if (overridden) synonyms.push({ name, value, source: SOURCE.DYNAMIC_TOPIC });
  const brokerName = BROKER_NAMES[name] ?? `log.${name}`;
  if (brokerValue !== undefined) synonyms.push({ name: brokerName, value: brokerValue, source: SOURCE.STATIC_BROKER });
  synonyms.push({ name: brokerName, value: row.default, source: SOURCE.DEFAULT });
  return {
    name,
    value,
    readOnly: false,
    isDefault: !overridden,
    configSource: synonyms[0]!.source,
    isSensitive: false,
    synonyms,
    configType: KIND[row.kind],
    documentation: row.doc,
  };
}

/** Every setting of a topic that this broker honours, or those of `keys`. */
export function topicEntries(context: KafkaContext, topic: Topic, keys: readonly string[] | null): ConfigEntry[] {
  return TOPIC_SETTINGS.filter(({ name }) => wanted(keys, name)).map((row) => topicEntry(context, topic, row));
}

function brokerEntry({ name, value, isDefault, sensitive, doc }: BrokerSetting): ConfigEntry {
  const source = isDefault ? SOURCE.DEFAULT : SOURCE.STATIC_BROKER;
  return {
    name,
    value: sensitive ? null : value,
    readOnly: true,
    isDefault,
    configSource: source,
    isSensitive: sensitive,
    synonyms: [{ name, value: sensitive ? null : value, source }],
    configType: KIND.string,
    documentation: doc,
  };
}

export function brokerEntries(context: KafkaContext, keys: readonly string[] | null): ConfigEntry[] {
  const entries: ConfigEntry[] = [];
  for (const setting of context.settings.brokerSettings()) {
    if (wanted(keys, setting.name)) entries.push(brokerEntry(setting));
  }
  return entries;
}

export interface ConfigOperation {
  readonly name: string;
  readonly operation: number;
  readonly value: string | null;
}

/** The new list of a setting after APPEND or SUBTRACT. */
function changedList(topic: Topic, { name, operation, value }: ConfigOperation): string {
  const row = topicSettingRow(name);
  if (row?.kind !== 'list') {
    throw new HeadwaterError('INVALID_CONFIG', `${name}: append and subtract work on lists only; set it instead`);
  }
  const items = String(topic.config[row.name]).split(',');
  const given = (value ?? '').split(',').map((item) => item.trim());
  if (operation === OPERATION.APPEND) return [...new Set([...items, ...given])].join(',');
  return items.filter((item) => !given.includes(item)).join(',');
}

/** What the operations of IncrementalAlterConfigs change (KIP-339). Throws INVALID_CONFIG or INVALID_REQUEST. */
export function incrementalChanges(topic: Topic, operations: readonly ConfigOperation[]): Map<string, string | null> {
  const changes = new Map<string, string | null>();
  for (const one of operations) {
    const { name, operation, value } = one;
    if (changes.has(name)) throw new HeadwaterError('INVALID_REQUEST', `${name} comes twice in one request`);
    if (operation === OPERATION.DELETE) changes.set(name, null);
    else if (operation === OPERATION.SET) {
      if (value === null) throw new HeadwaterError('INVALID_REQUEST', `${name}: null cannot be set; delete it instead`);
      changes.set(name, value);
    } else if (operation === OPERATION.APPEND || operation === OPERATION.SUBTRACT) {
      changes.set(name, changedList(topic, one));
    } else {
      throw new HeadwaterError(
        'INVALID_REQUEST',
        `${name}: operation ${operation}; allowed are 0 (set), 1 (delete), 2 (append), 3 (subtract)`,
      );
    }
  }
  return changes;
}

/** What AlterConfigs changes: the settings given are set, all others lose their override. */
export function replacingChanges(
  topic: Topic,
  configs: readonly { readonly name: string; readonly value: string | null }[],
): Map<string, string | null> {
  const changes = new Map<string, string | null>();
  for (const name of topic.overrides.keys()) changes.set(name, null);
  for (const { name, value } of configs) {
    if (value === null)
      throw new HeadwaterError('INVALID_REQUEST', `${name}: null cannot be set; leave it out instead`);
    changes.set(name, value);
  }
  return changes;
}

/** Changes one resource. Only topics can be changed over the wire. Answers with the protocol's code and a message. */
export async function alterResource(
  context: KafkaContext,
  connection: ClientConnection,
  resourceType: number,
  resourceName: string,
  changesOf: (topic: Topic) => Map<string, string | null>,
  validateOnly: boolean,
): Promise<{ errorCode: number; errorMessage: string | null }> {
  if (resourceType !== RESOURCE.TOPIC) {
    const errorMessage =
      resourceType === RESOURCE.BROKER
        ? 'broker settings are changed in the configuration file (SIGHUP reloads it)'
        : `resource type ${resourceType} has no settings here; only topics (2) can be altered`;
    return { errorCode: KAFKA_ERROR.INVALID_REQUEST, errorMessage };
  }
  requireTopic(connection, 'alter', resourceName);
  const topic = context.log.topic(resourceName);
  if (topic === undefined) {
    return { errorCode: KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION, errorMessage: `no topic "${resourceName}"` };
  }
  const changes = changesOf(topic);
  checkUnits(changes);
  await context.log.alterTopic(resourceName, changes, { validateOnly });
  return { errorCode: KAFKA_ERROR.NONE, errorMessage: null };
}
