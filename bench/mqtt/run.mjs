// node bench/mqtt/run.mjs [--seconds 5] [--only CASE] [--peers [--peer NAME]] [--large] [--profile DIR]: QoS 1 publishing and many
// connections: acknowledged messages a second (Headwater: every one synced), RSS, CPU, bytes written. --peers: the same
// for Mosquitto, NATS JetStream, RabbitMQ and Aedes, one after the other in the same run, installed into --cache (about
// 6 minutes; the first time longer). --large: without the shipped memory flags.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { PEERS } from './peers.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    only: { type: 'string' },
    profile: { type: 'string' },
    peers: { type: 'boolean', default: false },
    peer: { type: 'string' },
    cache: { type: 'string', default: join(homedir(), '.cache/headwater-peers') },
    large: { type: 'boolean', default: false },
    idle: { type: 'string', default: '5000' },
  },
});
const seconds = Number(values.seconds);
const here = import.meta.dirname;
const work = mkdtempSync(join(here, '../../node_modules/.bench-'));
const data = mkdtempSync(join(tmpdir(), 'headwater-bench-'));

const CASES = {
  'window 1, 1 connection': { connections: 1, window: 1, topics: 1 },
  '50 x 20, 256 bytes': { connections: 50, window: 20 },
  '1,000 connections, 2,000/s': { connections: 1000, window: 20, rate: 2000 },
  'idle connections': { mode: 'idle', connections: Number(values.idle), seconds: 3 },
};

function procStat(pid) {
  const [, after] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const fields = after.split(' ');
  const io = Object.fromEntries(
    readFileSync(`/proc/${pid}/io`, 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(': ')),
  );
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
  return { cpu: (Number(fields[11]) + Number(fields[12])) / 100, written: Number(io.write_bytes), rss };
}

function load(port, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(here, 'load.mjs'), JSON.stringify({ port, seconds, ...options })]);
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk) => process.stderr.write(chunk));
    child.on('exit', () => (out === '' ? reject(new Error('no result')) : resolve(JSON.parse(out))));
  });
}

async function measure(name, pid, port, options) {
  const before = procStat(pid);
  const began = performance.now();
  const running = load(port, options);
  let peak = 0;
  const sampler = setInterval(() => {
    peak = Math.max(peak, procStat(pid).rss);
  }, 200);
  const result = await running;
  clearInterval(sampler);
  const after = procStat(pid);
  const wall = (performance.now() - began) / 1000;
  const cpu = ((after.cpu - before.cpu) / wall) * 100;
  const mb = (after.written - before.written) / 1e6;
  console.log(
    `${name.padEnd(44)} ${String(result.perSecond).padStart(7)}/s  p50 ${result.p50} ms  p99 ${result.p99} ms  ` +
      `RSS ${peak.toFixed(0)} MB  CPU ${cpu.toFixed(0)} %  written ${mb.toFixed(0)} MB${result.closed > 0 ? `  closed ${result.closed}` : ''}`,
  );
  return { ...result, rss: peak, cpu };
}

async function headwater() {
  const outfile = join(work, 'server.mjs');
  await build({
    entryPoints: [join(here, 'server.ts')],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['classic-level', 'cbor-extract', '@hpcc-js/wasm-zstd'],
    banner: { js: "import { createRequire as __c } from 'node:module'; const require = __c(import.meta.url);" },
  });
  const flags = values.large
    ? []
    : ['--max-semi-space-size=1', '--optimize-for-size', '--max-old-space-size=48', '--v8-pool-size=1'];
  if (values.profile) flags.push('--cpu-prof', `--cpu-prof-dir=${values.profile}`);
  const env = { ...process.env, MALLOC_ARENA_MAX: '1', UV_THREADPOOL_SIZE: '2' };
  const child = spawn(process.execPath, [...flags, outfile, data], { stdio: ['pipe', 'pipe', 'inherit'], env });
  const line = await new Promise((resolve) => child.stdout.once('data', resolve));
  const stop = () =>
    new Promise((resolve) => {
      child.on('exit', resolve);
      child.stdin.end();
    });
  return { pid: child.pid, port: JSON.parse(line).port, stop };
}

/** One broker after the other: none shares the machine with another. */
async function all(name, start) {
  let running;
  try {
    running = await start();
  } catch (error) {
    console.log(`${name}: left out, ${error.message.split('\n')[0]}`);
    return null;
  }
  if (running === null) {
    console.log(`${name}: left out, it cannot be installed here`);
    return null;
  }
  const results = {};
  try {
    for (const [what, options] of Object.entries(CASES)) {
      if (values.only && !what.includes(values.only)) continue;
      try {
        results[what] = await measure(`${name}: ${what}`, running.pid, running.port, options);
      } catch (error) {
        console.log(`${name}: ${what}: ${error.message}`);
      }
    }
  } finally {
    await running.stop();
  }
  return results;
}

try {
  const mine = await all('headwater', headwater);
  const wanted = values.peers ? Object.entries(PEERS) : [];
  for (const [i, [name, start]] of wanted.entries()) {
    if (values.peer && !name.includes(values.peer)) continue;
    const theirs = mkdtempSync(join(tmpdir(), 'mqtt-peer-'));
    const port = 20_000 + (process.pid % 10_000) + i * 5;
    const results = await all(name, () => start({ cache: values.cache, work: theirs, port }));
    rmSync(theirs, { recursive: true, force: true });
    for (const what of Object.keys(results ?? {})) {
      const [a, b] = [mine?.[what], results[what]];
      if (a === undefined) continue;
      const rate = b.perSecond > 0 ? `rate ${(a.perSecond / b.perSecond).toFixed(2)}, ` : '';
      console.log(
        `  headwater to ${name}, ${what}: ${rate}RSS ${(a.rss / b.rss).toFixed(2)}, CPU ${(a.cpu / b.cpu).toFixed(2)}`,
      );
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
  rmSync(data, { recursive: true, force: true });
}
