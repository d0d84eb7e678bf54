/** A Kafka link from a log in memory to the fake Kafka, with the metadata on the fake disk of the store. */
import { type Env, systemEnv } from '../../src/env.ts';
import { Links } from '../../src/links/links.ts';
import type { LinkSettings } from '../../src/links/settings.ts';
import { Ledger, type LedgerEntry } from '../../src/log/ledger.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import type { MetaOperation, MetaStore } from '../../src/store/meta.ts';
import { GroupCommitMetaStore } from '../../src/store/meta-store.ts';
import {
  type BatchCompressor,
  compressBatch,
  encodeBatch,
  type RecordInput,
} from '../../src/wire/batch/record-encoder.ts';
import { MemoryLog, type MemoryPartition } from '../kafka/memory-log.ts';
import type { VirtualClock } from '../support/virtual-env.ts';

export const DEFAULTS: LinkSettings = {
  type: 'kafka',
  'initial.role': 'follower',
  'bootstrap.servers': [],
  url: null,
  topics: ['*'],
  pull: [],
  rename: '{broker}.{topic}',
  acks: 'all',
  replicas: 'async',
  transactional: false,
  oversize: 'block',
  'compression.type': 'stored',
  filter: [],
  where: [],
  transform: 'none',
  partitioner: 'keep',
  'num.partitions': -1,
  'replication.factor': -1,
  'max.bytes.per.second': 0,
  'live.share.percent': 50,
  windows: [],
  'budget.day.bytes': 0,
  'budget.month.bytes': 0,
  'max.request.size': 512 * 1024,
  'max.in.flight.requests.per.connection': 5,
  'request.timeout.ms': 1_000,
  'retry.backoff.ms': 10,
  'retry.backoff.max.ms': 50,
  'client.id': null,
  'security.protocol': 'PLAINTEXT',
  'sasl.mechanism': 'SCRAM-SHA-512',
  username: null,
  password: null,
  'password.file': null,
  'ssl.ca.file': null,
  'ssl.certificate.file': null,
  'ssl.key.file': null,
  paused: false,
};

