// How long a start takes until every port accepts, with data stored: after a clean stop and after kill -9. One command:
//   node bench/log/cold-start.mjs [--mb 1000] [--runs 3] [--dir DIRECTORY]
// It fills a new data directory over Kafka, in batches of 1 MB that do not compress, and removes it at the end. Needs dist/.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Kafka, logLevel, Partitioners } from 'kafkajs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const AIM_MS = 1_500;
const GIVE_UP_MS = 60_000;
const RECORD_BYTES = 50_000;
const RECORDS = 20;
const { values: args } = parseArgs({
  options: {
    mb: { type: 'string', default: '1000' },
    runs: { type: 'string', default: '3' },
    dir: { type: 'string', default: tmpdir() },
  },
});
const load = () => loadavg()[0].toFixed(1);

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function accepts(port) {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

const directory = mkdtempSync(join(args.dir, 'headwater-cold-start-'));
const ports = { kafka: await freePort(), mqtt: await freePort(), http: await freePort() };
let child = null;

/** Resolves with the milliseconds until all ports have accepted. */
async function start() {
  const listen = Object.entries(ports).flatMap(([name, port]) => [`--${name}`, `127.0.0.1:${port}`]);
  const begun = performance.now();
  const started = spawn(join(ROOT, 'bin/headwater'), ['serve', '--data', directory, ...listen], { stdio: 'ignore' });
  child = started;
  for (const port of Object.values(ports)) {
    while (!(await accepts(port))) {
      if (started.exitCode !== null) throw new Error(`the broker ended with ${started.exitCode}`);
      if (performance.now() - begun > GIVE_UP_MS) throw new Error(`port ${port} did not accept in ${GIVE_UP_MS} ms`);
      await pause(5);
    }
  }
  return Math.round(performance.now() - begun);
}

async function stop(signal) {
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}

async function fill(producer, mb) {
  const value = randomBytes(RECORD_BYTES + 4_096);
  for (let sent = 0, n = 0; sent < mb * 1e6; sent += RECORDS * RECORD_BYTES, n++) {
    const messages = Array.from({ length: RECORDS }, (_, i) => {
      const from = (n * RECORDS + i) % 4_096;
      return { value: value.subarray(from, from + RECORD_BYTES) };
    });
    await producer.send({ topic: `t${n % 4}`, messages });
  }
}

async function connected() {
  const kafka = new Kafka({ brokers: [`127.0.0.1:${ports.kafka}`], logLevel: logLevel.NOTHING });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  return producer;
}

try {
  console.log(JSON.stringify({ case: 'start, empty', ms: await start(), load: load() }));
  const begun = performance.now();
  const producer = await connected();
  await fill(producer, Number(args.mb));
  await producer.disconnect();
  console.log(
    JSON.stringify({ case: `filled with ${args.mb} MB`, s: +((performance.now() - begun) / 1_000).toFixed(1) }),
  );
  const times = { 'a clean stop': [], 'kill -9 while records come': [] };
  for (let run = 0; run < Number(args.runs); run++) {
    await stop('SIGTERM');
    times['a clean stop'].push(await start());
    const writer = await connected();
    const writing = fill(writer, 1_000).catch(() => {});
    await pause(1_000);
    await stop('SIGKILL');
    await writer.disconnect().catch(() => {});
    times['kill -9 while records come'].push(await start());
    await writing;
  }
  for (const [after, ms] of Object.entries(times)) {
    console.log(
      JSON.stringify({ case: `start after ${after}`, ms, aim: AIM_MS, met: Math.max(...ms) <= AIM_MS, load: load() }),
    );
  }
  await stop('SIGTERM');
} finally {
  if (child?.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
}
