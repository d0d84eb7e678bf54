// The brokers that stand beside Headwater in run.mjs. Each installs itself into a cache outside git when it is first asked
// for, from its usual registry, and starts on an empty data directory; null: it cannot be had here.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

const here = import.meta.dirname;
const NATS = 'v2.11.4';
const AEDES = ['aedes@1.2.0', 'aedes-persistence-level@9.2.0', 'level@10.0.0'];

function must(command, args, options = {}) {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8', ...options });
  if (error !== undefined || status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error ?? stderr}`);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Until something answers a CONNECT on the port. */
async function answers(port, ms) {
  for (const until = Date.now() + ms; ; await pause(200)) {
    const ok = await new Promise((resolve) => {
      const socket = connect({ port, host: '127.0.0.1' });
      const end = (value) => {
        socket.destroy();
        resolve(value);
      };
      socket.on('error', () => end(false));
      socket.on('close', () => end(false));
      socket.on('data', (bytes) => end(bytes[0] === 0x20 && bytes[3] === 0));
      socket.setTimeout(2_000, () => end(false));
      socket.write(Buffer.from([0x10, 16, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 0, 0, 4, 0x69, 0x73, 0x75, 0x70]));
    });
    if (ok) return;
    if (Date.now() > until) throw new Error(`nothing answers on port ${port}`);
  }
}

/** A persistent session at QoS 1 on bench/# that is not there: what is published must be kept for it. */
function sleeper(port) {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.write(Buffer.from([0x10, 19, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0, 0, 0, 0, 7, ...Buffer.from('sleeper')]));
    socket.on('data', (bytes) => {
      if (bytes[0] === 0x20) socket.write(Buffer.from([0x82, 12, 0, 1, 0, 7, ...Buffer.from('bench/#'), 1]));
      else socket.end(Buffer.from([0xe0, 0]));
    });
    socket.on('close', resolve);
  });
}

function running(child, port, pid = () => child.pid) {
  return {
    port,
    get pid() {
      return pid();
    },
    stop: async () => {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      if (child.exitCode !== null) return;
      process.kill(pid(), 'SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
      await gone;
      clearTimeout(timer);
    },
  };
}

async function mosquitto({ work, port }) {
  if (spawnSync('mosquitto', ['-h']).error) return null;
  const config = join(work, 'mosquitto.conf');
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\n`);
  const child = spawn('mosquitto', ['-c', config], { stdio: 'ignore' });
  await answers(port, 10_000);
  return running(child, port);
}

async function nats({ cache, work, port }, sync) {
  const bin = join(cache, `nats-${NATS}`);
  if (!existsSync(join(bin, 'nats-server'))) {
    if (spawnSync('go', ['version']).error) return null;
    must('go', ['install', `github.com/nats-io/nats-server/v2@${NATS}`], { env: { ...process.env, GOBIN: bin } });
  }
  const config = join(work, 'nats.conf');
  const data = join(work, 'nats');
  writeFileSync(
    config,
    `server_name: bench\nlisten: "127.0.0.1:${port + 1}"\nmqtt { listen: "127.0.0.1:${port}" }\n` +
      `jetstream { store_dir: "${data}"${sync ? ', sync_interval: always' : ''} }\n`,
  );
  const child = spawn(join(bin, 'nats-server'), ['-c', config], { stdio: 'ignore' });
  await answers(port, 20_000);
  return running(child, port);
}

async function aedes({ cache, work, port }, level) {
  const modules = join(cache, 'aedes');
  if (!existsSync(join(modules, 'node_modules/aedes-persistence-level'))) {
    mkdirSync(modules, { recursive: true });
    writeFileSync(join(modules, 'package.json'), '{ "private": true }\n');
    must('npm', ['install', '--no-audit', '--no-fund', '--silent', ...AEDES], { cwd: modules });
  }
  const args = [join(here, 'aedes-server.mjs'), modules, String(port), ...(level ? [join(work, 'level')] : [])];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  await answers(port, 20_000);
  if (level) await sleeper(port);
  return running(child, port);
}

