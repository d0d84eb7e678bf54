// What a day of telemetry costs the card, by setting: the real broker, 50 devices over MQTT QoS 1, about 49 KB/s of JSON,
// the bytes that the block device below the data directory has written meanwhile (the journal of the file system included).
//   node bench/log/card.mjs --mb 0 --iops 0 -- node bench/log/wear.mjs [--seconds 60]
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import mqtt from 'mqtt';

const { values: args } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });
const seconds = Number(args.seconds);
const HEADWATER = fileURLToPath(new URL('../../bin/headwater', import.meta.url));
const DEVICES = 50;
const EVERY_MS = 100;
const WARM_UP_MS = 10_000;

const CASES = [
  ['as it comes', ''],
  ['flush.ms: 100', 'flush.ms: 100'],
  ['flush.ms: 1000', 'flush.ms: 1000'],
  ['flush.wear.bytes.per.day: 12GiB', 'flush.wear.bytes.per.day: 12GiB'],
  ['compression.type: gzip', 'topics: { mqtt: { compression.type: gzip } }'],
  ['compression.type: gzip, flush.ms: 1000', 'flush.ms: 1000\ntopics: { mqtt: { compression.type: gzip } }'],
];

const { dev } = statSync(tmpdir());
const stat = `/sys/dev/block/${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}/stat`;
function deviceBytes() {
  spawnSync('sync', ['-f', tmpdir()]);
  return Number(readFileSync(stat, 'utf8').trim().split(/\s+/)[6]) * 512;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function reading(device, n) {
  const value = (20 + 5 * Math.sin(n / 50 + device) + Math.random()).toFixed(2);
  return `{"sensor":"plant-7/line-${device}","time":${Date.now()},"temperature":${value},"unit":"C","ok":true}`;
}

async function measure(title, settings) {
  const directory = mkdtempSync(join(tmpdir(), 'wear-'));
  const config = join(directory, 'config.yaml');
  writeFileSync(
    config,
    `data.dir: ${join(directory, 'data')}\nlisteners: { mqtt: 127.0.0.1:0, kafka: 127.0.0.1:0, http: off }\n${settings}\n`,
  );
  const broker = spawn(HEADWATER, ['serve', '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    let output = '';
    const port = await new Promise((resolve, reject) => {
      const look = (text) => {
        output += text;
        const found = /"?mqtt"?[^\n]*?127\.0\.0\.1:(\d+)/.exec(output);
        if (found !== null) resolve(Number(found[1]));
      };
      broker.stdout.on('data', look);
      broker.stderr.on('data', look);
      broker.on('exit', (code) => reject(new Error(`the broker ended with ${code}: ${output}`)));
    });
    const devices = await Promise.all(
      Array.from({ length: DEVICES }, (_, i) => mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { clientId: `d${i}` })),
    );
    const totals = { messages: 0, payload: 0, waited: 0 };
    const timers = devices.map((client, device) => {
      let n = 0;
      return setInterval(
        () => {
          const payload = reading(device, n++);
          const began = performance.now();
          client.publish(`plant/7/${device}`, payload, { qos: 1 }, () => {
            totals.messages++;
            totals.payload += payload.length;
            totals.waited += performance.now() - began;
          });
        },
        EVERY_MS + device * 0.1,
      );
    });
    await pause(WARM_UP_MS);
    const before = { ...totals, device: deviceBytes(), at: performance.now() };
    await pause(seconds * 1_000);
    const device = deviceBytes() - before.device;
    const took = (performance.now() - before.at) / 1_000;
    const payload = totals.payload - before.payload;
    for (const timer of timers) clearInterval(timer);
    console.log(
      JSON.stringify({
        case: title,
        'payload KB/s': +(payload / took / 1e3).toFixed(1),
        'GB a day': +((device / took / 1e9) * 86_400).toFixed(1),
        'bytes for each of payload': +(device / payload).toFixed(1),
        'mean wait ms': +((totals.waited - before.waited) / (totals.messages - before.messages)).toFixed(0),
      }),
    );
    await Promise.all(devices.map((client) => client.endAsync(true)));
  } finally {
    broker.removeAllListeners('exit');
    const ended = new Promise((resolve) => broker.on('exit', resolve));
    broker.kill('SIGTERM');
    await ended;
    rmSync(directory, { recursive: true });
  }
}

for (const [title, settings] of CASES) await measure(title, settings);
