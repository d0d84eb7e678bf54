/**
 * One life of a log under seeded faults, watched from outside. Producers append records of their own numbering, resend what
 * was not acknowledged (idempotent ones with the same sequence), read at random; the disk fails, fills up, loses power,
 * flips bits. After every start and at the end the checker compares what the log serves with what it acknowledged:
 * nothing acknowledged is missing unless it was let go or is in the loss ledger, offsets are dense, nobody's records
 * change order, idempotent records are there once.
 */
import { systemEnv } from '../../src/env.ts';
import { checkStore } from '../../src/log/check.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { openLog } from '../../src/log/log.ts';
import type { LogOptions } from '../../src/log/log-options.ts';
import type { LogPartition } from '../../src/log/partition.ts';
import { recordsOf } from '../../src/log/reader.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { CHUNK_RECORD_PARTITION, parseBatchKey, parseSliceName } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { drain, SeededRandom, SimClock } from './clock.ts';
import { KeyedModel, readKeyed } from './keyed-model.ts';

const TOPICS = 3;
const PARTITIONS_PER_TOPIC = 2;
const PRODUCERS = 4;
const CAPACITY = 400_000;
const KEYED_TOPIC = 'keyed';

/** What the outside knows of one partition. */
interface Model {
  readonly name: string;
  /** Acknowledged: offset to value. */
  readonly acknowledged: Map<number, string>;
  /** Everything ever sent here, acknowledged or not. */
  readonly sent: Set<string>;
  /** Highest log start seen; it never goes back. */
  logStart: number;
  logEnd: number;
  epoch: number;
}

interface Producer {
  readonly id: number;
  readonly model: Model;
  sequence: number;
  /** Sent and not acknowledged: goes again, unchanged, before anything new. */
  pending: { values: string[]; sequence: number } | null;
  inFlight: boolean;
}

export interface SimulationResult {
  readonly acknowledged: number;
  readonly crashes: number;
  readonly faults: number;
  readonly flips: number;
  readonly lost: number;
  /** Of those lost, what gave way on a full disk. */
  readonly gaveWay: number;
  /** Superseded records that compaction has taken. */
  readonly compacted: number;
}

