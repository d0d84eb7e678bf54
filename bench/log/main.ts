/**
 * node test/sim/run.mjs bench/log/main.ts [--seconds 3] [--mb 256] [--only append,...]
 * Each append case is followed by a plain append-only file that is written and synced in the same commits: the ratio is
 * what the log costs. Device bytes are write_bytes of /proc/self/io.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
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

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '3' },
    mb: { type: 'string', default: '256' },
    only: { type: 'string', default: 'append,json,flood,retention,read,reopen' },
  },
});
const MB = 1e6;
const noise = Buffer.alloc(1 << 20);
for (let i = 0, x = 1; i < noise.length; i++) {
  x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
  noise[i] = x >>> 16;
}

function deviceBytes(): number {
  return Number(/^write_bytes: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);
}

const rss = () => Math.round(process.memoryUsage.rss() / MB);

/** Unlike each other, as readings of a sensor are. */
function telemetry(i: number): Buffer {
  const value = (20 + 5 * Math.sin(i / 50) + (noise[i % noise.length]! % 100) / 100).toFixed(2);
  return Buffer.from(
    `{"sensor":"plant-7/line-${i % 16}","time":${1_700_000_000_000 + i * 250},"temperature":${value},"unit":"C","ok":true}`,
  );
}

async function withLog<T>(options: LogOptions, use: (log: HeadwaterLog, metrics: Metrics) => Promise<T>): Promise<T> {
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
    const result = await use(log, metrics);
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

/** Appends rounds of `perRound` records over `partitions` and waits for each round, for the given time. */
async function rounds(
  log: HeadwaterLog,
  partitions: number,
  perRound: number,
  value: (i: number) => Buffer,
  config = {},
) {
  const topic = await log.createTopic({ name: 't', partitions, config: new Map(Object.entries(config)) });
  const until = performance.now() + Number(args.seconds) * 1_000;
  let sent = 0;
  let payload = 0;
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
  return { sent, payload };
}

/** The same number of bytes in the same number of synced writes to one file. */
async function plainFile(commits: number, bytesPerCommit: number): Promise<{ seconds: number; device: number }> {
  const directory = mkdtempSync(join(tmpdir(), 'headwater-plain-'));
  try {
    const file = await openFile(join(directory, 'log'), 'a');
    const before = deviceBytes();
    const began = performance.now();
    const limit = began + Number(args.seconds) * 1_000;
    let done = 0;
    for (; done < commits && performance.now() < limit; done++) {
      const at = (done * 4_099) % (noise.length - bytesPerCommit);
      await file.write(noise, at < 0 ? 0 : at, bytesPerCommit);
      await file.datasync();
    }
    const seconds = (performance.now() - began) * (commits / done) * 1e-3;
    const device = (deviceBytes() - before) * (commits / done);
    await file.close();
    return { seconds, device };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function append(title: string, partitions: number, perRound: number, value: (i: number) => Buffer, config = {}) {
  const line = await withLog({}, async (log, metrics) => {
    const before = deviceBytes();
    const cpu = process.cpuUsage();
    const began = performance.now();
    const { sent, payload } = await rounds(log, partitions, perRound, value, config);
    const seconds = (performance.now() - began) / 1_000;
    const used = process.cpuUsage(cpu);
    const commits = counterOf(metrics, 'headwater_log_commits_total');
    const stored = counterOf(metrics, 'headwater_log_stored_bytes_total');
    const device = deviceBytes() - before;
    return {
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
    'plain device/stored': +(plain.device / line.stored).toFixed(2),
    'device/payload': +(line.device / line.payload).toFixed(2),
    cpu: +line.cpu.toFixed(2),
    'RSS MB': line.rss,
  };
  console.log(JSON.stringify(row));
}

const random = (size: number) => (i: number) =>
  noise.subarray((i * 997) % (noise.length - size), ((i * 997) % (noise.length - size)) + size);

async function fill(directory: string, mb: number): Promise<void> {
  const store = await openLevelStore(directory);
  const log = await openLog({
    store,
    env: systemEnv,
    metrics: new Metrics(),
    logger: silentLogger,
    options: { retentionSchedule: null },
  });
  const topic = await log.createTopic({ name: 't', partitions: 200, config: new Map([['retention.ms', '-1']]) });
  let stored = 0;
  for (let round = 0; stored < mb * MB; round++) {
    await Promise.all(
      Array.from({ length: 64 }, (_, i) => {
        const value = random(4_000)(round * 64 + i);
        stored += value.length;
        return new Promise<void>((resolve) => {
          topic.partitions[(round * 64 + i) % 200]!.appendRecord(
            { key: null, value, headers: [], timestamp: -1 },
            1,
            () => resolve(),
          );
        });
      }),
    );
  }
  process.stdout.write(`filled, RSS ${rss()} MB\n`);
  setInterval(() => {}, 1_000);
}

async function reopen(mb: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'headwater-reopen-'));
  try {
    await new Promise<void>((resolve) => {
      const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, 'fill', directory, String(mb)], {
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
    const store = await openLevelStore(directory);
    const log = await openLog({
      store,
      env: systemEnv,
      metrics: new Metrics(),
      logger: silentLogger,
      options: { retentionSchedule: null },
    });
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

async function readAll(log: HeadwaterLog, mb: number): Promise<void> {
  const began = performance.now();
  let bytes = 0;
  for (const partition of log.topic('t')!.partitions) {
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
      'MB/s': Math.round(bytes / MB / seconds),
      'seek ms': +((performance.now() - seekBegan) / seeks).toFixed(2),
      'RSS MB': rss(),
    }),
  );
}

async function retention(mb: number): Promise<void> {
  await withLog({}, async (log) => {
    const topic = await log.createTopic({ name: 't', partitions: 200, config: new Map([['retention.ms', '-1']]) });
    for (let round = 0, stored = 0; stored < mb * MB; round++) {
      await Promise.all(
        Array.from({ length: 64 }, (_, i) => {
          stored += 4_000;
          const value = random(4_000)(round * 64 + i);
          return new Promise<void>((resolve) => {
            topic.partitions[(round * 64 + i) % 200]!.appendRecord(
              { key: null, value, headers: [], timestamp: -1 },
              1,
              () => resolve(),
            );
          });
        }),
      );
    }
    await log.alterTopic('t', new Map([['retention.bytes', String(Math.floor((mb * MB) / 400))]]));
    const before = deviceBytes();
    const began = performance.now();
    const cpu = process.cpuUsage();
    const pass = await log.runRetention();
    const used = process.cpuUsage(cpu);
    console.log(
      JSON.stringify({
        case: `retention of half of ${mb} MB`,
        ms: Math.round(performance.now() - began),
        'cpu ms': Math.round((used.user + used.system) / 1_000),
        'device MB': +((deviceBytes() - before) / MB).toFixed(2),
        'slices removed': pass.removedSlices,
        'moved MB': +(pass.movedBytes / MB).toFixed(1),
      }),
    );
  });
}

if (positionals[0] === 'fill') await fill(positionals[1]!, Number(positionals[2]));
else {
  const only = new Set(args.only.split(','));
  openSync('/proc/self/io', 'r');
  if (only.has('append')) {
    for (const partitions of [1, 16, 200]) {
      await append(`P=${partitions}, 32 x 1-KiB records a commit`, partitions, 32, random(1_000));
    }
    await append('P=200, 200 x 1-KiB records a commit', 200, 200, random(1_000));
    await append('P=1, one 256-byte record a commit', 1, 1, random(256));
    await append('P=1, 100 x 256-byte records a commit', 1, 100, random(256));
  }
  if (only.has('json')) {
    for (const codec of ['producer', 'gzip', 'zstd']) {
      await append(`P=16, JSON telemetry, 512 records a commit, ${codec}`, 16, 512, telemetry, {
        'compression.type': codec,
      });
    }
  }
  if (only.has('flood')) await append('P=50, 256-byte records, 1,000 in flight', 50, 1_000, random(256));
  if (only.has('retention')) await retention(Number(args.mb));
  if (only.has('reopen')) await reopen(Number(args.mb));
}
