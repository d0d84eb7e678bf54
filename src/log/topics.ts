/** The topics of the log and their life: created, altered, deleted, one change after the other; who listens is told. */
import type { Env } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { type Catalog, checkTopicName, topicRow } from './catalog.ts';
import type { DiskLadder } from './disk-ladder.ts';
import type { LogOptions } from './log-options.ts';
import { LogPartition } from './partition.ts';
import { emptyStart, type PartitionHost } from './partition-host.ts';
import type { PartitionStore } from './partition-store.ts';
import { LogTopic } from './topic.ts';
import { resolveTopicConfig } from './topic-config.ts';
import type { TopicEvent, TopicSpec } from './types.ts';

export interface TopicsParts {
  readonly env: Env;
  readonly logger: Logger;
  readonly options: LogOptions;
  readonly catalog: Catalog;
  readonly partitionStore: PartitionStore;
  readonly host: PartitionHost;
  readonly ladder: DiskLadder | null;
  readonly topics: Map<string, LogTopic>;
  readonly topicDefaults: ReadonlyMap<string, string>;
}

export interface ChangeOptions {
  readonly validateOnly?: boolean;
  /** It comes from the broker that this one follows. */
  readonly replicated?: boolean;
  /** The configuration asks for it: a start on a full disk takes it from the reserve. */
  readonly configured?: boolean;
}

export class Topics {
  readonly #parts: TopicsParts;
  readonly byName: ReadonlyMap<string, LogTopic>;
  readonly byId: ReadonlyMap<string, LogTopic>;
  /** By their ids in the store. */
  readonly partitions: ReadonlyMap<number, LogPartition>;
  readonly #byName: Map<string, LogTopic>;
  readonly #byId = new Map<string, LogTopic>();
  readonly #partitions = new Map<number, LogPartition>();
  readonly #listeners: ((event: TopicEvent) => void)[] = [];
  #changes: Promise<unknown> = Promise.resolve();
  #closed = false;
  readonly #follows: () => boolean;

  /** `follows`: another broker leads (a standby); only what comes from it changes topics. */
  constructor(parts: TopicsParts, follows: () => boolean) {
    this.#parts = parts;
    this.#follows = follows;
    this.#byName = parts.topics;
    this.byName = this.#byName;
    this.byId = this.#byId;
    this.partitions = this.#partitions;
    for (const topic of parts.topics.values()) {
      this.#byId.set(topic.id, topic);
      for (const partition of topic.partitions) this.#partitions.set(partition.id, partition);
    }
  }

