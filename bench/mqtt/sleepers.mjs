// node bench/mqtt/sleepers.mjs [--sessions 10000] [--records 1000000] [--wide 5] [--json]: persistent sessions that sleep while
// records for them are published; the broker is killed (-9) and started again; they come back in waves and read what they
// missed, half of them at QoS 1, half at QoS 2. Checks order and completeness; prints memory, times, and what was read of
// the log. --wide: as many sessions more whose wildcard filter wants a thousandth of the topic, measured alone.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '10000' },
    records: { type: 'string', default: '1000000' },
    payload: { type: 'string', default: '100' },
    wide: { type: 'string', default: '5' },
    wave: { type: 'string', default: '200' },
    json: { type: 'boolean', default: false },
  },
});
const SESSIONS = Number(values.sessions);
const RECORDS = Number(values.records);
const PAYLOAD = Number(values.payload);
const WIDE = Number(values.wide);
const WAVE = Number(values.wave);
/** Sites: a wildcard filter on one wants a thousandth (or, with few sessions, an equal share). */
const SITES = Math.min(1000, SESSIONS);
const PRIME = 7919;
const PUBLISHERS = 50;
const WINDOW = 20;

const say = (text) => values.json || console.log(text);
const work = mkdtempSync(join(tmpdir(), 'headwater-sleepers-'));
const data = join(work, 'data');
const config = join(work, 'headwater.yaml');
writeFileSync(
  config,
  `data.dir: ${data}\nlisteners: { mqtt: 127.0.0.1:0, kafka: 127.0.0.1:0, http: 127.0.0.1:0 }\nmqtt.max.connections: 2000\n`,
);

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const text = (value) => Buffer.concat([Buffer.from([value.length >> 8, value.length & 255]), Buffer.from(value)]);
function packet(first, ...parts) {
  const body = Buffer.concat(parts);
  const head = [first];
  for (let rest = body.length; ; ) {
    const byte = rest & 127;
    rest >>= 7;
    head.push(rest > 0 ? byte | 128 : byte);
    if (rest === 0) break;
  }
  return Buffer.concat([Buffer.from(head), body]);
}

const topicOf = (session) => `site/${session % SITES}/${session}/temp`;
/** The session that record n is for, and how many there are for it: every session's turn comes once per SESSIONS records. */
const sessionOf = (n) => (n * PRIME) % SESSIONS;

