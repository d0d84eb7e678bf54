/**
 * Run by bench/log/run.mjs, which sets the launcher's flags: one part a process.
 * Each append case is followed by a plain append-only file that is written and synced in the same commits: the ratio is
 * what the log costs. "device" is what the block device below wrote meanwhile, the journal of the file system included
 * (right on a machine that does nothing else); "io" is write_bytes of /proc/self/io, which knows no journal.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemEnv } from '../../src/env.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { openLog } from '../../src/log/log.ts';
import type { LogOptions } from '../../src/log/log-options.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';

const { values: args } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    mb: { type: 'string', default: '1000' },
    part: { type: 'string', default: 'append' },
    dir: { type: 'string', default: '' },
  },
});
const MB = 1e6;
const noise = Buffer.alloc(1 << 20);
for (let i = 0, x = 1; i < noise.length; i++) {
  x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
  noise[i] = x >>> 16;
}

function ioBytes(): number {
  return Number(/^write_bytes: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);
}

/** /sys/dev/block/<major>:<minor>/stat of the device below the temporary directory; null where there is none. */
const blockStat = (() => {
  const { dev } = statSync(tmpdir());
  const path = `/sys/dev/block/${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}/stat`;
  return existsSync(path) ? path : null;
})();

/** Bytes that the block device has written, everything that waits in memory included. */
function blockBytes(): number {
  if (blockStat === null) return ioBytes();
  spawnSync('sync');
  return Number(readFileSync(blockStat, 'utf8').trim().split(/\s+/)[6]) * 512;
}

const rss = () => Math.round(process.memoryUsage.rss() / MB);

/** Unlike each other, as readings of a sensor are. */
function telemetry(i: number): Buffer {
  const value = (20 + 5 * Math.sin(i / 50) + (noise[i % noise.length]! % 100) / 100).toFixed(2);
  return Buffer.from(
    `{"sensor":"plant-7/line-${i % 16}","time":${1_700_000_000_000 + i * 250},"temperature":${value},"unit":"C","ok":true}`,
  );
}

/** Bytes of all files below it. */
function diskUse(directory: string): number {
  return Number(spawnSync('du', ['-s', '-B1', directory], { encoding: 'utf8' }).stdout.split('\t')[0]);
}