  /** A change that clients ask for. */
  #clientChange<T>(options: ChangeOptions, task: () => Promise<T>): Promise<T> {
    if (this.#follows() && options.replicated !== true && options.validateOnly !== true) {
      return Promise.reject(new HeadwaterError('NOT_CONTROLLER', 'this broker follows another, which leads'));
    }
    return this.change(task);
  }

  /** Changes of the catalog, and of partitions' ends, run one after the other. */
  change<T>(task: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new HeadwaterError('SHUTTING_DOWN', 'the broker is stopping'));
    const result = this.#changes.then(task);
    this.#changes = result.catch(() => {});
    return result;
  }

  /** Throws DISK_FULL. */
  #checkSpace(change: string, { configured }: ChangeOptions): void {
    const refusal = configured === true ? null : (this.#parts.ladder?.changeRefusal(change) ?? null);
    if (refusal !== null) throw refusal;
  }

  #existing(name: string): LogTopic {
    const topic = this.#byName.get(name);
    if (topic === undefined) throw new HeadwaterError('UNKNOWN_TOPIC', `topic "${name}" does not exist`);
    return topic;
  }

  async create(spec: TopicSpec, options: ChangeOptions = {}): Promise<LogTopic> {
    checkTopicName(spec.name);
    return this.#clientChange(options, async () => {
      const { catalog, host } = this.#parts;
      if (this.#byName.has(spec.name)) {
        throw new HeadwaterError('TOPIC_EXISTS', `topic "${spec.name}" exists already`);
      }
      const count = spec.partitions === -1 ? (this.#parts.options.numPartitions ?? 1) : spec.partitions;
      if (!Number.isSafeInteger(count) || count < 1) {
        throw new HeadwaterError(
          'INVALID_PARTITIONS',
          `topic "${spec.name}": ${spec.partitions} partitions; 1 or more`,
        );
      }
      const config = resolveTopicConfig(spec.config, this.#parts.topicDefaults);
      this.#checkSpace(`topic "${spec.name}" is created`, options);
      const id = spec.id ?? this.#newTopicId();
      const topic = new LogTopic(spec.name, id, spec.internal ?? false, config, new Map(spec.config));
      const ids = catalog.takePartitionIds(count);
      if (options.validateOnly === true) return topic;
      await topic.configure(config, new Map(spec.config));
      await catalog.put(topicRow(topic.name, id, topic.internal, ids, topic.overrides));
      for (const [index, partitionId] of ids.entries()) this.#addPartition(topic, index, partitionId, host);
      this.#byName.set(topic.name, topic);
      this.#byId.set(topic.id, topic);
      this.#tell({ kind: 'created', topic });
      return topic;
    });
  }

  /** Never zero nor Kafka's reserved 0..01. */
  #newTopicId(): string {
    for (;;) {
      const id = Buffer.from(this.#parts.env.random.bytes(16)).toString('hex');
      if (!id.startsWith('0'.repeat(16)) && !this.#byId.has(id)) return id;
    }
  }

  #addPartition(topic: LogTopic, index: number, id: number, host: PartitionHost): void {
    const partition = new LogPartition(host, topic, index, id, emptyStart());
    topic.partitions.push(partition);
    this.#partitions.set(id, partition);
  }

  delete(name: string, options: ChangeOptions = {}): Promise<void> {
    return this.#clientChange(options, async () => {
      const topic = this.#existing(name);
      const { catalog, partitionStore } = this.#parts;
      await catalog.remove(
        name,
        topic.partitions.flatMap((partition) => partitionStore.removal(partition.id)),
      );
      this.#byName.delete(name);
      this.#byId.delete(topic.id);
      for (const partition of topic.partitions) {
        this.#partitions.delete(partition.id);
        partition.delete();
      }
      this.#tell({ kind: 'deleted', topic });
    });
  }

  addPartitions(name: string, total: number, options: ChangeOptions = {}): Promise<void> {
    return this.#clientChange(options, async () => {
      const topic = this.#existing(name);
      const { catalog, host } = this.#parts;
      const present = topic.partitions.length;
      if (!Number.isSafeInteger(total) || total <= present) {
        throw new HeadwaterError(
          'INVALID_PARTITIONS',
          `topic "${name}" has ${present} partitions; ${total} is not more`,
        );
      }
      this.#checkSpace(`partitions are added to topic "${name}"`, options);
      const ids = catalog.takePartitionIds(total - present);
      if (options.validateOnly === true) return;
      const all = [...topic.partitions.map((partition) => partition.id), ...ids];
      await catalog.put(topicRow(name, topic.id, topic.internal, all, topic.overrides));
      for (const [i, id] of ids.entries()) this.#addPartition(topic, present + i, id, host);
      this.#tell({ kind: 'altered', topic });
    });
  }

  alter(name: string, changes: ReadonlyMap<string, string | null>, options: ChangeOptions = {}): Promise<void> {
    return this.#clientChange(options, async () => {
      const topic = this.#existing(name);
      const overrides = new Map(topic.overrides);
      for (const [key, value] of changes) {
        if (value === null) overrides.delete(key);
        else overrides.set(key, value);
      }
      const config = resolveTopicConfig(overrides, this.#parts.topicDefaults);
      if (options.validateOnly === true) return;
      const ids = topic.partitions.map((partition) => partition.id);
      await this.#parts.catalog.put(topicRow(name, topic.id, topic.internal, ids, overrides));
      await topic.configure(config, overrides);
      this.#tell({ kind: 'altered', topic });
    });
  }

  onEvent(listener: (event: TopicEvent) => void): void {
    this.#listeners.push(listener);
  }

  #tell(event: TopicEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#parts.logger.error({ error, topic: event.topic.name }, 'a topic listener failed');
      }
    }
  }

  /** No further change begins. */
  refuse(): void {
    this.#closed = true;
  }

  /** Resolves when the changes that began are over. */
  async settled(): Promise<void> {
    await this.#changes;
  }
}
