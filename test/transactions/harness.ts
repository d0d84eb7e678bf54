/** The transaction coordinator over the real log and the real group coordinator, on a disk in memory. */
import { GroupCoordinator } from '../../src/groups/coordinator.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { openLog } from '../../src/log/log.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { TransactionCoordinator, type TransactionSettings } from '../../src/transactions/coordinator.ts';
import type { ProducerIdentity } from '../../src/transactions/step.ts';
import { isControl, producerIdOf } from '../../src/wire/batch/record-batch.ts';
import { RecordCursor } from '../../src/wire/batch/record-cursor.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { turns, VirtualClock, virtualEnv } from '../support/virtual-env.ts';

const encoder = new TextEncoder();

export const SIMPLE_MEMBER = { generation: -1, memberId: '', instanceId: null };

export class TxnBench {
  readonly clock = new VirtualClock();
  readonly disk: MemoryDisk;
  readonly settings: Partial<TransactionSettings>;
  trusted = true;
  /** From the next start on. */
  follows = false;
  /** By how much the clock was early until it was stepped, ms. */
  early = 0;
  log!: HeadwaterLog;
  groups!: GroupCoordinator;
  transactions!: TransactionCoordinator;
  #starts = 0;

  constructor(settings: Partial<TransactionSettings> = {}, disk = new MemoryDisk()) {
    this.settings = settings;
    this.disk = disk;
  }

  async start(): Promise<this> {
    const env = virtualEnv(this.clock, ++this.#starts);
    const metrics = new Metrics();
    const store = this.disk.mount();
    this.log = await this.settled(
      openLog({ store, env, metrics, logger: silentLogger, options: { retentionSchedule: null } }),
    );
    const parts = { meta: this.log.meta, log: this.log, env, metrics, logger: silentLogger };
    this.log.follows = this.follows;
    const { follows } = this;
    this.groups = new GroupCoordinator({ ...parts, follows, settings: { initialRebalanceDelayMs: 0 } });
    this.transactions = new TransactionCoordinator({
      ...parts,
      follows,
      offsets: this.groups.offsets,
      trustedNow: () => (this.trusted ? this.clock.now() : null),
      writtenAt: (timestamp) => timestamp + this.early,
      settings: this.settings,
    });
    await this.settled(this.groups.start());
    await this.settled(this.transactions.start());
    if (this.log.topic('t') === undefined) {
      await this.settled(this.log.createTopic({ name: 't', partitions: 3, config: new Map() }));
    }
    return this;
  }

  /** kill -9 and start again on the same disk. */
  async restart(): Promise<void> {
    this.transactions.stop();
    this.groups.stop();
    this.disk.crash();
    await this.start();
  }

  /** Runs what is ready until the promise has its result; no time passes. */
  async settled<T>(promise: Promise<T>): Promise<T> {
    let done = false;
    const finish = () => {
      done = true;
    };
    promise.then(finish, finish);
    for (let i = 0; i < 2_000 && !done; i++) await this.clock.advance(0);
    if (!done) throw new Error('nothing happens any more, and the answer is not there');
    return promise;
  }

  /** Lets everything happen that does not wait for time. */
  async quiet(): Promise<void> {
    for (let i = 0; i < 20; i++) await this.clock.advance(0);
    await turns();
  }

  async init(id: string, expected: ProducerIdentity | null = null, timeoutMs = 60_000) {
    return this.settled(this.transactions.initProducerId(id, timeoutMs, expected));
  }

  async producer(id: string, timeoutMs = 60_000): Promise<Producer> {
    const { error, producerId, epoch } = await this.init(id, null, timeoutMs);
    if (error !== 0) throw new Error(`InitProducerId answered ${error}`);
    return new Producer(this, id, { producerId, epoch });
  }

  /** What a read_committed consumer makes of the partition (section 6 of the protocol facts). */
  async readCommitted(index: number): Promise<string[]> {
    const partition = this.log.topic('t')!.partitions[index]!;
    const upTo = partition.lastStableOffset;
    const values: string[] = [];
    const aborted = [...partition.abortedTransactions(0, upTo)];
    const open = new Set<number>();
    let from = partition.logStartOffset;
    while (from < upTo) {
      const { batches, nextOffset } = await this.settled(partition.read({ from, upTo, maxBytes: 1 << 20 }));
      if (batches.length === 0) break;
      for (const batch of batches) {
        const cursor = new RecordCursor(batch);
        const id = producerIdOf(batch);
        while (aborted.length > 0 && aborted[0]!.firstOffset <= Number(Buffer.from(batch).readBigInt64BE(0))) {
          open.add(aborted.shift()!.producerId);
        }
        if (isControl(batch)) {
          open.delete(id);
          continue;
        }
        if (open.has(id)) continue;
        while (cursor.next()) values.push(cursor.value!.toString());
      }
      from = nextOffset;
    }
    return values;
  }
}

export class Producer {
  readonly #bench: TxnBench;
  readonly id: string;
  identity: ProducerIdentity;
  readonly #sequences = new Map<number, number>();

  constructor(bench: TxnBench, id: string, identity: ProducerIdentity) {
    this.#bench = bench;
    this.id = id;
    this.identity = identity;
  }

  add(...partitions: number[]): Promise<number> {
    const topic = this.#bench.log.topic('t')!;
    const named = partitions.map((partition) => ({ topic: 't', topicId: topic.id, partition }));
    return this.#bench.settled(this.#bench.transactions.addPartitions(this.id, this.identity, named));
  }

  addGroup(groupId: string): Promise<number> {
    return this.#bench.settled(this.#bench.transactions.addGroup(this.id, this.identity, groupId));
  }

  /** As the Produce handler does: the gate, then the append. Resolves with the error code. */
  async send(index: number, value: string): Promise<number> {
    const { transactions, log, clock } = this.#bench;
    const partition = log.topic('t')!.partitions[index]!;
    const { producerId, epoch } = this.identity;
    const refused = transactions.admits(this.id, producerId, epoch, partition);
    if (refused !== 0) return refused;
    const sequence = this.#sequences.get(index) ?? 0;
    const batch = encodeBatch([{ key: null, value: encoder.encode(value), headers: [], timestamp: -1 }], {
      now: clock.now(),
      producerId,
      producerEpoch: epoch,
      baseSequence: sequence,
      transactional: true,
    });
    this.#sequences.set(index, sequence + 1);
    return this.#bench.settled(
      new Promise<number>((resolve) => {
        partition.appendBatch(batch, { acks: 1, origin: 'client', transactional: true }, (error) =>
          resolve(error === null ? 0 : error.kafkaCode),
        );
      }),
    );
  }

  async commitOffset(groupId: string, partition: number, offset: number): Promise<number> {
    const refused = this.#bench.transactions.admitsGroup(this.id, this.identity, groupId);
    if (refused !== 0) return refused;
    const offsets = [{ topic: 't', partition, offset, leaderEpoch: -1, metadata: '' }];
    const { producerId } = this.identity;
    const held = this.#bench.groups.offsets.commitPending(groupId, producerId, SIMPLE_MEMBER, offsets);
    return (await this.#bench.settled(held))[0]!;
  }

  end(commit: boolean): Promise<number> {
    return this.#bench.settled(this.#bench.transactions.end(this.id, this.identity, commit));
  }
}
