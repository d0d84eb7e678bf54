// node bench/mqtt/run.mjs [--seconds 5] [--only name] [--profile DIR] [--small]: QoS 1 publishing, acknowledged messages a
// second with every one synced, against Mosquitto (in memory, nothing synced) when it is installed. --small: shipped flags.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    only: { type: 'string' },
    profile: { type: 'string' },
    peers: { type: 'boolean', default: false },
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
  return result;
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

async function mosquitto() {
  if (spawnSync('mosquitto', ['-h']).error) return null;
  const config = join(work, 'mosquitto.conf');
  const port = 20000 + (process.pid % 10000);
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\n`);
  const child = spawn('mosquitto', ['-c', config], { stdio: 'ignore' });
  await new Promise((resolve) => setTimeout(resolve, 500));
  const stop = () =>
    new Promise((resolve) => {
      child.on('exit', resolve);
      child.kill();
    });
  return { pid: child.pid, port, stop };
}

try {
  const brokers = { headwater: await headwater(), ...(values.peers ? { mosquitto: await mosquitto() } : {}) };
  for (const [name, options] of Object.entries(CASES)) {
    if (values.only && !name.includes(values.only)) continue;
    const rates = {};
    for (const [broker, running] of Object.entries(brokers)) {
      if (running === null) {
        console.log(`${broker}: not installed`);
        continue;
      }
      rates[broker] = (await measure(`${broker}: ${name}`, running.pid, running.port, options)).perSecond;
    }
    if (rates.mosquitto > 0)
      console.log(`  ratio to mosquitto in memory: ${(rates.headwater / rates.mosquitto).toFixed(2)}`);
  }
  for (const running of Object.values(brokers)) await running?.stop();
} finally {
  rmSync(work, { recursive: true, force: true });
  rmSync(data, { recursive: true, force: true });
}
