// Load on an MQTT broker, raw sockets: node load.mjs '{"port":..,"mode":"publish|idle","connections":..,"window":..,
// "payload":..,"topics":..,"seconds":..,"rate":..}'. Prints one line of JSON.
import { connect } from 'node:net';

const options = JSON.parse(process.argv[2]);
const { port, mode = 'publish', connections, window = 20, payload = 256, topics = 50, seconds = 5, rate = 0 } = options;

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
const connectPacket = (id) => packet(0x10, text('MQTT'), Buffer.from([4, 2, 0, 0]), text(id));

const latencies = new Float64Array(4_000_000);
let acknowledged = 0;
let counting = false;
let closed = 0;

function open(i) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.on('error', reject);
    socket.on('close', () => closed++);
    socket.write(connectPacket(`load-${process.pid}-${i}`));
    socket.once('data', () => resolve(socket));
  });
}

const sockets = [];
for (let i = 0; i < connections; i++) {
  const opened = open(i);
  if (i % 50 === 49 || i === connections - 1) sockets.push(await opened);
  else sockets.push(opened);
}
const all = await Promise.all(sockets);

function publisher(socket, i) {
  const template = packet(0x32, text(`bench/${i % topics}/value`), Buffer.from([0, 0]), Buffer.alloc(payload, 0x61));
  const idAt = template.length - payload - 2;
  const sentAt = new Float64Array(65536);
  let id = 0;
  const next = () => {
    id = id === 65535 ? 1 : id + 1;
    const one = Buffer.from(template);
    one[idAt] = id >> 8;
    one[idAt + 1] = id & 255;
    sentAt[id] = performance.now();
    return one;
  };
  let rest = Buffer.alloc(0);
  let waiting = 0;
  let due = 0;
  socket.on('data', (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const whole = bytes.length - (bytes.length % 4);
    const now = performance.now();
    let count = 0;
    for (let at = 0; at < whole; at += 4) {
      if (bytes[at] !== 0x40) throw new Error(`unexpected packet ${bytes[at]}`);
      if (counting) latencies[acknowledged++ % latencies.length] = now - sentAt[(bytes[at + 2] << 8) | bytes[at + 3]];
      count++;
    }
    rest = bytes.subarray(whole);
    waiting -= count;
    if (rate === 0) send(count);
  });
  function send(count) {
    if (count === 0) return;
    const parts = [];
    for (let n = 0; n < count; n++) parts.push(next());
    waiting += count;
    socket.write(parts.length === 1 ? parts[0] : Buffer.concat(parts));
  }
  if (rate === 0) send(window);
  return () => {
    due++;
    if (waiting < window) {
      send(due);
      due = 0;
    }
  };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
if (mode === 'publish') {
  const ticks = all.map(publisher);
  if (rate > 0) {
    let at = 0;
    const perTick = rate / 100;
    setInterval(() => {
      for (let n = 0; n < perTick; n++) ticks[at++ % ticks.length]();
    }, 10);
  }
  await pause(1500);
  counting = true;
}
const began = performance.now();
await pause(seconds * 1000);
const took = (performance.now() - began) / 1000;
counting = false;
const sorted = latencies.subarray(0, Math.min(acknowledged, latencies.length)).sort();
const percentile = (p) => Number((sorted[Math.floor(sorted.length * p)] ?? 0).toFixed(2));
console.log(
  JSON.stringify({
    perSecond: Math.round(acknowledged / took),
    p50: percentile(0.5),
    p99: percentile(0.99),
    max: percentile(0.999999),
    closed,
  }),
);
process.exit(0);