let broker = null;
async function start() {
  const child = spawn(join(import.meta.dirname, '../../bin/headwater'), ['serve', '--config', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const ports = await new Promise((resolve, reject) => {
    const onData = (chunk) => {
      output += chunk;
      const listening = /^Listening: (.+)$/m.exec(output)?.[1];
      const port = (name) => Number(new RegExp(`\\b${name} [^ ]*:(\\d+)`).exec(listening)?.[1]);
      if (listening !== undefined) resolve({ mqtt: port('mqtt'), http: port('http') });
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.on('exit', () => reject(new Error(`the broker ended: ${output}`)));
    setTimeout(() => reject(new Error(`no ports in: ${output}`)), 60_000).unref();
  });
  child.removeAllListeners('exit');
  broker = { child, ...ports };
}
const status = () => readFileSync(`/proc/${broker.child.pid}/status`, 'utf8');
const rss = () => Number(/VmRSS:\s+(\d+)/.exec(status())[1]) / 1024;
/** Processor time of the broker, seconds: what a busy machine changes least. */
function processorSeconds() {
  const fields = readFileSync(`/proc/${broker.child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
const peakRss = () => Number(/VmHWM:\s+(\d+)/.exec(status())[1]) / 1024;
async function metric(name) {
  const body = await (await fetch(`http://127.0.0.1:${broker.http}/metrics`)).text();
  let sum = 0;
  for (const line of body.split('\n'))
    if (new RegExp(`^${name}(\\{| )`).test(line)) sum += Number(line.split(' ').at(-1));
  return sum;
}

/** One connection: `onPacket(first byte, body)`. */
function open(clientId, clean, onPacket) {
  const socket = connect({ port: broker.mqtt, host: '127.0.0.1', noDelay: true });
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      let length = 0;
      let size = 1;
      for (let shift = 0; ; shift += 7, size++) {
        if (at + size >= bytes.length) {
          size = -1;
          break;
        }
        length |= (bytes[at + size] & 127) << shift;
        if (bytes[at + size] < 128) break;
      }
      if (size < 0 || at + 1 + size + length > bytes.length) break;
      onPacket(bytes[at], bytes.subarray(at + 1 + size, at + 1 + size + length), socket);
      at += 1 + size + length;
    }
    rest = bytes.subarray(at);
  });
  socket.on('error', () => undefined);
  socket.write(packet(0x10, text('MQTT'), Buffer.from([4, clean ? 2 : 0, 0, 0]), text(clientId)));
  return socket;
}

/** In waves: connects, does `each`, disconnects. */
async function inWaves(ids, each) {
  const wait = [...ids];
  const worker = async () => {
    for (let id = wait.shift(); id !== undefined; id = wait.shift()) await each(id);
  };
  await Promise.all(Array.from({ length: WAVE }, worker));
}

const filterOf = (id) => (id < SESSIONS ? topicOf(id) : `site/${id - SESSIONS}/#`);
const qosOf = (id) => 1 + (id % 2);

function subscribe(id) {
  return new Promise((resolve, reject) => {
    const socket = open(`sleeper-${id}`, false, (first, body) => {
      if (first === 0x20) socket.write(packet(0x82, Buffer.from([0, 1]), text(filterOf(id)), Buffer.from([qosOf(id)])));
      else if (first === 0x90) {
        if (body[2] !== qosOf(id)) reject(new Error(`SUBACK ${body[2]}`));
        socket.end(Buffer.from([0xe0, 0]));
      }
    });
    socket.on('close', resolve);
  });
}

async function publishAll() {
  let next = 0;
  let acknowledged = 0;
  await Promise.all(
    Array.from(
      { length: PUBLISHERS },
      (_, p) =>
        new Promise((resolve) => {
          // A device's records come through one connection: their order is the order of their numbers.
          const mine = { n: p, waiting: 0, id: 0 };
          const send = (socket) => {
            const parts = [];
            while (mine.waiting < WINDOW && mine.n < RECORDS) {
              mine.id = (mine.id % 65535) + 1;
              const body = Buffer.alloc(PAYLOAD, 0x2e);
              body.write(`${mine.n} `);
              parts.push(
                packet(0x32, text(topicOf(sessionOf(mine.n))), Buffer.from([mine.id >> 8, mine.id & 255]), body),
              );
              mine.waiting++;
              mine.n += PUBLISHERS;
              next++;
            }
            if (parts.length > 0) socket.write(Buffer.concat(parts));
            else if (mine.waiting === 0) socket.end(Buffer.from([0xe0, 0]));
          };
          const socket = open(`publisher-${p}`, true, (first, _body, it) => {
            if (first === 0x40) {
              mine.waiting--;
              acknowledged++;
            }
            if (mine.waiting <= WINDOW / 2) send(it);
          });
          socket.on('close', resolve);
        }),
    ),
  );
  if (acknowledged !== RECORDS) throw new Error(`${acknowledged} of ${next} publishes were acknowledged`);
}

const problems = [];
let repeated = 0;
function drain(id) {
  const expected = id < SESSIONS ? RECORDS / SESSIONS : RECORDS / SITES;
  return new Promise((resolve) => {
    let count = 0;
    /** The newest record of each device. */
    const last = new Map();
    const open2 = new Set();
    const done = (socket) => {
      if (count >= expected && open2.size === 0) socket.end(Buffer.from([0xe0, 0]));
    };
    const timer = setTimeout(() => {
      problems.push(`session ${id}: ${count} of ${expected} within 10 minutes`);
      socket.destroy();
    }, 600_000);
    const socket = open(`sleeper-${id}`, false, (first, body, it) => {
      const kind = first >> 4;
      if (kind === 3) {
        const qos = (first >> 1) & 3;
        const length = body.readUInt16BE(0);
        const topic = body.toString('latin1', 2, 2 + length);
        const packetId = body.subarray(2 + length, 4 + length);
        const n = Number.parseInt(body.toString('latin1', 4 + length, 20 + length), 10);
        const before = last.get(topic) ?? -1;
        if (n > before) {
          count++;
          if (topicOf(sessionOf(n)) !== topic) problems.push(`session ${id}: record ${n} as ${topic}`);
          last.set(topic, n);
        } else if (qos === 1) repeated++;
        else problems.push(`session ${id}: record ${n} after ${before} at QoS 2`);
        if (qos === 2) open2.add(packetId.readUInt16BE(0));
        it.write(Buffer.from([qos === 1 ? 0x40 : 0x50, 2, packetId[0], packetId[1]]));
        done(it);
      } else if (kind === 6) {
        open2.delete(body.readUInt16BE(0));
        it.write(Buffer.from([0x70, 2, body[0], body[1]]));
        done(it);
      }
    });
    socket.on('close', () => {
      clearTimeout(timer);
      if (count !== expected) problems.push(`session ${id}: ${count} of ${expected}`);
      resolve();
    });
  });
}

const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);
const seconds = (since) => (performance.now() - since) / 1000;
const result = {};
try {
  if (RECORDS % SESSIONS !== 0 || SESSIONS % SITES !== 0) throw new Error('records must be a multiple of sessions');
  await start();
  await pause(1000);
  result.rssEmpty = rss();
  let since = performance.now();
  await inWaves(range(0, SESSIONS + WIDE), subscribe);
  result.subscribeSeconds = seconds(since);
  await pause(1000);
  result.rssAsleep = rss();
  since = performance.now();
  await publishAll();
  result.publishSeconds = seconds(since);
  result.rssPublished = rss();
  const stored = await metric('headwater_log_live_bytes');
  result.storedBytes = stored;
  await new Promise((resolve) => {
    broker.child.on('exit', resolve);
    broker.child.kill('SIGKILL');
  });
  since = performance.now();
  await start();
  result.startSeconds = seconds(since);
  await pause(1000);
  result.rssRestarted = rss();
  result.sleeping = await metric('headwater_mqtt_sessions_sleeping');

  let before = await metric('headwater_log_read_bytes_total');
  since = performance.now();
  for (const id of range(SESSIONS, SESSIONS + WIDE)) await drain(id);
  result.wideSeconds = seconds(since);
  let read = (await metric('headwater_log_read_bytes_total')) - before;
  result.wideReadShare = WIDE === 0 ? 0 : read / WIDE / stored;

  before += read;
  const processorBefore = processorSeconds();
  since = performance.now();
  await inWaves(range(0, SESSIONS), drain);
  result.drainSeconds = seconds(since);
  result.drainProcessorSeconds = processorSeconds() - processorBefore;
  read = (await metric('headwater_log_read_bytes_total')) - before;
  result.sessionReadShare = read / SESSIONS / stored;
  result.readBytes = read;
  result.rssDrained = rss();
  result.rssPeak = peakRss();
  result.repeated = repeated;
  result.problems = problems;
} finally {
  if (broker !== null && broker.child.exitCode === null) {
    const gone = new Promise((resolve) => broker.child.once('exit', resolve));
    broker.child.kill('SIGTERM');
    const timer = setTimeout(() => broker.child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(timer);
  }
  rmSync(work, { recursive: true, force: true });
}
if (values.json) console.log(JSON.stringify(result));
else {
  const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
  say(`${SESSIONS + WIDE} sessions, ${RECORDS} records of ${PAYLOAD} bytes, ${mb(result.storedBytes)} stored`);
  say(
    `RSS MB: ${result.rssEmpty.toFixed(0)} empty, ${result.rssAsleep.toFixed(0)} sessions asleep, ${result.rssPublished.toFixed(0)} published, ${result.rssRestarted.toFixed(0)} after kill -9 and start, ${result.rssDrained.toFixed(0)} drained, peak ${result.rssPeak.toFixed(0)}`,
  );
  say(
    `seconds: ${result.subscribeSeconds.toFixed(1)} to subscribe, ${result.publishSeconds.toFixed(1)} to publish, ${result.startSeconds.toFixed(1)} to start again, ${result.drainSeconds.toFixed(1)} to drain (${Math.round(RECORDS / result.drainSeconds)} records/s; ${result.drainProcessorSeconds.toFixed(1)} of processor)`,
  );
  say(
    `read of the log: ${(result.wideReadShare * 100).toFixed(1)} % for a session that wants 1/${SITES} (${(result.wideSeconds / Math.max(1, WIDE)).toFixed(2)} s each), ${(result.sessionReadShare * 100).toFixed(2)} % for one that wants 1/${SESSIONS}`,
  );
  say(`repeated at QoS 1: ${repeated}; problems: ${problems.length}`);
  for (const problem of problems.slice(0, 20)) say(`  ${problem}`);
}
process.exit(problems.length > 0 ? 1 : 0);