/** Debian's packages, unpacked and not installed: nothing of the machine changes. */
function unpackRabbit(root) {
  const packages = spawnSync('apt-get', ['-s', 'install', '--no-install-recommends', 'rabbitmq-server'], {
    encoding: 'utf8',
  });
  const names = [...(packages.stdout ?? '').matchAll(/^Inst (\S+)/gm)].map(([, name]) => name);
  const wanted = names.filter((name) => /^(erlang|rabbitmq)/.test(name));
  if (wanted.length === 0) return false;
  const debs = join(root, 'debs');
  mkdirSync(debs, { recursive: true });
  must('apt-get', ['download', ...wanted], { cwd: debs });
  for (const deb of readdirSync(debs)) must('dpkg-deb', ['-x', join(debs, deb), root]);
  const erlang = join(root, 'usr/lib/erlang');
  const folders = [
    join(erlang, 'bin'),
    ...readdirSync(erlang).flatMap((name) => (name.startsWith('erts-') ? [join(erlang, name, 'bin')] : [])),
  ];
  for (const folder of folders) {
    for (const script of ['erl', 'start']) {
      const file = join(folder, script);
      if (existsSync(file)) writeFileSync(file, readFileSync(file, 'utf8').replaceAll('/usr/lib/erlang', erlang));
    }
  }
  return true;
}

/** The process whose command line has all of these. */
function findProcess(...parts) {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const line = readFileSync(`/proc/${name}/cmdline`, 'utf8');
      if (parts.every((part) => line.includes(part))) return Number(name);
    } catch {
      // It ended meanwhile.
    }
  }
  return null;
}

/** A durable quorum queue takes what is published: without one nothing would be stored. */
const DEFINITIONS = {
  users: [{ name: 'guest', password: 'guest', tags: ['administrator'] }],
  vhosts: [{ name: '/' }],
  permissions: [{ user: 'guest', vhost: '/', configure: '.*', write: '.*', read: '.*' }],
  queues: [{ name: 'bench', vhost: '/', durable: true, auto_delete: false, arguments: { 'x-queue-type': 'quorum' } }],
  bindings: [
    {
      source: 'amq.topic',
      vhost: '/',
      destination: 'bench',
      destination_type: 'queue',
      routing_key: '#',
      arguments: {},
    },
  ],
};

async function rabbitmq({ cache, work, port }) {
  const root = join(cache, 'rabbitmq');
  const lib = join(root, 'usr/lib/rabbitmq/lib');
  if (!existsSync(lib) && !unpackRabbit(root)) return null;
  const home = join(lib, readdirSync(lib)[0]);
  const dir = join(work, 'rabbitmq');
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'enabled_plugins'), '[rabbitmq_mqtt].\n');
  writeFileSync(join(dir, 'definitions.json'), JSON.stringify(DEFINITIONS));
  writeFileSync(
    join(dir, 'rabbitmq.conf'),
    `mqtt.listeners.tcp.1 = 127.0.0.1:${port}\nmqtt.allow_anonymous = true\nlisteners.tcp.1 = 127.0.0.1:${port + 1}\n` +
      `loopback_users = none\nload_definitions = ${join(dir, 'definitions.json')}\n`,
  );
  const epmd = String(port + 2);
  const env = {
    ...process.env,
    PATH: `${join(root, 'usr/lib/erlang/bin')}:${process.env.PATH}`,
    HOME: dir,
    RABBITMQ_HOME: home,
    RABBITMQ_NODENAME: 'bench@localhost',
    RABBITMQ_MNESIA_BASE: join(dir, 'mnesia'),
    RABBITMQ_LOG_BASE: join(dir, 'log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'enabled_plugins'),
    RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_DIST_PORT: String(port + 3),
    ERL_EPMD_PORT: epmd,
    ERL_EPMD_ADDRESS: '127.0.0.1',
  };
  const child = spawn(join(home, 'sbin/rabbitmq-server'), [], { env, stdio: 'ignore' });
  await answers(port, 90_000);
  const pid = findProcess('beam.smp', dir) ?? child.pid;
  const { stop } = running(child, port, () => pid);
  return {
    pid,
    port,
    stop: async () => {
      await stop();
      const daemon = findProcess('bin/epmd', '-daemon', root);
      if (daemon !== null) process.kill(daemon, 'SIGKILL');
    },
  };
}

/** Name to a function that starts the broker with `{cache, work, port}`; it may use the five ports from `port` on. */
export const PEERS = {
  mosquitto,
  'nats, not synced': (at) => nats(at, false),
  'nats, sync_interval always': (at) => nats(at, true),
  'rabbitmq, quorum queue': rabbitmq,
  'aedes in memory': (at) => aedes(at, false),
  'aedes on Level, one sleeper': (at) => aedes(at, true),
};
