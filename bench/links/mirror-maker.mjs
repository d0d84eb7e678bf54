// How fast a link drains, and in how much memory, beside MirrorMaker 2: the same topics of the same Headwater edge copied to the
// same Apache Kafka, in one run, by the edge's link and by MirrorMaker 2 reading from the edge as from any Kafka. Needs Java,
// Maven on the first run (it fetches the jars into .cache) and dist/ (npm run build).
//   node bench/links/mirror-maker.mjs [--records 500000] [--small 100000] [--bytes 100] [--partitions 4] [--tight 320]
// Two topics: `batches`, as Kafka's own producer makes them, and `small`, one record a batch as devices leave them. Rates run
// from the last look upstream that found nothing to the first that finds all, so neither start counts; the same holds for the
// processor time. MirrorMaker runs as connect-mirror-maker.sh starts it (heap up to 2 GB, G1), with a task for each partition, and
// once more in a heap of --tight MB with the serial collector (0: not; too
// little is said and passed over). RSS of the link is that of the whole edge; of
// MirrorMaker its process alone (the broker it reads from is not counted). Prints lines to read and, last, one line of JSON.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import kafkajs from 'kafkajs';

const VERSION = '4.3.1';
const { values: args } = parseArgs({
  options: {
    records: { type: 'string', default: '500000' },
    small: { type: 'string', default: '100000' },
    bytes: { type: 'string', default: '100' },
    partitions: { type: 'string', default: '4' },
    tight: { type: 'string', default: '320' },
  },
});
const root = fileURLToPath(new URL('../../', import.meta.url));
const jars = join(root, '.cache', `mirror-maker-${VERSION}`);
const partitions = Number(args.partitions);
const work = mkdtempSync(join(tmpdir(), 'headwater-mirror-'));
const children = new Set();
const say = (text) => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);

