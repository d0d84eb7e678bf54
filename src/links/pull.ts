/**
 * Topics that a Kafka link pulls down. Each record is stored here with where it came from (`headwater-offset`: topic, partition and
 * offset upstream): the position is in the log, in the same synced write as the record, and after a crash it is read from
 * there. The cursor only says from which offset here to look.
 */
import { Cluster, type ClusterOptions } from '../client/cluster.ts';
import { type ConsumedRecord, Consumer } from '../client/consumer.ts';
import { delay, type Env, type Timer } from '../env.ts';
import { asHeadwaterError } from '../errors.ts';
import type { Log, Partition } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import { openBatch } from '../wire/batch/compression.ts';
import { isControl } from '../wire/batch/record-batch.ts';
import { encodeBatch, type RecordInput, recordSizeBound } from '../wire/batch/record-encoder.ts';
import { backoffMs } from './backoff.ts';
import type { CursorStore } from './cursor.ts';
import { topicSelector } from './topic-selection.ts';

export const SOURCE_HEADER = 'headwater-offset';
/** Brokers that pulled the record: it does not come back to one of them. */
export const PATH_HEADER = 'headwater-path';
/** Of one answer upstream: what is in memory. */
const FETCH_BYTES = 256 * 1024;
const BATCH_BYTES = 64 * 1024;
const SCAN_BYTES = 256 * 1024;
const CURSOR_INTERVAL_MS = 1_000;
const LIST_INTERVAL_MS = 30_000;

export interface PullOptions {
  readonly link: string;
  readonly broker: string;
  readonly cluster: ClusterOptions;
  /** Names and globs of topics upstream. */
  readonly topics: readonly string[];
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

export interface PullDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly log: Log;
  readonly cursors: CursorStore;
  maySend(): boolean;
}

interface Pulled {
  readonly topic: string;
  readonly index: number;
  readonly local: Partition;
}

export class Pull {
  readonly #options: PullOptions;
  readonly #dependencies: PullDependencies;
  readonly #selects: (topic: string) => boolean;
  #cluster: Cluster | null = null;
  #stopped = false;
  #timer: Timer | null = null;
  #running: Promise<void> = Promise.resolve();
  #attempts = 0;
  /** Records stored since the start. */
  records = 0;
  /** Partitions upstream that could not be read the last time, while others were. */
  failing = 0;
  lastError: string | null = null;

  constructor(options: PullOptions, dependencies: PullDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
    this.#selects = topicSelector(options.topics);
  }

  start(): void {
    this.#running = this.#run();
    this.#timer = this.#dependencies.env.clock.every(CURSOR_INTERVAL_MS, () => this.#flush());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#cluster?.close();
    await this.#running;
    await this.#dependencies.cursors.flush();
  }

