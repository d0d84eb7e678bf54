// A backlog gathered offline, then drained by a process whose memory is limited: is its memory flat, is the order kept, and do
// live records overtake the backlog on a slow link? Needs dist/ (npm run build).
//   node bench/links/backlog.mjs [--mb 2048] [--bytes 200] [--partitions 4] [--batch-kb 16] [--limit-mb 128] [--live-seconds 60] [--cap 32000]
// 1. The edge stores --mb of records of --bytes while its link has nobody to talk to.
// 2. The hub appears, the link is capped at --cap bytes/s (256 kbit/s): live records are published to a topic of the same
//    priority; how long until each is at the hub.
// 3. The cap is lifted: the backlog drains. RSS of the edge is sampled twice a second.
// 4. Every record is read back at the hub: all there, once, in order. Prints one line of JSON; exit code 1 when something
//    that must hold does not (--mb below 200 does not judge the slope: too few samples).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import kafkajs from 'kafkajs';

const { values: args } = parseArgs({
  options: {
    mb: { type: 'string', default: '2048' },
    bytes: { type: 'string', default: '200' },
    partitions: { type: 'string', default: '4' },
    'limit-mb': { type: 'string', default: '128' },
    'batch-kb': { type: 'string', default: '16' },
    'live-seconds': { type: 'string', default: '60' },
    cap: { type: 'string', default: '32000' },
  },
});
const MiB = 1024 * 1024;
const bytes = Number(args.bytes);
const partitions = Number(args.partitions);
const perPartition = Math.ceil((Number(args.mb) * MiB) / bytes / partitions);
const root = fileURLToPath(new URL('../../', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'headwater-backlog-'));
const children = new Set();
const say = (text) => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function kafkaAt(port) {
  return new kafkajs.Kafka({
    brokers: [`127.0.0.1:${port}`],
    logLevel: kafkajs.logLevel.NOTHING,
    requestTimeout: 120_000,
    retry: { retries: 20 },
  });
}

function configure(name, config) {
  const file = join(work, `${name}.yaml`);
  writeFileSync(file, JSON.stringify(config));
  return file;
}

async function start(name, port, config) {
  const file = configure(name, config);
  const child = spawn(
    join(root, 'bin/headwater'),
    [
      ...['serve', '--config', file, '--data', join(work, name), '--broker-id', name],
      ...['--kafka', `127.0.0.1:${port}`, '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0'],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  children.add(child);
  child.once('exit', () => children.delete(child));
  const admin = kafkaAt(port).admin();
  for (;;) {
    try {
      await admin.connect();
      return { child, admin };
    } catch {
      if (child.exitCode !== null) throw new Error(`${name} did not start`);
      await pause(200);
    }
  }
}

function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mb = (field) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024;
  return { rss: mb('VmRSS'), anonymous: mb('RssAnon'), file: mb('RssFile') };
}

async function ends(admin, topic) {
  try {
    return (await admin.fetchTopicOffsets(topic)).reduce((sum, { high }) => sum + Number(high), 0);
  } catch {
    return 0;
  }
}

/** Numbers ascend in each partition: what is read back says which one is missing, doubled or out of order. */
async function gather(port) {
  const producer = kafkaAt(port).producer({ maxInFlightRequests: 32 });
  await producer.connect();
  const filler = 'x'.repeat(bytes);
  const perRequest = Math.max(1, Math.floor((Number(args['batch-kb']) * 1024) / bytes));
  const fill = async (partition) => {
    for (let next = 0; next < perPartition; ) {
      const messages = [];
      for (; messages.length < perRequest && next < perPartition; next++) {
        messages.push({ partition, value: `${next} ${filler}`.slice(0, bytes) });
      }
      await producer.send({ topic: 'history', acks: 1, messages });
    }
  };
  await Promise.all(Array.from({ length: partitions }, (_, partition) => fill(partition)));
  await producer.disconnect();
}

/** Publishes live records for a while and returns how long each took to the hub, milliseconds, ascending. */
async function live(edgePort, hubPort, seconds) {
  const producer = kafkaAt(edgePort).producer();
  await producer.connect();
  const latencies = [];
  const consumer = kafkaAt(hubPort).consumer({ groupId: 'live', maxWaitTimeInMs: 50 });
  await consumer.connect();
  let sent = 0;
  const send = () => producer.send({ topic: 'live', acks: 1, messages: [{ value: String(Date.now()) }] });
  // The topic appears at the hub with its first record.
  await send();
  sent++;
  while ((await ends(hubAdmin, 'edge.live')) === 0) await pause(200);
  await consumer.subscribe({ topic: 'edge.live', fromBeginning: false });
  let joined = false;
  consumer.on(consumer.events.GROUP_JOIN, () => {
    joined = true;
  });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ message }) => void latencies.push(Date.now() - Number(message.value.toString())),
  });
  while (!joined) await pause(50);
  await pause(1_000);
  sent = 0;
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    await send();
    sent++;
    await pause(200);
  }
  for (let wait = 0; wait < 300 && latencies.length < sent; wait++) await pause(100);
  await consumer.disconnect();
  await producer.disconnect();
  if (latencies.length < sent) throw new Error(`${sent} live records were sent, ${latencies.length} came`);
  return latencies.sort((a, b) => a - b);
}

