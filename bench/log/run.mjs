// The log on this machine: appends beside a plain file, retention, reopening, memory. One command, at most six minutes:
//   node bench/log/run.mjs [--seconds 3] [--mb 1000] [--big 2000] [--only append,json,retention,reopen,memory]
// Each part is a process of its own with the flags of bin/headwater; the last starts the broker itself (needs dist/).
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const { values: args } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    mb: { type: 'string', default: '1000' },
    big: { type: 'string', default: '2000' },
    only: { type: 'string', default: 'append,json,retention,reopen,memory' },
  },
});
const launcher = readFileSync(join(ROOT, 'bin/headwater'), 'utf8');
const flags = /HEADWATER_NODE_FLAGS-"([^"]*)"/.exec(launcher)[1].split(' ');
const env = { ...process.env, MALLOC_ARENA_MAX: '1', UV_THREADPOOL_SIZE: '2' };
for (const [, name, value] of launcher.matchAll(/^export (\w+)="\$\{\w+:-(\w+)\}"/gm)) env[name] = value;

// Below node_modules, so that packages with native parts are found from there.
const bundle = mkdtempSync(join(ROOT, 'node_modules/.bench-'));
const program = join(bundle, 'main.mjs');
const load = () => `load ${loadavg()[0].toFixed(1)}`;

function part(name, ...rest) {
  const partArgs = [...flags, program, '--part', name, '--seconds', args.seconds, ...rest];
  const { status } = spawnSync(process.execPath, partArgs, { env, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${name} ended with ${status}`);
}

function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const read = (field) => +(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)[1]) / 1000).toFixed(1);
  return { 'RSS MB': read('VmRSS'), anonymous: read('RssAnon'), mapped: read('RssFile') };
}

/** Memory of the broker itself, a while after it says that it has started. */
async function broker(data, mb) {
  const listen = ['--kafka', '127.0.0.1:0', '--mqtt', '127.0.0.1:0', '--http', '127.0.0.1:0'];
  const child = spawn(join(ROOT, 'bin/headwater'), ['serve', '--data', data, ...listen], {
    env: process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  await new Promise((resolve, reject) => {
    const look = (text) => {
      output += text;
      if (/started|ready|listening/i.test(output)) resolve();
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.on('exit', (code) => reject(new Error(`the broker ended with ${code}: ${output}`)));
  });
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const memory = memoryOf(child.pid);
  console.log(JSON.stringify({ case: `bin/headwater serve, idle, ${mb} MB stored`, ...memory }));
  child.removeAllListeners('exit');
  const ended = new Promise((resolve) => child.on('exit', resolve));
  child.kill('SIGTERM');
  await ended;
  return memory['RSS MB'];
}

async function memory() {
  const idle = [];
  for (const mb of ['20', args.big]) {
    const directory = mkdtempSync(join(tmpdir(), 'headwater-memory-'));
    try {
      part('store', '--dir', directory, '--mb', mb);
      part('memory', '--dir', directory, '--mb', mb);
      idle.push(await broker(directory, mb));
    } finally {
      rmSync(directory, { recursive: true });
    }
  }
  const more = +(idle[1] - idle[0]).toFixed(1);
  console.log(JSON.stringify({ case: `${args.big} MB stored cost more than 20 MB stored`, MB: more, aim: 4 }));
}

try {
  await build({
    entryPoints: [join(ROOT, 'bench/log/main.ts')],
    outfile: program,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['classic-level', 'cbor-extract', '@hpcc-js/wasm-zstd'],
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    logLevel: 'warning',
  });
  for (const name of args.only.split(',')) {
    console.log(`# ${name}, ${load()}`);
    if (name === 'memory') await memory();
    else part(name, '--mb', args.mb);
  }
  console.log(`# end, ${load()}`);
} finally {
  rmSync(bundle, { recursive: true, force: true });
}
