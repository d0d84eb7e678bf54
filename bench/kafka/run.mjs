// Headwater beside Apache Kafka on this machine, in this run: Kafka's own producer-perf-test and consumer-perf-test against
// both, memory of both, and the ratios. Needs Java and the jars (any Kafka interop test fetches them into .cache) and dist/.
//   node bench/kafka/run.mjs [--records 500000] [--sizes 100,1024] [--partitions 1] [--acks 1] [--profile] [--only headwater]
// --profile writes a CPU profile of the broker beside the results (open it in a browser's developer tools).
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const VERSION = '4.3.1';
const { values: args } = parseArgs({
  options: {
    records: { type: 'string', default: '500000' },
    sizes: { type: 'string', default: '100,1024' },
    partitions: { type: 'string', default: '1' },
    acks: { type: 'string', default: '1' },
    profile: { type: 'boolean', default: false },
    only: { type: 'string', default: 'headwater,kafka' },
  },
});
const jars = join(ROOT, '.cache', `kafka-${VERSION}`);
if (!existsSync(join(jars, 'complete'))) throw new Error(`${jars} is missing: run a Kafka interop test once`);
const work = mkdtempSync(join(tmpdir(), 'headwater-bench-'));
const children = [];

const java = (heap, main, ...rest) => [
  `-Xmx${heap}m`,
  '-XX:+UseSerialGC',
  `-Dlog4j2.configurationFile=${join(ROOT, 'test/interop/kafka/log4j2.properties')}`,
  '-cp',
  join(jars, '*'),
  main,
  ...rest,
];

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts a broker and waits for the line that says it is ready. */
async function start(command, commandArgs, ready, env = process.env) {
  const child = spawn(command, commandArgs, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let output = '';
  await new Promise((resolve, reject) => {
    const look = (chunk) => {
      output += chunk;
      if (ready.test(output)) resolve();
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.once('exit', (code) => reject(new Error(`${command} ended with ${code}: ${output.slice(-2_000)}`)));
  });
  return child;
}

async function startKafka() {
  const [port, controller] = [await freePort(), await freePort()];
  const file = join(work, 'server.properties');
  const data = join(work, 'kafka');
  mkdirSync(data);
  const rows = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'log.dirs': data,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'group.initial.rebalance.delay.ms': 0,
    'log.cleaner.dedupe.buffer.size': 4_194_304,
  };
  writeFileSync(
    file,
    Object.entries(rows)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const storage = (...rest) => spawnSync('java', java(128, 'kafka.tools.StorageTool', ...rest), { encoding: 'utf8' });
  storage('format', '-t', storage('random-uuid').stdout.trim(), '-c', file);
  const child = await start('java', java(512, 'kafka.Kafka', file), /Kafka Server started/);
  return { name: `Apache Kafka ${VERSION}`, pid: child.pid, bootstrap: `127.0.0.1:${port}` };
}

async function startHeadwater() {
  const [kafka, mqtt, http] = [await freePort(), await freePort(), await freePort()];
  const listen = ['--kafka', `127.0.0.1:${kafka}`, '--mqtt', `127.0.0.1:${mqtt}`, '--http', `127.0.0.1:${http}`];
  const env = { ...process.env };
  if (args.profile) {
    const usual = '--max-semi-space-size=1 --optimize-for-size --max-old-space-size=48 --v8-pool-size=1';
    env.HEADWATER_NODE_FLAGS = `${usual} --cpu-prof --cpu-prof-dir=${join(ROOT, '.cache', 'profiles')}`;
  }
  const command = ['serve', '--data', join(work, 'headwater'), ...listen];
  const child = await start(join(ROOT, 'bin/headwater'), command, /started|listening|kafka/i, env);
  return { name: 'Headwater', pid: child.pid, bootstrap: `127.0.0.1:${kafka}`, child };
}

function tool(main, ...rest) {
  const result = spawnSync('java', java(256, `org.apache.kafka.tools.${main}`, ...rest), { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${main} failed: ${result.stderr}${result.stdout}`);
  return result.stdout;
}

/** Resident memory in MB: all of it, and without the pages of mapped files (which the kernel takes back at need). */
function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const read = (name) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)[1]) / 1024);
  return { rss: read('VmRSS'), anonymous: read('RssAnon') };
}

/** Processor time used so far, seconds: what a loaded machine does not change. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function measure(target, size) {
  const topic = `bench-${size}`;
  const { bootstrap } = target;
  tool('TopicCommand', '--bootstrap-server', bootstrap, '--create', '--topic', topic, '--partitions', args.partitions);
  const produce = (records) =>
    tool(
      'ProducerPerformance',
      ...['--topic', topic, '--num-records', String(records), '--record-size', String(size), '--throughput', '-1'],
      ...['--producer-props', `bootstrap.servers=${bootstrap}`, `acks=${args.acks}`],
    );
  const produced = /([\d.]+) records\/sec.*?([\d.]+) ms avg latency.*?([\d.]+) ms 99th/s.exec(
    produce(args.records).trim().split('\n').at(-1),
  );
  const cpuBefore = cpuOf(target.pid);
  const consumed = tool(
    'ConsumerPerformance',
    ...['--bootstrap-server', bootstrap, '--topic', topic, '--messages', args.records, '--timeout', '60000'],
  );
  // start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, fetch MB/s, fetch records/s
  const columns = consumed.trim().split('\n').at(-1).split(', ');
  return {
    produced: Number(produced[1]),
    latency: Number(produced[2]),
    p99: Number(produced[3]),
    consumed: Number(columns[9]),
    cpu: ((cpuOf(target.pid) - cpuBefore) * 1e3) / Number(columns[2]),
    ...memoryOf(target.pid),
  };
}

const number = (value) => Math.round(value).toLocaleString('en');
try {
  console.log(`${cpus().length} x ${cpus()[0].model}, ${Math.round(totalmem() / 2 ** 30)} GB, Node ${process.version}`);
  console.log(
    `${args.records} records, ${args.partitions} partition(s), acks=${args.acks}; Headwater syncs every commit, Kafka none`,
  );
  const starts = { headwater: startHeadwater, kafka: startKafka };
  const targets = [];
  for (const name of args.only.split(',')) targets.push(await starts[name]());
  for (const size of args.sizes.split(',')) {
    const [ours, theirs] = targets.map((target) => {
      const result = measure(target, size);
      console.log(
        `${target.name}, ${size} bytes: produce ${number(result.produced)}/s (avg ${result.latency} ms, p99 ${result.p99} ms), ` +
          `consume ${number(result.consumed)}/s (broker ${result.cpu.toFixed(2)} ms of processor a MB), memory ${result.rss} MB (${result.anonymous} MB without mapped files)`,
      );
      return result;
    });
    if (theirs === undefined) continue;
    const ratio = (name) => (ours[name] / theirs[name]).toFixed(2);
    console.log(
      `ratio, ${size} bytes: produce ${ratio('produced')}, consume ${ratio('consumed')}, ` +
        `memory ${ratio('rss')} (${ratio('anonymous')} without mapped files)`,
    );
  }
} finally {
  for (const child of children) {
    child.removeAllListeners('exit');
    if (child.exitCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
  }
  rmSync(work, { recursive: true, force: true });
}
