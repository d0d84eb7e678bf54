/** A source with the real log and metadata on the fake disk, on a clock that the test moves. */
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { recordsOf } from '../../src/log/reader.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import type { SourceSettings } from '../../src/sources/settings.ts';
import { Sources } from '../../src/sources/sources.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import type { Store } from '../../src/store/store.ts';
import { openOn, TestClock, testEnv } from '../log/records.ts';
import { FakeFiles } from './fake-files.ts';

export const TAIL: SourceSettings = {
  type: 'tail',
  paths: ['/var/log/app.log'],
  topic: 'lines',
  key: null,
  'key.pattern': null,
  headers: ['path'],
  acks: '1',
  'start.at': 'beginning',
  'record.max.bytes': 65_536,
  'multiline.start': null,
  'multiline.timeout.ms': 2_000,
  'poll.interval.ms': 500,
  'rotate.wait.ms': 5_000,
  paused: false,
};

export interface Line {
  readonly partition: number;
  readonly key: string | null;
  readonly value: string;
  readonly headers: Readonly<Record<string, string>>;
}

export class Machine {
  readonly files = new FakeFiles();
  readonly disk: MemoryDisk;
  readonly clock = new TestClock();
  store: Store | null = null;
  log: HeadwaterLog | null = null;
  sources: Sources | null = null;
  metrics = new Metrics();
  settings: Record<string, SourceSettings>;

  constructor(settings: Partial<SourceSettings> = {}, disk = new MemoryDisk({ schedule: setImmediate })) {
    this.disk = disk;
    this.settings = { app: { ...TAIL, ...settings } };
  }

  async start(): Promise<void> {
    this.metrics = new Metrics();
    this.store = this.disk.mount();
    this.log = await openOn(this.store, {}, this.clock);
    this.sources = new Sources({
      env: testEnv(this.clock),
      logger: silentLogger,
      metrics: this.metrics,
      log: this.log,
      meta: this.log.meta,
      files: this.files,
    });
    await this.sources.update(new Map(Object.entries(this.settings)));
  }

  async reload(settings: Partial<SourceSettings>): Promise<void> {
    this.settings = { app: { ...this.settings['app']!, ...settings } };
    await this.sources!.update(new Map(Object.entries(this.settings)));
  }

  async stop(): Promise<void> {
    await this.sources!.stop();
    await this.log!.close();
    await this.store!.close();
    this.log = null;
  }

  /** The plug is pulled: what was not synced is gone; nothing of this life writes any more. */
  async kill(): Promise<void> {
    this.disk.crash();
    const { sources } = this;
    this.log = null;
    await Promise.race([sources!.stop().catch(() => {}), turns(20)]);
  }

  /** Time passes, and what it makes due is done. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 250) {
      this.clock.advance(250);
      await turns(8);
    }
  }

  /** Until nothing is left to read and nothing changes. */
  async quiet(ms = 1_500): Promise<void> {
    let before = -1;
    for (let i = 0; i < 200; i++) {
      await this.pass(ms);
      const now = this.count('records') + this.sources!.status().reduce((sum, one) => sum + one.backlogBytes, 0);
      if (now === before && this.sources!.status().every((one) => one.state !== 'reading')) return;
      before = now;
    }
    throw new Error('the sources do not come to rest');
  }

  count(what: string): number {
    for (const family of this.metrics.families()) {
      if (family.name === `headwater_source_${what}_total`) {
        return [...family.samples()].reduce((sum, sample) => sum + sample.value, 0);
      }
    }
    throw new Error(`no metric ${what}`);
  }

  async lines(topic = 'lines'): Promise<Line[]> {
    const lines: Line[] = [];
    for (const partition of this.log!.topic(topic)?.partitions ?? []) {
      let from = partition.logStartOffset;
      while (from < partition.logEndOffset) {
        const read = await partition.read({ from, upTo: partition.logEndOffset, maxBytes: 1 << 20 });
        for (const batch of read.batches) {
          const cursor = await recordsOf(batch);
          while (cursor.next()) {
            lines.push({
              partition: partition.index,
              key: cursor.key === null ? null : Buffer.from(cursor.key).toString(),
              value: Buffer.from(cursor.value!).toString(),
              headers: Object.fromEntries(
                cursor.headers().map(({ key, value }) => [key, Buffer.from(value!).toString()]),
              ),
            });
          }
        }
        from = read.nextOffset;
      }
    }
    return lines;
  }

  async values(): Promise<string[]> {
    return (await this.lines()).map(({ value }) => value);
  }
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
