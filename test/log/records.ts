/** Records, batches and a log on a fake disk for the tests of the log. */
import type { Clock, Env, Timer } from '../../src/env.ts';
import { systemEnv } from '../../src/env.ts';
import type { HeadwaterError } from '../../src/errors.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { openLog } from '../../src/log/log.ts';
import type { LogOptions } from '../../src/log/log-options.ts';
import { recordsOf } from '../../src/log/reader.ts';
import type { Acks, AppendOptions, LogRecord, Partition } from '../../src/log/types.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import type { MemoryDisk } from '../../src/store/memory.ts';
import type { Store } from '../../src/store/store.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';

/** A clock whose time moves when the test says so; `soon` is real, so that I/O goes on. */
export class TestClock implements Clock {
  wall = 1_700_000_000_000;
  mono = 0;
  #timers: { at: number; task: () => void; every: number | null }[] = [];

  now(): number {
    return this.wall;
  }

  monotonic(): number {
    return this.mono;
  }

  after(ms: number, task: () => void): Timer {
    return this.#add(ms, task, null);
  }

  every(ms: number, task: () => void): Timer {
    return this.#add(ms, task, ms);
  }

  #add(ms: number, task: () => void, every: number | null): Timer {
    const timer = { at: this.mono + ms, task, every };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  soon(task: () => void): void {
    setImmediate(task);
  }

  /** Moves both clocks and runs what is due, in order. */
  advance(ms: number): void {
    const end = this.mono + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.wall += due.at - this.mono;
      this.mono = due.at;
      if (due.every === null) this.#timers = this.#timers.filter((timer) => timer !== due);
      else due.at += due.every;
      due.task();
    }
    this.wall += end - this.mono;
    this.mono = end;
  }
}

export function testEnv(clock: Clock = new TestClock()): Env {
  return { ...systemEnv, clock };
}

export function openOn(store: Store, options: LogOptions = {}, clock: Clock = new TestClock()): Promise<HeadwaterLog> {
  return openLog({
    store,
    env: testEnv(clock),
    metrics: new Metrics(),
    logger: silentLogger,
    options: { retentionSchedule: null, ...options },
  });
}

export function openOnDisk(disk: MemoryDisk, options: LogOptions = {}, clock?: Clock): Promise<HeadwaterLog> {
  return openOn(disk.mount(), options, clock);
}

export function record(value: string, fields: Partial<LogRecord> = {}): LogRecord {
  return { key: null, value: Buffer.from(value), headers: [], timestamp: -1, ...fields };
}

/** Promise form of `appendRecord`; rejects with what it is refused with. */
export function append(
  partition: Partition,
  value: string,
  fields: Partial<LogRecord> = {},
  acks: Acks = 1,
): Promise<number> {
  return new Promise((resolve, reject) => {
    partition.appendRecord(record(value, fields), acks, (error: HeadwaterError | null, offset: number) => {
      if (error === null) resolve(offset);
      else reject(error);
    });
  });
}

export function appendBatch(
  partition: Partition,
  batch: Uint8Array,
  options: AppendOptions = { acks: 1, origin: 'client' },
): Promise<number> {
  return new Promise((resolve, reject) => {
    partition.appendBatch(batch, options, (error: HeadwaterError | null, offset: number) => {
      if (error === null) resolve(offset);
      else reject(error);
    });
  });
}

/** A producer's batch as it comes over the wire. */
export function producedBatch(
  values: readonly string[],
  fields: { id?: number; epoch?: number; sequence?: number; transactional?: boolean; timestamp?: number } = {},
): Buffer {
  return encodeBatch(
    values.map((value) => record(value, { timestamp: fields.timestamp ?? 1_700_000_000_000 })),
    {
      now: 0,
      producerId: fields.id ?? -1,
      producerEpoch: fields.epoch ?? (fields.id === undefined ? -1 : 0),
      baseSequence: fields.sequence ?? -1,
      transactional: fields.transactional ?? false,
    },
  );
}

/** All records from `from` on as `offset:value`, read in steps. */
export async function valuesOf(
  partition: Partition,
  from = partition.logStartOffset,
  maxBytes = 1 << 20,
): Promise<string[]> {
  const values: string[] = [];
  let next = from;
  while (next < partition.logEndOffset) {
    const { batches, nextOffset } = await partition.read({ from: next, upTo: partition.logEndOffset, maxBytes });
    for (const batch of batches) {
      const cursor = await recordsOf(batch);
      while (cursor.next()) if (cursor.offset >= next) values.push(`${cursor.offset}:${cursor.value}`);
    }
    if (nextOffset <= next) throw new Error(`no progress at ${next}`);
    next = nextOffset;
  }
  return values;
}

/** A topic without overrides but those given. */
export function topicSpec(name: string, partitions = 1, config: Record<string, string> = {}) {
  return { name, partitions, config: new Map(Object.entries(config)) };
}