function fetchJars() {
  if (existsSync(join(jars, 'complete'))) return;
  say(`fetching the jars of Kafka ${VERSION} and MirrorMaker`);
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-Dkafka.version=${VERSION}`];
  const pom = join(root, 'bench/links/mirror-maker.pom.xml');
  const { status, stdout, error } = spawnSync(
    'mvn',
    ['-q', '-B', '-ntp', '-f', pom, ...goal, `-DoutputDirectory=${jars}`],
    {
      encoding: 'utf8',
      timeout: 300_000,
    },
  );
  if (status !== 0) throw new Error(`the jars could not be fetched (is Maven there?): ${error?.message ?? stdout}`);
  writeFileSync(join(jars, 'complete'), `${VERSION}\n`);
}

const java = (options, main, ...rest) => [
  ...options.split(' '),
  `-Dlog4j2.configurationFile=${join(root, 'test/interop/kafka/log4j2.properties')}`,
  ...['-cp', join(jars, '*'), main, ...rest],
];
// What connect-mirror-maker.sh and the script beneath it set.
const SHIPPED = '-Xms256M -Xmx2G -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35';
const SMALL = '-XX:+UseSerialGC -Xmx256m';

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function properties(name, rows) {
  const file = join(work, name);
  writeFileSync(
    file,
    Object.entries(rows).reduce((text, [key, value]) => `${text}${key}=${value}\n`, ''),
  );
  return file;
}

/** A process of ours; what it says is kept for the error when it ends before its time. */
function launch(name, command, commandArgs) {
  const child = spawn(command, commandArgs, { stdio: ['ignore', 'pipe', 'pipe'] });
  const running = { child, said: '', ended: false };
  const keep = (chunk) => {
    running.said = (running.said + chunk).slice(-20_000);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.once('exit', () => {
    running.ended = true;
    children.delete(child);
  });
  children.add(child);
  running.stopped = once(child, 'exit');
  running.check = () => {
    if (running.ended) throw new Error(`${name} ended with ${child.exitCode}: ${running.said.slice(-3_000)}`);
  };
  return running;
}

async function stop({ child, stopped }) {
  child.kill('SIGTERM');
  // A JVM without memory may not come to its end by itself.
  const late = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await stopped;
  clearTimeout(late);
}

const clientOf = (port) =>
  new kafkajs.Kafka({ brokers: [`127.0.0.1:${port}`], logLevel: kafkajs.logLevel.NOTHING, requestTimeout: 60_000 });

async function answers(port, running) {
  for (const end = performance.now() + 90_000; performance.now() < end; await pause(200)) {
    running.check();
    const admin = clientOf(port).admin();
    try {
      await admin.connect();
      await admin.describeCluster();
      return admin;
    } catch {
      await admin.disconnect();
    }
  }
  throw new Error(`nobody answers at port ${port}: ${running.said.slice(-3_000)}`);
}

async function startKafka() {
  const [port, controller] = [await freePort(), await freePort()];
  const data = join(work, 'kafka');
  mkdirSync(data);
  const listeners = `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`;
  const file = properties('server.properties', {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners,
    'advertised.listeners': listeners,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'log.dirs': data,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0,
    'log.cleaner.dedupe.buffer.size': 4_194_304,
  });
  const storage = (...rest) => spawnSync('java', java(SMALL, 'kafka.tools.StorageTool', ...rest), { encoding: 'utf8' });
  storage('format', '-t', storage('random-uuid').stdout.trim(), '-c', file);
  const running = launch('Kafka', 'java', java('-XX:+UseSerialGC -Xmx512m', 'kafka.Kafka', file));
  return { running, port, admin: await answers(port, running) };
}

function launchEdge(port, links) {
  const file = join(work, 'edge.yaml');
  writeFileSync(file, JSON.stringify({ 'log.retention.hours': -1, links }));
  const listen = ['--kafka', `127.0.0.1:${port}`, '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0'];
  const where = ['serve', '--config', file, '--data', join(work, 'edge'), '--broker-id', 'edge'];
  return launch('the edge', join(root, 'bin/headwater'), [...where, ...listen]);
}

async function startEdge(port) {
  const running = launchEdge(port, {});
  return { running, admin: await answers(port, running) };
}

/** The edge goes by the name of `alias`, and its topic upstream is `alias.topic`. */
function startMirrorMaker(alias, topic, heap, edgePort, hubPort) {
  const file = properties(`${alias}-${topic}.properties`, {
    clusters: `${alias},hub`,
    [`${alias}.bootstrap.servers`]: `127.0.0.1:${edgePort}`,
    'hub.bootstrap.servers': `127.0.0.1:${hubPort}`,
    [`${alias}->hub.enabled`]: true,
    [`${alias}->hub.topics`]: topic,
    [`hub->${alias}.enabled`]: false,
    // As much at once as there is to share out, and nothing beside the copying.
    'tasks.max': partitions,
    'emit.heartbeats.enabled': false,
    'emit.checkpoints.enabled': false,
    'sync.topic.acls.enabled': false,
    'sync.topic.configs.enabled': false,
    'offset-syncs.topic.location': 'target',
    'refresh.topics.interval.seconds': 5,
    'hub.producer.acks': 'all',
    ...Object.fromEntries(
      ['replication', 'checkpoints.topic.replication', 'heartbeats.topic.replication', 'offset-syncs.topic.replication']
        .concat(['config.storage.replication', 'offset.storage.replication', 'status.storage.replication'])
        .map((name) => [`${name}.factor`, 1]),
    ),
  });
  const main = java(heap, 'org.apache.kafka.connect.mirror.MirrorMaker', file);
  return launch('MirrorMaker', 'java', main);
}

async function fillBatches(port, topic, records) {
  const running = launch(
    'the producer',
    'java',
    java(
      SMALL,
      'org.apache.kafka.tools.ProducerPerformance',
      ...['--topic', topic, '--num-records', String(records), '--record-size', args.bytes, '--throughput', '-1'],
      ...['--producer-props', `bootstrap.servers=127.0.0.1:${port}`, 'acks=1'],
    ),
  );
  await running.stopped;
  if (running.child.exitCode !== 0) throw new Error(`the producer failed: ${running.said}`);
}

/** One record a batch: a request holds one batch of each partition. */
async function fillSmall(port, topic, records) {
  const producer = clientOf(port).producer({ maxInFlightRequests: 50 });
  await producer.connect();
  const value = Buffer.alloc(Number(args.bytes), 'x');
  const messages = Array.from({ length: partitions }, (_, partition) => ({ partition, value }));
  let left = Math.ceil(records / partitions);
  const worker = async () => {
    while (left-- > 0) await producer.send({ topic, acks: 1, messages });
  };
  await Promise.all(Array.from({ length: 50 }, worker));
  await producer.disconnect();
}

async function ends(admin, topic) {
  for (const end = performance.now() + 30_000; ; await pause(50)) {
    try {
      return (await admin.fetchTopicOffsets(topic)).reduce((sum, { high }) => sum + Number(high), 0);
    } catch (error) {
      // A topic that was created a moment ago has no leader yet.
      if (!error.retriable || performance.now() > end) throw error;
    }
  }
}

/** Resident memory in MB: all of it, and without the pages of mapped files (which the kernel takes back at need). */
function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mb = (field) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024;
  return { rss: mb('VmRSS'), anonymous: mb('RssAnon') };
}

/** Processor time used so far, seconds. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Watches `topic` grow upstream until it holds `total`, and what the process that fills it takes meanwhile. */
async function watch(running, admin, topic, total) {
  const { pid } = running.child;
  let [since, cpuBefore, count, rss, anonymous] = [performance.now(), cpuOf(pid), 0, 0, 0];
  for (const end = performance.now() + 120_000; count < total; await pause(25)) {
    running.check();
    // A task that died of it does not come back, its process stays.
    if (performance.now() > end || running.said.includes('OutOfMemoryError')) {
      throw new Error(`${topic} stands at ${count} of ${total}: ${running.said.slice(-3_000)}`);
    }
    const memory = memoryOf(pid);
    rss = Math.max(rss, memory.rss);
    anonymous = Math.max(anonymous, memory.anonymous);
    const [at, cpu] = [performance.now(), cpuOf(pid)];
    count = await ends(admin, topic);
    if (count === 0) [since, cpuBefore] = [at, cpu];
  }
  const seconds = (performance.now() - since) / 1000;
  return {
    recordsPerSecond: count / seconds,
    seconds,
    cpuMicrosecondsPerRecord: ((cpuOf(pid) - cpuBefore) * 1e6) / count,
    rssMb: rss,
    anonymousMb: anonymous,
    surplus: count - total,
  };
}

const describe = (result) =>
  `${Math.round(result.recordsPerSecond).toLocaleString('en')} records/s, ${result.cpuMicrosecondsPerRecord.toFixed(2)} µs of ` +
  `processor a record, RSS ${result.rssMb.toFixed(0)} MB (${result.anonymousMb.toFixed(0)} MB without mapped files)`;

const heaps = { shipped: SHIPPED };
if (Number(args.tight) > 0) heaps.tight = `-Xmx${Number(args.tight)}M -XX:+UseSerialGC`;
const cases = [];
try {
  fetchJars();
  const edgePort = await freePort();
  let edge = await startEdge(edgePort);
  const hub = await startKafka();
  say(`${cpus().length} processors, Node ${process.version}, Kafka ${VERSION}; filling the topics`);
  const topics = [
    { topic: 'batches', fill: fillBatches, records: Number(args.records) },
    { topic: 'small', fill: fillSmall, records: Number(args.small) },
  ].filter(({ records }) => records > 0);
  for (const { topic, fill, records } of topics) {
    await edge.admin.createTopics({ topics: [{ topic, numPartitions: partitions }] });
    await fill(edgePort, topic, records);
  }
  // Upstream's first requests are interpreted; whoever came first would pay for it.
  await fillBatches(hub.port, 'warm', 300_000);
  for (const { topic } of topics) {
    const total = await ends(edge.admin, topic);
    // There beforehand, so that each look upstream is short.
    await hub.admin.createTopics({
      topics: ['shipped', 'tight', 'edge'].map((name) => ({ topic: `${name}.${topic}`, numPartitions: partitions })),
    });
    const mirrorMakers = {};
    for (const [alias, heap] of Object.entries(heaps)) {
      const mirror = startMirrorMaker(alias, topic, heap, edgePort, hub.port);
      try {
        mirrorMakers[alias] = await watch(mirror, hub.admin, `${alias}.${topic}`, total);
      } catch (error) {
        if (alias !== 'tight' || !/OutOfMemory/.test(mirror.said)) throw error;
        say(`${topic}: MirrorMaker 2 ran out of memory with ${heap}`);
        continue;
      } finally {
        await stop(mirror);
      }
      say(`${topic}, ${total} records, MirrorMaker 2, ${alias}: ${describe(mirrorMakers[alias])}`);
    }

    await edge.admin.disconnect();
    await stop(edge.running);
    const link = { type: 'kafka', 'bootstrap.servers': `127.0.0.1:${hub.port}`, topics: [topic], acks: 'all' };
    const linked = launchEdge(edgePort, { hub: link });
    const headwater = await watch(linked, hub.admin, `edge.${topic}`, total);
    say(`${topic}, ${total} records, Headwater's link: ${describe(headwater)}`);
    // What the next MirrorMaker reads from has no link of its own.
    await stop(linked);
    edge = await startEdge(edgePort);

    const ratios = {};
    for (const [alias, theirs] of Object.entries(mirrorMakers)) {
      const ratio = (field) => headwater[field] / theirs[field];
      const [rate, rss, cpu] = [ratio('recordsPerSecond'), ratio('rssMb'), ratio('cpuMicrosecondsPerRecord')];
      ratios[alias] = { rate, rss, cpu };
      say(`${topic}, ${alias}: rate x ${rate.toFixed(2)}, RSS x ${rss.toFixed(2)}, processor x ${cpu.toFixed(2)}`);
    }
    cases.push({ topic, total, headwater, mirrorMakers, ratios });
  }
  const rounded = (_, value) => (typeof value === 'number' ? Math.round(value * 100) / 100 : value);
  console.log(JSON.stringify({ cases, partitions, load: loadavg() }, rounded));
  await edge.admin.disconnect();
  await hub.admin.disconnect();
  await stop(edge.running);
  await stop(hub.running);
} finally {
  for (const child of children) child.kill('SIGKILL');
  rmSync(work, { recursive: true, force: true });
}
process.exit(0);