export class Simulation {
  readonly #random: SeededRandom;
  readonly #clock = new SimClock();
  readonly #disk: MemoryDisk;
  readonly #models = new Map<string, Model>();
  readonly #producers: Producer[] = [];
  readonly #keyed = new KeyedModel();
  readonly #trace: string[] = [];
  #log: HeadwaterLog | null = null;
  #metrics = new Metrics();
  #counter = 0;
  #generation = 0;
  #crashes = 0;
  #faults = 0;
  #flips = 0;
  /** Offsets of the ledger that gave way to newer ones on a full disk. */
  #gaveWay = 0;
  /** Damage was done to record data: losses must be in the ledger, and only then may there be any. */
  #damaged = false;
  #failures: string[] = [];

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    this.#disk = new MemoryDisk({
      schedule: (task) => this.#clock.after(this.#random.unit() * 20, task),
      random: () => this.#random.unit(),
      capacityBytes: CAPACITY,
    });
  }

  #fail(what: string): void {
    this.#failures.push(what);
  }

  #note(what: string): void {
    this.#trace.push(`${this.#clock.monotonic().toFixed(1)} ${what}`);
    if (this.#trace.length > 200) this.#trace.shift();
  }

  /** Runs `steps` random actions; throws with what went wrong and the last events. */
  async run(steps: number): Promise<SimulationResult> {
    await this.#start();
    for (let i = 0; i < steps && this.#failures.length === 0; i++) {
      await this.#action();
      const until = this.#clock.monotonic() + this.#random.unit() * 30;
      while (await this.#clock.step(until));
    }
    await this.#restart(true);
    await this.#restart(false);
    await this.#checkDirectory();
    if (this.#failures.length > 0) {
      throw new Error(
        `${this.#failures.slice(0, 5).join('\n')}\n--- last events\n${this.#trace.slice(-60).join('\n')}`,
      );
    }
    let acknowledged = 0;
    for (const model of this.#models.values()) acknowledged += model.acknowledged.size;
    const lost = (await this.#ledgerRanges()).size;
    return {
      acknowledged,
      crashes: this.#crashes,
      faults: this.#faults,
      flips: this.#flips,
      lost,
      gaveWay: this.#gaveWay,
      compacted: this.#keyed.compacted,
    };
  }

  /** Runs a promise to its end on the virtual clock. */
  async #wait<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const watched = promise.finally(() => {
      settled = true;
    });
    watched.catch(() => {});
    for (let i = 0; !settled; i++) {
      if (!(await this.#clock.step())) await drain();
      if (i > 100_000) throw new Error('no progress: a promise never settled');
    }
    return watched;
  }

  async #start(): Promise<void> {
    this.#disk.arm();
    this.#disk.capacityBytes = CAPACITY;
    this.#generation++;
    this.#metrics = new Metrics();
    this.#log = await this.#wait(
      openLog({
        store: this.#disk.mount(),
        env: { ...systemEnv, clock: this.#clock, random: this.#random },
        metrics: this.#metrics,
        logger: {
          ...silentLogger,
          error: (fields, message) => this.#note(`log: ${message} ${JSON.stringify(fields)}`),
        },
        options: {
          writeBufferBytes: 3_000,
          sliceBytes: 12_000,
          retentionSchedule: null,
          retentionTotalBytes: 150_000,
          disk: {
            lowBytes: 20_000,
            reserveBytes: 3_000,
            policy: (topic) => (topic === 't2' ? 'reject' : 'drop-oldest'),
          },
          ...this.#pace(),
        },
      }),
    );
    if (this.#models.size === 0) await this.#createTopics();
    for (const producer of this.#producers) producer.inFlight = false;
    this.#note(`started, generation ${this.#generation}`);
  }

  /** Most starts write as fast as the disk does, some wait for flush.ms or for a budget that is overdrawn. */
  #pace(): LogOptions {
    const dice = this.#random.below(8);
    if (dice === 0) return { flushMs: 1 + this.#random.below(50) };
    return dice === 1 ? { wearBytesPerDay: 1_000, wearMaxMs: 1 + this.#random.below(50) } : {};
  }

  async #createTopics(): Promise<void> {
    for (let t = 0; t < TOPICS; t++) {
      const config = new Map([
        ['retention.bytes', t === 0 ? '-1' : '20000'],
        ['compression.type', t === 1 ? 'gzip' : 'producer'],
      ]);
      const topic = await this.#wait(
        this.#log!.createTopic({ name: `t${t}`, partitions: PARTITIONS_PER_TOPIC, config }),
      );
      for (const partition of topic.partitions) {
        const name = partition.name;
        this.#models.set(name, { name, acknowledged: new Map(), sent: new Set(), logStart: 0, logEnd: 0, epoch: 0 });
      }
    }
    await this.#wait(
      this.#log!.createTopic({
        name: KEYED_TOPIC,
        partitions: 1,
        config: new Map([
          ['cleanup.policy', 'compact'],
          ['min.cleanable.dirty.ratio', '0.2'],
          ['delete.retention.ms', String(this.#keyed.deleteRetentionMs)],
        ]),
      }),
    );
    const models = [...this.#models.values()];
    for (let i = 0; i < PRODUCERS; i++) {
      const id = await this.#wait(this.#log!.nextProducerId());
      this.#producers.push({ id, model: models[i % models.length]!, sequence: 0, pending: null, inFlight: false });
    }
  }

  #partition(model: Model): LogPartition {
    const [topic, index] = model.name.split('-');
    return this.#log!.topic(topic!)!.partitions[Number(index)]!;
  }

  #anyModel(): Model {
    const models = [...this.#models.values()];
    return models[this.#random.below(models.length)]!;
  }

  async #action(): Promise<void> {
    const random = this.#random;
    const dice = random.unit();
    if (dice < 0.15) return this.#appendKeyed();
    if (dice < 0.5) return this.#append(this.#anyModel());
    if (dice < 0.75) return this.#produce(this.#producers[random.below(this.#producers.length)]!);
    if (dice < 0.85) return void (await this.#readSome(this.#anyModel()));
    if (dice < 0.9) return this.#retain();
    if (dice < 0.92) return this.#deleteRecords(this.#anyModel());
    if (dice < 0.94) return this.#fault();
    if (dice < 0.96) return this.#crash();
    if (dice < 0.965) return this.#restart(true);
    if (dice < 0.97) return this.#flip();
    if (dice < 0.975) {
      this.#disk.capacityBytes = this.#disk.usedBytes + random.below(5_000);
      this.#faults++;
      this.#note(`disk full at ${this.#disk.capacityBytes}`);
    } else if (dice < 0.99) {
      this.#disk.capacityBytes = CAPACITY;
    }
  }

  #append(model: Model): void {
    const generation = this.#generation;
    const count = 1 + this.#random.below(4);
    for (let i = 0; i < count; i++) {
      const value = `m${this.#counter++} ${'.'.repeat(this.#random.below(200))}`;
      model.sent.add(value);
      this.#partition(model).appendRecord(
        { key: null, value: Buffer.from(value), headers: [], timestamp: -1 },
        1,
        (error, offset) => {
          if (generation !== this.#generation) return this.#fail('an append of a dead process was answered');
          if (error === null) this.#acknowledge(model, offset, [value]);
        },
      );
    }
  }

  /** To the compacted topic: few keys, some tombstones. */
  #appendKeyed(): void {
    const generation = this.#generation;
    for (let i = 1 + this.#random.below(6); i > 0; i--) {
      const record = this.#keyed.next(this.#random);
      const key = Buffer.from(record.key);
      const value = record.value === null ? null : Buffer.from(record.value);
      this.#log!.topic(KEYED_TOPIC)!.partitions[0]!.appendRecord(
        { key, value, headers: [], timestamp: -1 },
        1,
        (error, offset) => {
          if (generation !== this.#generation) return this.#fail('a keyed append of a dead process was answered');
          if (error === null) this.#keyed.acknowledge(offset, record, this.#clock.now());
        },
      );
    }
  }

  #produce(producer: Producer): void {
    if (producer.inFlight) return;
    const generation = this.#generation;
    producer.pending ??= {
      values: Array.from({ length: 1 + this.#random.below(3) }, () => `p${producer.id}.${this.#counter++}`),
      sequence: producer.sequence,
    };
    const { values, sequence } = producer.pending;
    for (const value of values) producer.model.sent.add(value);
    const batch = encodeBatch(
      values.map((value) => ({ key: null, value: Buffer.from(value), headers: [], timestamp: this.#clock.now() })),
      { now: 0, producerId: producer.id, producerEpoch: 0, baseSequence: sequence },
    );
    producer.inFlight = true;
    this.#partition(producer.model).appendBatch(batch, { acks: 1, origin: 'client' }, (error, offset) => {
      if (generation !== this.#generation) return this.#fail('a batch of a dead process was answered');
      producer.inFlight = false;
      if (error === null) {
        this.#acknowledge(producer.model, offset, values);
        producer.sequence += values.length;
        producer.pending = null;
      } else if (error.code === 'OUT_OF_ORDER_SEQUENCE' && !this.#damaged) {
        this.#fail(`producer ${producer.id} was told ${error.message}`);
      }
    });
  }

  #acknowledge(model: Model, baseOffset: number, values: readonly string[]): void {
    values.forEach((value, i) => {
      const before = model.acknowledged.get(baseOffset + i);
      if (before !== undefined && before !== value)
        this.#fail(`${model.name}: offset ${baseOffset + i} was given twice`);
      model.acknowledged.set(baseOffset + i, value);
    });
    this.#note(`ack ${model.name} ${baseOffset} +${values.length}`);
  }

  /** Reads from a random offset; every value served must be one that was sent, at its offset. */
  async #readSome(model: Model): Promise<void> {
    const partition = this.#partition(model);
    const from = partition.logStartOffset + this.#random.below(partition.logEndOffset - partition.logStartOffset + 1);
    await this.#wait(this.#values(model, partition, from, 500 + this.#random.below(3_000), 2)).catch(
      (error: unknown) => {
        const { code } = error as { code?: string };
        // Retention may run in between; an injected read fault is told to the reader.
        if (code !== 'OFFSET_OUT_OF_RANGE' && code !== 'STORE_FAILED' && code !== 'DISK_FULL') throw error;
      },
    );
  }

  async #values(
    model: Model,
    partition: LogPartition,
    from: number,
    maxBytes: number,
    rounds: number,
  ): Promise<Map<number, string>> {
    const values = new Map<number, string>();
    let next = from;
    for (let round = 0; round < rounds && next < partition.logEndOffset; round++) {
      const { batches, nextOffset } = await partition.read({ from: next, upTo: partition.logEndOffset, maxBytes });
      for (const batch of batches) {
        const cursor = await recordsOf(batch);
        while (cursor.next()) {
          if (cursor.offset < next) continue;
          const value = String(cursor.value);
          if (!model.sent.has(value)) this.#fail(`${model.name}: ${cursor.offset} serves what nobody sent`);
          const wanted = model.acknowledged.get(cursor.offset);
          if (wanted !== undefined && wanted !== value)
            this.#fail(`${model.name}: ${cursor.offset} serves another record`);
          values.set(cursor.offset, value);
        }
      }
      if (nextOffset <= next) this.#fail(`${model.name}: reading makes no progress at ${next}`);
      next = Math.max(next + 1, nextOffset);
    }
    return values;
  }

  async #retain(): Promise<void> {
    await this.#wait(this.#log!.runRetention()).catch((error: unknown) => this.#note(`retention: ${String(error)}`));
  }

  async #deleteRecords(model: Model): Promise<void> {
    const partition = this.#partition(model);
    const span = partition.highWatermark - partition.logStartOffset;
    const offset = partition.logStartOffset + this.#random.below(Math.floor(span / 4) + 1);
    await this.#wait(partition.deleteRecordsBefore(offset)).catch(() => {});
    this.#note(`delete ${model.name} before ${offset}`);
  }

  #fault(): void {
    const kind = this.#random.chance(0.7) ? 'write' : 'read';
    const code = this.#random.chance(0.5) ? 'STORE_FAILED' : 'DISK_FULL';
    const at = 1 + this.#random.below(6);
    const applied = this.#random.chance(0.4);
    this.#disk.arm({ kind, code, at, applied });
    this.#faults++;
    this.#note(`fault: ${kind} ${at} fails with ${code}`);
  }

  async #crash(): Promise<void> {
    this.#note('power cut');
    this.#crashes++;
    this.#generation++;
    this.#clock.clear();
    this.#disk.crash();
    await this.#start();
    await this.#verify();
  }

  async #restart(clean: boolean): Promise<void> {
    if (!clean) return this.#crash();
    this.#note('clean stop');
    await this.#wait(this.#log!.close()).catch((error: unknown) => this.#note(`close: ${String(error)}`));
    this.#generation++;
    this.#clock.clear();
    this.#disk.crash();
    await this.#start();
    await this.#verify();
  }

  /** One bit of one stored batch or chunk record. */
  #flip(): void {
    const tables = [...this.#disk.tables].filter(
      ([name, table]) => parseSliceName(name) !== null && table.keys.length > 0,
    );
    if (tables.length === 0) return;
    const [name, table] = tables[this.#random.below(tables.length)]!;
    const at = this.#random.below(table.keys.length);
    const flipped = Buffer.from(table.values[at]!);
    if (flipped.length === 0) return;
    const key = parseBatchKey(table.keys[at]!)!;
    const bit = this.#random.below(flipped.length * 8);
    // Base offset and leader epoch of a batch: outside the CRC, checked against the key in part only.
    if (key.partitionId !== CHUNK_RECORD_PARTITION && bit >= 96 && bit < 128) return;
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    table.values[at] = flipped;
    this.#flips++;
    this.#damaged = true;
    this.#note(`flip in ${name} ${JSON.stringify(key)} bit ${bit}`);
  }

  /** `partition:offset` of everything in the loss ledger. */
  async #ledgerRanges(): Promise<Set<string>> {
    const lost = new Set<string>();
    this.#gaveWay = 0;
    const read = async () => {
      for await (const entry of this.#log!.ledger.entries()) {
        const gaveWay = entry.reason.startsWith('disk-full');
        if (gaveWay && entry.topic === 't2') this.#fail('a topic with reject gave way');
        if (gaveWay) this.#gaveWay += entry.lastOffset - entry.firstOffset + 1;
        const name = `${entry.topic}-${entry.partition}`;
        for (let offset = entry.firstOffset; offset <= entry.lastOffset; offset++) lost.add(`${name}:${offset}`);
      }
    };
    await this.#wait(read());
    return lost;
  }

  async #verify(): Promise<void> {
    const seen = new Map<string, Map<number, string>>();
    for (const model of this.#models.values()) {
      const partition = this.#partition(model);
      seen.set(
        model.name,
        await this.#wait(this.#values(model, partition, partition.logStartOffset, 1 << 20, 1_000_000)),
      );
    }
    const keyedPartition = this.#log!.topic(KEYED_TOPIC)!.partitions[0]!;
    const keyed = await this.#wait(readKeyed(keyedPartition));
    // What was found damaged just now is on its way into the ledger.
    const until = this.#clock.monotonic() + 1_000;
    while (await this.#clock.step(until));
    const lost = await this.#ledgerRanges();
    if (lost.size > this.#gaveWay && !this.#damaged)
      this.#fail(`${lost.size} offsets in the ledger without any damage`);
    for (const model of this.#models.values()) this.#verifyPartition(model, seen.get(model.name)!, lost);
    const isLost = (offset: number) => lost.has(`${KEYED_TOPIC}-0:${offset}`);
    const problems = this.#keyed.check(keyed, keyedPartition, this.#clock.now(), isLost);
    for (const problem of problems) this.#fail(problem);
  }

  #verifyPartition(model: Model, values: Map<number, string>, lost: ReadonlySet<string>): void {
    const partition = this.#partition(model);
    const { logStartOffset: start, logEndOffset: end } = partition;
    if (start < model.logStart) this.#fail(`${model.name}: the log start went back from ${model.logStart} to ${start}`);
    if (end < model.logEnd) this.#fail(`${model.name}: the log end went back from ${model.logEnd} to ${end}`);
    if (partition.leaderEpoch < model.epoch) this.#fail(`${model.name}: the leader epoch went back`);
    model.logStart = start;
    model.logEnd = end;
    model.epoch = partition.leaderEpoch;
    const order = new Map<string, number>();
    for (let offset = start; offset < end; offset++) {
      const value = values.get(offset);
      const inLedger = lost.has(`${model.name}:${offset}`);
      if (value === undefined) {
        if (!inLedger) this.#fail(`${model.name}: offset ${offset} of ${start} to ${end} is missing`);
        continue;
      }
      if (inLedger) this.#fail(`${model.name}: offset ${offset} is in the ledger and served`);
      this.#verifyOrder(model, value, offset, order);
    }
    for (const [offset, value] of model.acknowledged) {
      if (offset < start) model.acknowledged.delete(offset);
      else if (offset >= end)
        this.#fail(`${model.name}: acknowledged ${offset} is behind the log end ${end}: ${value}`);
    }
  }

  /** Numbers ascend per sender, and an idempotent sender's are there once. */
  #verifyOrder(model: Model, value: string, offset: number, order: Map<string, number>): void {
    const match = /^(m|p\d+\.)(\d+)/.exec(value);
    const sender = match![1]!;
    const number = Number(match![2]);
    const before = order.get(sender) ?? -1;
    if (number <= before && !this.#damaged) {
      this.#fail(`${model.name}: at ${offset} ${sender}${number} comes after ${before}`);
    }
    order.set(sender, number);
  }

  /** The user's own check, on the stopped directory. */
  async #checkDirectory(): Promise<void> {
    if (this.#damaged || this.#failures.length > 0) return;
    await this.#wait(this.#log!.close());
    this.#disk.crash();
    const report = await this.#wait(checkStore(this.#disk.mount()));
    for (const { where, what } of report.problems) this.#fail(`check: ${where}: ${what}`);
    this.#disk.crash();
    await this.#start();
  }
}
