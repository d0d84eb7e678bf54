// How fast a link drains a backlog of single-record batches (what a device that publishes once a second leaves behind),
// from one broker to another on this machine, straight or through a proxy that delays both ways. Needs dist/ (npm run build).
//   node bench/links/drain.mjs [--records 200000] [--partitions 4] [--bytes 100] [--rtt 0] [--seconds 120] [--root DIR]
// --root: another checkout to compare with. Prints one line of JSON.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import kafkajs from 'kafkajs';

const { values: args } = parseArgs({
  options: {
    records: { type: 'string', default: '200000' },
    partitions: { type: 'string', default: '4' },
    bytes: { type: 'string', default: '100' },
    rtt: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '120' },
    root: { type: 'string', default: fileURLToPath(new URL('../../', import.meta.url)) },
  },
});
const partitions = Number(args.partitions);
const records = Number(args.records);
const work = mkdtempSync(join(tmpdir(), 'headwater-drain-'));
const children = new Set();

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Every byte arrives `ms` later, in order. */
async function delayingProxy(target, ms) {
  const pipe = (from, to) => {
    from.on('data', (chunk) => setTimeout(() => to.writable && to.write(chunk), ms));
    from.on('error', () => {});
    from.on('close', () => setTimeout(() => to.destroy(), ms));
  };
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port: target, host: '127.0.0.1', noDelay: true });
    pipe(near, far);
    pipe(far, near);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

function kafkaAt(port) {
  return new kafkajs.Kafka({ brokers: [`127.0.0.1:${port}`], logLevel: kafkajs.logLevel.NOTHING });
}

async function start(name, port, config) {
  const file = join(work, `${name}.yaml`);
  writeFileSync(file, JSON.stringify(config));
  const child = spawn(
    join(args.root, 'bin/headwater'),
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
      await pause(100);
    }
  }
}

async function stop({ child, admin }) {
  await admin.disconnect();
  child.kill('SIGTERM');
  await once(child, 'exit');
}

/** One record a batch: a request holds one batch of each partition. */
async function fill(port) {
  const producer = kafkaAt(port).producer({ maxInFlightRequests: 50 });
  await producer.connect();
  const value = Buffer.alloc(Number(args.bytes), 'x');
  const messages = Array.from({ length: partitions }, (_, partition) => ({ partition, value }));
  let left = Math.ceil(records / partitions);
  const worker = async () => {
    while (left-- > 0) await producer.send({ topic: 'readings', acks: 1, messages });
  };
  await Promise.all(Array.from({ length: 50 }, worker));
  await producer.disconnect();
}

async function stored(admin, topic) {
  try {
    return (await admin.fetchTopicOffsets(topic)).reduce((sum, { high }) => sum + Number(high), 0);
  } catch {
    return 0;
  }
}

try {
  const [edgePort, hubPort] = [await freePort(), await freePort()];
  const rtt = Number(args.rtt);
  const upstream = rtt > 0 ? await delayingProxy(hubPort, rtt / 2) : hubPort;
  const hub = await start('hub', hubPort, { 'advertised.listeners': { kafka: `127.0.0.1:${upstream}` } });
  const before = await start('edge', edgePort, {});
  await before.admin.createTopics({ topics: [{ topic: 'readings', numPartitions: partitions }] });
  await fill(edgePort);
  const total = await stored(before.admin, 'readings');
  await stop(before);
  const links = {
    hub: { type: 'kafka', 'bootstrap.servers': `127.0.0.1:${upstream}`, topics: ['readings'], acks: 'all' },
  };
  const edge = await start('edge', edgePort, { links });
  let first = 0;
  let firstCount = 0;
  let last = 0;
  let count = 0;
  const end = performance.now() + Number(args.seconds) * 1000;
  while (count < total && performance.now() < end) {
    await pause(100);
    const found = await stored(hub.admin, 'edge.readings');
    if (found === count) continue;
    count = found;
    last = performance.now();
    if (first === 0) [first, firstCount] = [last, count];
  }
  const recordsPerSecond = Math.round((count - firstCount) / ((last - first) / 1000));
  const load = loadavg().map((value) => Number(value.toFixed(1)));
  console.log(JSON.stringify({ total, drained: count, partitions, rtt, recordsPerSecond, load }));
  await stop(edge);
  await stop(hub);
} finally {
  for (const child of children) child.kill('SIGKILL');
  rmSync(work, { recursive: true, force: true });
}
process.exit(0);
