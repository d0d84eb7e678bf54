/** What is known of an MQTT topic name: route, key, partition, who subscribes. Remembered for the topics in use. */
import { MQTT_TOPIC_CACHE_ENTRIES } from '../limits.ts';
import type { Labels, Log, Partition } from '../log/types.ts';
import { partitionForKey } from '../wire/batch/murmur2.ts';
import { labelsOf } from './labels.ts';
import type { Route, RouteTable } from './routes.ts';
import type { Match, SubscriptionIndex } from './subscription-index.ts';
import { type Levels, parseTopicName } from './topic-filter.ts';

export interface TopicEntry {
  readonly topic: string;
  readonly levels: Levels;
  readonly labels: Labels;
  readonly route: Route;
  /** Null when the key depends on the client. */
  readonly key: Buffer | null;
  /** Null when it depends on the client, when nothing is stored, or when the log topic does not exist. */
  readonly partition: Partition | null;
  matches: readonly Match[];
  matchesVersion: number;
}

export class TopicCache {
  readonly #log: Log;
  readonly #routes: RouteTable;
  readonly #index: SubscriptionIndex;
  readonly #entries = new Map<string, TopicEntry>();

  constructor(log: Log, routes: RouteTable, index: SubscriptionIndex) {
    this.#log = log;
    this.#routes = routes;
    this.#index = index;
    log.onTopicEvent(() => this.clear());
  }

  /** Topics or routes changed. */
  clear(): void {
    this.#entries.clear();
  }

  /** Throws TOPIC_NAME_INVALID. */
  get(topic: string): TopicEntry {
    const known = this.#entries.get(topic);
    if (known !== undefined) return known;
    const levels = parseTopicName(topic);
    const route = this.#routes.find(levels);
    const key = route.usesClient ? null : Buffer.from(route.keyOf(topic, levels, ''));
    const partition = key === null || !route.store ? null : this.#partition(route, key);
    const entry: TopicEntry = {
      topic,
      levels,
      labels: labelsOf(topic, levels),
      route,
      key,
      partition,
      matches: [],
      matchesVersion: 0,
    };
    if (this.#entries.size >= MQTT_TOPIC_CACHE_ENTRIES) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    this.#entries.set(topic, entry);
    return entry;
  }

  #partition(route: Route, key: Buffer): Partition | null {
    const partitions = this.#log.topic(route.topicName)?.partitions;
    return partitions?.[partitionForKey(key, partitions.length)] ?? null;
  }

  keyFor(entry: TopicEntry, clientId: string): Buffer {
    return entry.key ?? Buffer.from(entry.route.keyOf(entry.topic, entry.levels, clientId));
  }

  partitionFor(entry: TopicEntry, key: Buffer): Partition | null {
    return entry.key === null ? this.#partition(entry.route, key) : entry.partition;
  }

  matches(entry: TopicEntry): readonly Match[] {
    if (entry.matchesVersion !== this.#index.version) {
      entry.matches = this.#index.match(entry.levels);
      entry.matchesVersion = this.#index.version;
    }
    return entry.matches;
  }
}