async function withLog<T>(
  options: LogOptions,
  use: (log: HeadwaterLog, metrics: Metrics, directory: string) => Promise<T>,
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'headwater-bench-'));
  try {
    const store = await openLevelStore(directory);
    const metrics = new Metrics();
    const logger = { ...silentLogger, error: console.error };
    const log = await openLog({
      store,
      env: systemEnv,
      metrics,
      logger,
      options: { retentionSchedule: null, ...options },
    });
    const result = await use(log, metrics, directory);
    await log.close();
    await store.close();
    return result;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function counterOf(metrics: Metrics, name: string): number {
  for (const family of metrics.families())
    if (family.name === name) for (const { value } of family.samples()) return value;
  return 0;
}

interface Load {
  readonly partitions: number;
  /** Records that are appended together. */
  readonly perRound: number;
  readonly value: (i: number) => Buffer;
  /** Rounds under way at a time: with two, records arrive while a commit is in flight. */
  readonly lanes?: number;
  readonly config?: Record<string, string>;
}

/** Appends rounds of records, each when the one before it in its lane is acknowledged, for the given time. */
async function rounds(log: HeadwaterLog, { partitions, perRound, value, lanes = 1, config = {} }: Load) {
  const topic = await log.createTopic({ name: 't', partitions, config: new Map(Object.entries(config)) });
  const until = performance.now() + Number(args.seconds) * 1_000;
  let sent = 0;
  let payload = 0;
  async function lane(): Promise<void> {
    while (performance.now() < until) {
      await new Promise<void>((resolve, reject) => {
        let open = perRound;
        for (let i = 0; i < perRound; i++) {
          const bytes = value(sent);
          payload += bytes.length;
          topic.partitions[sent % partitions]!.appendRecord(
            { key: null, value: bytes, headers: [], timestamp: -1 },
            1,
            (error) => {
              if (error !== null) reject(error);
              else if (--open === 0) resolve();
            },
          );
          sent++;
        }
      });
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane));
  return { sent, payload };
}

/** The same number of bytes in the same number of synced writes to one file. */
async function plainFile(
  commits: number,
  bytesPerCommit: number,
): Promise<{ seconds: number; device: number; io: number }> {
  const directory = mkdtempSync(join(tmpdir(), 'headwater-plain-'));
  try {
    const file = await openFile(join(directory, 'log'), 'a');
    const before = blockBytes();
    const ioBefore = ioBytes();
    const began = performance.now();
    const limit = began + Number(args.seconds) * 1_000;
    let done = 0;
    for (; done < commits && performance.now() < limit; done++) {
      const at = (done * 4_099) % (noise.length - bytesPerCommit);
      await file.write(noise, at < 0 ? 0 : at, bytesPerCommit);
      await file.datasync();
    }
    const seconds = (performance.now() - began) * (commits / done) * 1e-3;
    const io = (ioBytes() - ioBefore) * (commits / done);
    const device = (blockBytes() - before) * (commits / done);
    await file.close();
    return { seconds, device, io };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function append(title: string, load: Load) {
  const line = await withLog({}, async (log, metrics) => {
    const before = blockBytes();
    const ioBefore = ioBytes();
    const cpu = process.cpuUsage();
    const began = performance.now();
    const { sent, payload } = await rounds(log, load);
    const seconds = (performance.now() - began) / 1_000;
    const used = process.cpuUsage(cpu);
    const commits = counterOf(metrics, 'headwater_log_commits_total');
    const stored = counterOf(metrics, 'headwater_log_stored_bytes_total');
    const io = ioBytes() - ioBefore;
    const device = blockBytes() - before;
    return {
      io,
      sent,
      payload,
      seconds,
      commits,
      stored,
      device,
      cpu: (used.user + used.system) / 1e6 / seconds,
      rss: rss(),
    };
  });
  const bytesPerCommit = Math.max(1, Math.min(noise.length - 1, Math.round(line.stored / line.commits)));
  const plain = await plainFile(line.commits, bytesPerCommit);
  const row = {
    case: title,
    'records/s': Math.round(line.sent / line.seconds),
    'MB/s': +(line.stored / MB / line.seconds).toFixed(1),
    'commits/s': Math.round(line.commits / line.seconds),
    'of plain file': +(plain.seconds / line.seconds).toFixed(2),
    'device/stored': +(line.device / line.stored).toFixed(2),
    'of plain device': +(line.device / plain.device).toFixed(2),
    'io/stored': +(line.io / line.stored).toFixed(2),
    'of plain io': +(line.io / plain.io).toFixed(2),
    'device/payload': +(line.device / line.payload).toFixed(2),
    'io/payload': +(line.io / line.payload).toFixed(2),
    cpu: +line.cpu.toFixed(2),
    'RSS MB': line.rss,
  };
  console.log(JSON.stringify(row));
}

const random = (size: number) => (i: number) =>
  noise.subarray((i * 997) % (noise.length - size), ((i * 997) % (noise.length - size)) + size);

/** Appends `mb` MB in commits of about 512 KB, 4,000-byte values over all partitions of `t`. */
async function pour(log: HeadwaterLog, mb: number): Promise<void> {
  const topic = await log.createTopic({ name: 't', partitions: 200, config: new Map([['retention.ms', '-1']]) });
  const value = random(4_000);
  let count = 0;
  for (let stored = 0; stored < mb * MB; ) {
    await new Promise<void>((resolve, reject) => {
      let open = 128;
      for (let i = 0; i < 128; i++, count++) {
        stored += 4_000;
        topic.partitions[count % 200]!.appendRecord(
          { key: null, value: value(count), headers: [], timestamp: -1 },
          1,
          (error) => {
            if (error !== null) reject(error);
            else if (--open === 0) resolve();
          },
        );
      }
    });
  }
}

async function openDirectory(directory: string) {
  const store = await openLevelStore(directory);
  const log = await openLog({
    store,
    env: systemEnv,
    metrics: new Metrics(),
    logger: silentLogger,
    options: { retentionSchedule: null },
  });
  return { store, log };
}

/** Fills and waits for its end by a signal. */
async function fill(directory: string, mb: number): Promise<void> {
  const { log } = await openDirectory(directory);
  await pour(log, mb);
  process.stdout.write(`filled, RSS ${rss()} MB\n`);
  setInterval(() => {}, 1_000);
}

/** Fills and closes. */
async function store(directory: string, mb: number): Promise<void> {
  const { log, store } = await openDirectory(directory);
  await pour(log, mb);
  await log.close();
  await store.close();
}

/** Memory after the start, and after everything was read once. */
async function memory(directory: string, mb: number): Promise<void> {
  const { log, store } = await openDirectory(directory);
  const idle = rss();
  await readAll(log, mb);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  console.log(
    JSON.stringify({ case: `memory of the log with ${mb} MB stored`, 'RSS MB': idle, 'after reading': rss() }),
  );
  await log.close();
  await store.close();
}

async function reopen(mb: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'headwater-reopen-'));
  try {
    await new Promise<void>((resolve) => {
      const fillArgs = [process.argv[1]!, '--part', 'fill', '--dir', directory, '--mb', String(mb)];
      const child = spawn(process.execPath, [...process.execArgv, ...fillArgs], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      child.stdout.on('data', (text) => {
        process.stdout.write(`fill ${mb} MB: ${text}`);
        child.kill('SIGKILL');
      });
      child.on('close', () => resolve());
    });
    const began = performance.now();
    const cpuBefore = process.cpuUsage();
    const { store, log } = await openDirectory(directory);
    const opened = performance.now();
    const cpu = process.cpuUsage(cpuBefore);
    const partition = log.topic('t')!.partitions[7]!;
    await new Promise<void>((resolve) => {
      partition.appendRecord({ key: null, value: Buffer.from('x'), headers: [], timestamp: -1 }, 1, () => resolve());
    });
    console.log(
      JSON.stringify({
        case: `reopen after kill -9, ${mb} MB in 200 partitions`,
        'open ms': Math.round(opened - began),
        'cpu ms': Math.round((cpu.user + cpu.system) / 1_000),
        'to first append ms': Math.round(performance.now() - began),
        'RSS MB': rss(),
      }),
    );
    await readAll(log, mb);
    await log.close();
    await store.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** So that the whole fits into its minutes on a slow or busy machine. */
const READ_LIMIT_MS = 40_000;

async function readAll(log: HeadwaterLog, mb: number): Promise<void> {
  const began = performance.now();
  let bytes = 0;
  for (const partition of log.topic('t')!.partitions) {
    if (performance.now() - began > READ_LIMIT_MS) break;
    for (let from = partition.logStartOffset; from < partition.logEndOffset; ) {
      const result = await partition.read({ from, upTo: partition.logEndOffset, maxBytes: 1 << 20 });
      bytes += result.bytes;
      from = result.nextOffset;
    }
  }
  const seconds = (performance.now() - began) / 1_000;
  let seeks = 0;
  const seekBegan = performance.now();
  for (const partition of log.topic('t')!.partitions) {
    const from = Math.floor(partition.logEndOffset / 3);
    await partition.read({ from, upTo: partition.logEndOffset, maxBytes: 1 });
    seeks++;
  }
  console.log(
    JSON.stringify({
      case: `read back ${mb} MB, partition by partition, cold slices`,
      'MB read': Math.round(bytes / MB),
      'MB/s': Math.round(bytes / MB / seconds),
      'seek ms': +((performance.now() - seekBegan) / seeks).toFixed(2),
      'RSS MB': rss(),
    }),
  );
}

async function retention(mb: number): Promise<void> {
  await withLog({}, async (log, _metrics, directory) => {
    await pour(log, mb);
    await log.alterTopic('t', new Map([['retention.bytes', String(Math.floor((mb * MB) / 400))]]));
    const present = blockBytes();
    const io = ioBytes();
    const files = diskUse(directory);
    const began = performance.now();
    const cpu = process.cpuUsage();
    const loop = performance.eventLoopUtilization();
    const pass = await log.runRetention();
    const blocked = performance.eventLoopUtilization(loop).active;
    const used = process.cpuUsage(cpu);
    const ms = Math.round(performance.now() - began);
    console.log(
      JSON.stringify({
        case: `retention of half of ${mb} MB`,
        'blocked ms': Math.round(blocked),
        ms,
        'cpu ms': Math.round((used.user + used.system) / 1_000),
        'device MB': +((blockBytes() - present) / MB).toFixed(2),
        'io MB': +((ioBytes() - io) / MB).toFixed(2),
        'MB back': Math.round((files - diskUse(directory)) / MB),
        'slices removed': pass.removedSlices,
        'moved MB': +(pass.movedBytes / MB).toFixed(1),
      }),
    );
  });
}

const mb = Number(args.mb);
const parts: Record<string, () => Promise<void>> = {
  async append() {
    const kib = random(1_000);
    for (const partitions of [1, 16, 200]) {
      await append(`P=${partitions}, 32 x 1-KiB records a commit`, { partitions, perRound: 32, value: kib });
    }
    await append('P=200, 32 x 1-KiB, two such in flight', { partitions: 200, perRound: 32, value: kib, lanes: 2 });
    await append('P=200, 200 x 1-KiB records a commit', { partitions: 200, perRound: 200, value: kib });
    await append('P=200, 10 x 100-byte records a batch', { partitions: 200, perRound: 2_000, value: random(100) });
    await append('P=16, 100 x 100-byte records a batch', { partitions: 16, perRound: 1_600, value: random(100) });
    await append('P=1, one 256-byte record a commit', { partitions: 1, perRound: 1, value: random(256) });
    await append('P=1, 100 x 256-byte records a commit', { partitions: 1, perRound: 100, value: random(256) });
    await append('P=50, 256-byte records, 1,000 in flight', { partitions: 50, perRound: 1_000, value: random(256) });
  },
  async json() {
    for (const codec of ['producer', 'gzip', 'zstd']) {
      const config = { 'compression.type': codec };
      const title = `P=16, JSON telemetry, 512 records a commit, ${codec}`;
      await append(title, { partitions: 16, perRound: 512, value: telemetry, config });
    }
  },
  retention: () => retention(mb),
  reopen: () => reopen(mb),
  fill: () => fill(args.dir, mb),
  store: () => store(args.dir, mb),
  memory: () => memory(args.dir, mb),
};
await parts[args.part]!();