export async function until(holds: () => boolean, what: string, ms = 10_000): Promise<void> {
  const end = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** An edge: its log and metadata survive `restart`. */
export class Edge {
  log = new MemoryLog();
  disk = new MemoryDisk();
  meta: MetaStore | null = null;
  ledger: Ledger | null = null;
  links: Links | null = null;
  metrics = new Metrics();
  #settings: LinkSettings;
  readonly #env: Env;
  #written = new Map<MemoryPartition, number>();

  constructor(settings: Partial<LinkSettings>, env: Env = systemEnv) {
    this.#settings = { ...DEFAULTS, ...settings };
    this.#env = env;
  }

  /** Takes effect with the next start. */
  configure(settings: Partial<LinkSettings>): void {
    this.#settings = { ...this.#settings, ...settings };
  }

  async topic(name: string, partitions = 1): Promise<MemoryPartition[]> {
    const topic = await this.log.createTopic({ name, partitions, config: new Map() });
    return topic.partitions as MemoryPartition[];
  }

  /** One batch of `count` records, numbered on. */
  write(partition: MemoryPartition, count = 1): void {
    const from = this.#written.get(partition) ?? 0;
    this.#written.set(partition, from + count);
    // No two partitions at the same time, not even those of a topic that is created again.
    const hours = [...this.#written.keys()].indexOf(partition) * 3_600_000;
    const records = Array.from({ length: count }, (_, index) => ({
      key: null,
      value: Buffer.from(`${partition.topic.name}-${partition.index}:${from + index}`),
      headers: [],
      timestamp: 1_700_000_000_000 + hours + from + index,
    }));
    this.store(partition, records);
  }

  /** One batch of these records, compressed or not. */
  store(partition: MemoryPartition, records: readonly RecordInput[], codec: BatchCompressor | null = null): void {
    const batch = encodeBatch(records, { now: 0 });
    partition.commit(Buffer.from(codec === null ? batch : compressBatch(batch, codec)));
    partition.wake();
  }

  written(partition: MemoryPartition): string[] {
    const name = `${partition.topic.name}-${partition.index}`;
    return Array.from({ length: this.#written.get(partition) ?? 0 }, (_, index) => `${name}:${index}`);
  }

  async start(): Promise<void> {
    this.meta = await this.#openMeta();
    this.ledger = new Ledger(this.meta, this.#env.clock);
    await this.ledger.load();
    this.metrics = new Metrics();
    this.links = new Links(new Map([['cloud', this.#settings]]), {
      env: this.#env,
      logger: silentLogger,
      metrics: this.metrics,
      log: this.log,
      meta: this.meta,
      ledger: this.ledger,
      broker: 'edge',
      priorityOf: () => 4,
    });
    await this.links.start();
  }

  async #openMeta(): Promise<MetaStore> {
    const store = this.disk.mount();
    const open = () => store.open('meta', {});
    const meta = new GroupCommitMetaStore(await open(), open);
    const close = meta.close.bind(meta);
    meta.close = async () => {
      await close();
      await store.close();
    };
    return meta;
  }

  /** A copy of the metadata, as a backup of the card would have it. The edge is stopped. */
  async image(): Promise<MetaOperation[]> {
    const meta = await this.#openMeta();
    const image: MetaOperation[] = [];
    for await (const { key, value } of meta.entries({ gte: Buffer.of(0), lte: Buffer.of(0xff) }))
      image.push({ key, value });
    await meta.close();
    return image;
  }

  /** A new card with that copy on it. */
  async restore(image: readonly MetaOperation[]): Promise<void> {
    this.disk = new MemoryDisk();
    const meta = await this.#openMeta();
    await meta.write(image);
    await meta.close();
  }

  /** One of the link's counters: `rebuilds` for `headwater_link_rebuilds_total`. */
  counter(what: string): number {
    return this.gauge(`${what}_total`);
  }

  /** One of the link's gauges: `up` for `headwater_link_up`. */
  gauge(what: string): number {
    for (const family of this.metrics.families()) {
      if (family.name !== `headwater_link_${what}`) continue;
      return [...family.samples()].reduce((sum, { value }) => sum + value, 0);
    }
    throw new TypeError(`there is no metric ${what}`);
  }

  get status() {
    return this.links!.status()[0]!;
  }

  async stop(): Promise<void> {
    await this.links?.stop();
    await this.meta?.close();
    this.links = null;
  }

  /** kill -9: nothing more is written; what the disk has, it has. */
  async kill(): Promise<void> {
    const dead = this.meta!;
    dead.write = () => new Promise(() => {});
    for (const topic of this.log.topics()) for (const partition of topic.partitions) partition.waiters.clear();
    // Its timers and sockets end as a process's would.
    await Promise.race([this.links!.stop(), new Promise((resolve) => setTimeout(resolve, 5))]);
    this.disk.crash();
    this.links = null;
  }

  async losses(): Promise<LedgerEntry[]> {
    const losses: LedgerEntry[] = [];
    for await (const entry of this.ledger!.entries()) losses.push(entry);
    return losses;
  }

  drained(ms = 10_000): Promise<void> {
    return until(() => this.status.backlogRecords === 0, 'drained', ms).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(this.status)}`);
    });
  }
}

/**
 * As `until`, by a clock that moves on by a quarter second whenever nothing more happens between the link and `upstream`; while the link
 * connects (which takes turns of the machine that nobody sees from here) by a millisecond.
 */
export async function untilOf(
  clock: VirtualClock,
  upstream: { readonly activity: number },
  edge: Edge,
  holds: () => boolean,
  what: string,
  ms = 300_000,
): Promise<void> {
  const end = clock.monotonic() + ms;
  const connects = () => edge.status.partitions.some(({ state }) => state === 'connecting' || state === 'locating');
  for (;;) {
    let seen = upstream.activity;
    for (let quiet = 0; quiet < 3; quiet++) {
      await clock.advance(0);
      if (holds()) return;
      // The sockets are real: their turn.
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (upstream.activity !== seen) quiet = -1;
      seen = upstream.activity;
    }
    if (clock.monotonic() > end) throw new Error(`${what}: not within ${ms} ms of the virtual clock`);
    await clock.advance(connects() ? 1 : 250);
  }
}