  #flush(): void {
    const { cursors, logger } = this.#dependencies;
    cursors.flush().catch((error) => logger.warn({ err: error }, 'cursors could not be stored'));
  }

  async #run(): Promise<void> {
    await this.#dependencies.cursors.load();
    const { env, logger } = this.#dependencies;
    const { backoffBaseMs, backoffMaxMs, link } = this.#options;
    while (!this.#stopped) {
      this.#cluster = new Cluster(env, this.#options.cluster);
      try {
        await this.#session(this.#cluster);
      } catch (error) {
        if (this.#stopped) return;
        this.lastError = asHeadwaterError(error).message;
        logger.debug({ link, reason: this.lastError }, 'pulling topics has to begin again');
        await delay(env.clock, backoffMs(this.#attempts++, backoffBaseMs, backoffMaxMs, env.random.unit()));
      } finally {
        this.#cluster.close();
      }
    }
  }

  async #session(cluster: Cluster): Promise<void> {
    const { env } = this.#dependencies;
    const partitions = await this.#partitions(cluster);
    // Where retention upstream was faster the first that is left is the next; where upstream has lost its end, what comes there.
    const reading = { isolation: 'read_committed', nearest: true, maxBytes: FETCH_BYTES, maxWaitMs: 500 } as const;
    const consumer = new Consumer(cluster, reading);
    const assignments = [];
    for (const pulled of partitions.values()) {
      assignments.push({ topic: pulled.topic, partition: pulled.index, offset: await this.#position(pulled) });
    }
    await consumer.assign(assignments);
    const listed = env.clock.monotonic();
    while (!this.#stopped && env.clock.monotonic() - listed < LIST_INTERVAL_MS) {
      if (!this.#dependencies.maySend()) {
        await delay(env.clock, 500);
        continue;
      }
      await this.#store(await consumer.poll(), partitions);
      this.#attempts = 0;
      const positions = consumer.positions();
      // Those that cannot be read hold up no other: they show until they are read again.
      const failing = positions.filter(({ error }) => error !== null);
      this.failing = failing.length;
      this.lastError = failing[0]?.error?.message ?? null;
      for (const { topic, partition, offset } of positions) {
        const pulled = partitions.get(`${topic}/${partition}`);
        if (pulled !== undefined) this.#remember(pulled, offset);
      }
    }
  }

  /** What is there upstream, with its topic here: created when it is missing, as large as upstream. */
  async #partitions(cluster: Cluster): Promise<Map<string, Pulled>> {
    const { log } = this.#dependencies;
    const found = new Map<string, Pulled>();
    for (const { name, internal, errorCode, partitions } of (await cluster.metadata(null)).topics) {
      if (internal || errorCode !== 0 || !this.#selects(name)) continue;
      const topic =
        log.topic(name) ?? (await log.createTopic({ name, partitions: partitions.length, config: new Map() }));
      if (topic.partitions.length < partitions.length) await log.createPartitions(name, partitions.length);
      for (const { index } of partitions) {
        found.set(`${name}/${index}`, { topic: name, index, local: log.topic(name)!.partitions[index]! });
      }
    }
    return found;
  }

  /** The offset upstream behind the last record of it in the log here. */
  async #position({ topic, index, local }: Pulled): Promise<number> {
    const cursor = this.#dependencies.cursors.get(local.topic.id, index);
    let position = cursor?.upstreamNext ?? 0;
    for (let next = Math.max(cursor?.offset ?? 0, local.logStartOffset); next < local.logEndOffset; ) {
      const { batches, nextOffset } = await local.read({ from: next, upTo: local.logEndOffset, maxBytes: SCAN_BYTES });
      for (const batch of batches) {
        if (isControl(batch)) continue;
        const records = await openBatch(batch);
        while (records.next()) {
          const source = records
            .headers()
            .find(({ key }) => key === SOURCE_HEADER)
            ?.value?.toString();
          const [, name, from] = /^(.*)\/(\d+\/\d+)$/.exec(source ?? '') ?? [];
          const [partition, offset] = (from ?? '').split('/').map(Number);
          if (name === topic && partition === index) position = Math.max(position, offset! + 1);
        }
      }
      if (nextOffset <= next) break;
      next = nextOffset;
    }
    return position;
  }

  async #store(records: readonly ConsumedRecord[], partitions: ReadonlyMap<string, Pulled>): Promise<void> {
    const { broker } = this.#options;
    const batches = new Map<string, { bytes: number; records: RecordInput[] }[]>();
    for (const { topic, partition, offset, key, value, headers, timestamp } of records) {
      const path = headers.find((header) => header.key === PATH_HEADER)?.value?.toString() ?? '';
      if (path.split(' ').includes(broker)) continue;
      const record: RecordInput = {
        key,
        value,
        timestamp,
        headers: [
          ...headers.filter((header) => header.key !== PATH_HEADER && header.key !== SOURCE_HEADER),
          { key: SOURCE_HEADER, value: Buffer.from(`${topic}/${partition}/${offset}`) },
          { key: PATH_HEADER, value: Buffer.from(path === '' ? broker : `${path} ${broker}`) },
        ],
      };
      const name = `${topic}/${partition}`;
      const list = batches.get(name) ?? [];
      batches.set(name, list);
      const bytes = recordSizeBound(record);
      const last = list.at(-1);
      if (last === undefined || last.bytes + bytes > BATCH_BYTES) list.push({ bytes, records: [record] });
      else {
        last.bytes += bytes;
        last.records.push(record);
      }
    }
    for (const [name, list] of batches) {
      const { local } = partitions.get(name)!;
      for (const batch of list) {
        if (this.#stopped) return;
        await this.#append(local, encodeBatch(batch.records, { now: this.#dependencies.env.clock.now() }));
        this.records += batch.records.length;
      }
    }
  }

  #append(local: Partition, batch: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      local.appendBatch(batch, { acks: 1, origin: 'client' }, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  /** Everything up to here is in the log, so there is nothing to look for below its end. */
  #remember({ topic, index, local }: Pulled, upstreamNext: number): void {
    const { cursors } = this.#dependencies;
    const before = cursors.get(local.topic.id, index);
    if (before?.upstreamNext === upstreamNext) return;
    cursors.set(local.topic.id, index, {
      offset: local.logEndOffset,
      sequence: 0,
      producerId: -1,
      producerEpoch: -1,
      upstreamNext,
      upstreamTopic: topic,
      upstreamPartition: index,
      upstreamTopicId: '',
      clusterId: null,
      selection: '',
    });
  }
}