async function readBack(port) {
  const consumer = kafkaAt(port).consumer({ groupId: 'verify', maxBytesPerPartition: 4 * MiB, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic: 'edge.history', fromBeginning: true });
  const due = new Array(partitions).fill(0);
  let wrong = 0;
  let left = partitions;
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => (payload.restart ? undefined : reject(payload.error)));
    consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch: { partition, messages } }) => {
        for (const { value } of messages) {
          if (Number.parseInt(value.toString('latin1', 0, 12), 10) !== due[partition]++) wrong++;
        }
        if (messages.length > 0 && due[partition] >= perPartition && --left === 0) resolve();
      },
    });
  });
  await consumer.disconnect();
  return { wrong, read: due.reduce((sum, n) => sum + n, 0) };
}

/** Least squares, MB an hour. */
function slopeOf(samples) {
  const n = samples.length;
  if (n < 3) return 0;
  const meanX = samples.reduce((sum, { at }) => sum + at, 0) / n;
  const meanY = samples.reduce((sum, { rss }) => sum + rss, 0) / n;
  let xy = 0;
  let xx = 0;
  for (const { at, rss } of samples) {
    xy += (at - meanX) * (rss - meanY);
    xx += (at - meanX) ** 2;
  }
  return (xy / xx) * 3_600_000;
}

let hubAdmin;
const problems = [];
try {
  const [edgePort, hubPort] = [await freePort(), await freePort()];
  const common = { 'log.retention.hours': -1, topics: { history: { partitions }, live: { partitions: 1 } } };
  const link = {
    type: 'kafka',
    'bootstrap.servers': `127.0.0.1:${hubPort}`,
    topics: ['history', 'live'],
    acks: 'all',
    'retry.backoff.max.ms': 2_000,
  };
  const capped = { ...common, links: { hub: { ...link, 'max.bytes.per.second': Number(args.cap) } } };
  const edge = await start('edge', edgePort, capped);
  const total = perPartition * partitions;
  say(`gathering ${total} records of ${bytes} bytes`);
  let since = performance.now();
  await gather(edgePort);
  const gatherSeconds = (performance.now() - since) / 1000;
  const gathered = memoryOf(edge.child.pid);
  say(`gathered in ${gatherSeconds.toFixed(0)} s, RSS ${gathered.rss.toFixed(0)} MB`);

  const hub = await start('hub', hubPort, { 'log.retention.hours': -1 });
  hubAdmin = hub.admin;
  say(`live records beside the backlog, ${args.cap} bytes/s`);
  const latencies = await live(edgePort, hubPort, Number(args['live-seconds']));
  const before = await ends(hub.admin, 'edge.history');
  const p99 = latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * 0.99))];
  say(`live p50 ${latencies[latencies.length >> 1]} ms, p99 ${p99} ms; ${before} records of the backlog went beside`);

  configure('edge', { ...common, links: { hub: link } });
  edge.child.kill('SIGHUP');
  since = performance.now();
  const samples = [];
  let count = before;
  for (let idle = 0; count < total; ) {
    await pause(500);
    samples.push({ at: performance.now() - since, ...memoryOf(edge.child.pid) });
    if (samples.length % 4 !== 0) continue;
    const found = await ends(hub.admin, 'edge.history');
    idle = found === count ? idle + 1 : 0;
    count = found;
    if (samples.length % 40 === 0) say(`${count} of ${total} at the hub, RSS ${samples.at(-1).rss.toFixed(0)} MB`);
    if (idle > 60) throw new Error(`the drain stands at ${count} of ${total}`);
  }
  const seconds = (performance.now() - since) / 1000;
  say('reading back');
  const { wrong, read } = await readBack(hubPort);
  const half = samples.slice(Math.floor(samples.length / 2));
  const peak = Math.max(...samples.map(({ rss }) => rss));
  const slope = slopeOf(half);
  // What the line through the last half rises by over it, beside how far single samples are from each other.
  const rise = half.length < 3 ? 0 : (slope / 3_600_000) * (half.at(-1).at - half[0].at);
  const spread = Math.max(...half.map(({ rss }) => rss)) - Math.min(...half.map(({ rss }) => rss));
  if (wrong > 0 || read !== total) problems.push(`${wrong} records out of place, ${read} of ${total} read`);
  if (p99 >= 2_000) problems.push(`live p99 ${p99} ms`);
  if (peak > Number(args['limit-mb'])) problems.push(`RSS ${peak.toFixed(0)} MB`);
  if (Number(args.mb) >= 200 && rise > Math.max(4, spread / 2)) problems.push(`RSS rises by ${rise.toFixed(1)} MB`);
  const rounded = (value) => Math.round(value * 10) / 10;
  console.log(
    JSON.stringify({
      records: total,
      mb: Number(args.mb),
      gatherPerSecond: Math.round(total / gatherSeconds),
      liveP50Ms: latencies[latencies.length >> 1],
      liveP99Ms: p99,
      liveMaxMs: latencies.at(-1),
      liveRecords: latencies.length,
      backlogBesideLive: before,
      drainPerSecond: Math.round((total - before) / seconds),
      rssGatheredMb: rounded(gathered.rss),
      rssPeakMb: rounded(peak),
      rssPeakAnonymousMb: rounded(Math.max(...samples.map(({ anonymous }) => anonymous))),
      rssPeakFileMb: rounded(Math.max(...samples.map(({ file }) => file))),
      rssRiseLastHalfMb: rounded(rise),
      rssSpreadLastHalfMb: rounded(spread),
      inOrder: wrong === 0 && read === total,
      problems,
      load: loadavg().map((value) => Number(value.toFixed(1))),
    }),
  );
  for (const { child, admin } of [edge, hub]) {
    await admin.disconnect();
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
} finally {
  for (const child of children) child.kill('SIGKILL');
  rmSync(work, { recursive: true, force: true });
}
process.exit(problems.length > 0 ? 1 : 0);
