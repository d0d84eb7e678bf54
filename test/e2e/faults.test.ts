/** What goes wrong around a running broker: its clock, its certificate, somebody who guesses secrets. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import mqtt from 'mqtt';
import { expect, it } from 'vitest';
import { HEADWATER, TestBroker } from '../support/broker.ts';
import { leaveOut } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { converse, kafkaRequest, mqttPacket } from '../support/raw.ts';
import { tempDir } from '../support/scope.ts';
import { eventually, pause } from '../support/wait.ts';

const FAKETIME = ['x86_64', 'aarch64', 'arm']
  .map((arch) => `/usr/lib/${arch}-linux-gnu${arch === 'arm' ? 'eabihf' : ''}/faketime/libfaketime.so.1`)
  .find((path) => existsSync(path));
const rssOf = (pid: number) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

it.runIf(FAKETIME !== undefined || leaveOut('the clock steps', 'libfaketime is missing'))(
  'a clock at 1970 that steps by 56 years, and back by a day, loses nothing and stops nothing',
  async () => {
    const work = tempDir('clock');
    const time = join(work, 'time');
    const setClock = (offset: string) => {
      writeFileSync(`${time}.new`, `${offset}\n`);
      renameSync(`${time}.new`, time);
    };
    const since1970 = Math.floor(Date.now() / 1000) - 60;
    setClock(`-${since1970}`);
    const broker = await TestBroker.start({
      config: 'topics: { readings: { retention.ms: 1d } }\nroutes: [{ mqtt: "#", topic: readings }]\n',
      env: {
        LD_PRELOAD: FAKETIME!,
        FAKETIME_TIMESTAMP_FILE: time,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        DONT_FAKE_MONOTONIC: '1',
      },
    });
    const client = await mqtt.connectAsync(broker.mqttUrl, { protocolVersion: 5, keepalive: 5 });
    const published: string[] = [];
    const publish = async (prefix: string) => {
      for (let n = 0; n < 20; n++) {
        published.push(`${prefix} ${n}`);
        await client.publishAsync('plant/1', `${prefix} ${n}`, { qos: 1 });
      }
    };
    const stored = async () => {
      const args = ['consume', 'readings', '--from-beginning', '--exit-at-end', '--bootstrap', broker.bootstrap];
      return (await mustRun(HEADWATER, args)).split('\n').filter((line) => line !== '');
    };
    let disconnects = 0;
    client.on('close', () => disconnects++);
    await publish('at 1970');
    // Before the clock is believed nothing is deleted for its age; after the step, what was written before it is young.
    setClock('+0');
    await publish('after the step');
    await eventually('the step is seen', 30_000, async () =>
      (await broker.metric('headwater_time_steps_total')) >= 1 ? true : undefined,
    );
    // Longer than retention's own interval.
    await pause(12_000);
    expect(await stored()).toEqual(published);
    setClock('-86400');
    await publish('a day back');
    await eventually('the step back is seen', 30_000, async () =>
      (await broker.metric('headwater_time_steps_total')) >= 2 ? true : undefined,
    );
    await publish('and on');
    expect(await stored()).toEqual(published);
    expect(disconnects).toBe(0);
    await client.endAsync();
    await broker.kill();
    await broker.start();
    expect(await stored()).toEqual(published);
    expect(await broker.metric('headwater_loss_ledger_offsets_total')).toBe(0);
    expect((await broker.stop()).code).toBe(0);
  },
);

it('a certificate that is replaced under load: connections go on, new ones see the new one; a bad one changes nothing', async () => {
  const work = tempDir('certificate');
  const make = (name: string, subject: string) =>
    execFileSync(
      'openssl',
      // biome-ignore format: pairs
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30',
        '-subj', `/CN=${subject}`, '-keyout', join(work, `${name}.key`), '-out', join(work, `${name}.crt`)],
      { stdio: 'pipe' },
    );
  make('first', 'first');
  make('second', 'second');
  const use = (name: string) => {
    for (const kind of ['key', 'crt']) copyFileSync(join(work, `${name}.${kind}`), join(work, `used.${kind}`));
  };
  use('first');
  const broker = await TestBroker.start({
    config: `ssl.certificate.file: ${work}/used.crt\nssl.key.file: ${work}/used.key\nlisteners: { mqtts: "127.0.0.1:0", kafkas: "127.0.0.1:0", https: "127.0.0.1:0" }\n`,
  });
  const ports = ['mqtts', 'kafkas', 'https'].map((name) =>
    Number(new RegExp(`\\b${name} [^ ,]+:(\\d+)`).exec(broker.output)![1]),
  );
  const seen = () =>
    Promise.all(
      ports.map(
        (port) =>
          new Promise<string>((resolve, reject) => {
            const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
              resolve(String(socket.getPeerCertificate().subject.CN));
              socket.destroy();
            });
            socket.on('error', reject);
          }),
      ),
    );
  expect(await seen()).toEqual(['first', 'first', 'first']);
  const clients = await Promise.all(
    Array.from({ length: 5 }, () =>
      mqtt.connectAsync(`mqtts://127.0.0.1:${ports[0]}`, { rejectUnauthorized: false, reconnectPeriod: 0 }),
    ),
  );
  let published = 0;
  let closed = 0;
  let running = true;
  const load = clients.map(async (client, i) => {
    client.on('close', () => closed++);
    while (running) {
      await client.publishAsync(`plant/${i}`, 'x'.repeat(100), { qos: 1 });
      published++;
    }
  });
  const more = async () => {
    const before = published;
    await eventually('publishing goes on', 30_000, () => (published > before + 100 ? true : undefined));
  };
  await more();
  use('second');
  process.kill(broker.pid, 'SIGHUP');
  await eventually('the new certificate', 30_000, async () =>
    (await seen()).every((name) => name === 'second') ? true : undefined,
  );
  await more();
  // The key of another: refused, and the one in use stays.
  copyFileSync(join(work, 'first.key'), join(work, 'used.key'));
  process.kill(broker.pid, 'SIGHUP');
  await eventually('the refusal', 30_000, () => (/is not the key of/.test(broker.output) ? true : undefined));
  expect(await seen()).toEqual(['second', 'second', 'second']);
  await more();
  expect(closed).toBe(0);
  running = false;
  await Promise.all(load);
  await Promise.all(clients.map((client) => client.endAsync()));
  expect((await broker.stop()).code).toBe(0);
});

it('a thousand wrong secrets by MQTT, Kafka and HTTP: looked at ever more slowly, nothing grows, others log in', async () => {
  const work = tempDir('logins');
  const users = join(work, 'users');
  for (const user of ['victim', 'device'])
    await mustRun(HEADWATER, ['users', 'add', user, '--file', users], { input: `right ${user}\n` });
  const broker = await TestBroker.start({ config: `users.file: ${users}\n` });
  const text = (value: string) => Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)]);
  const overMqtt = async (n: number) => {
    const connect = [text('MQTT'), Buffer.from([4, 0xc2, 0, 60]), text(`c${n}`), text('victim'), text(`wrong ${n}`)];
    const { received } = await converse(broker.ports.mqtt, mqttPacket(1, 0, Buffer.concat(connect)), {
      timeoutMs: 20_000,
      enough: (bytes) => bytes.length >= 4,
    });
    // CONNACK with a code that is no success.
    expect(received[0] === 0x20 && received[3] === 0).toBe(false);
  };
  const overKafka = async (n: number) => {
    const secret = Buffer.from(`\0victim\0wrong ${n}`);
    const length = Buffer.alloc(4);
    length.writeInt32BE(secret.length);
    const requests = [kafkaRequest(17, 1, text('PLAIN')), kafkaRequest(36, 1, Buffer.concat([length, secret]), 8)];
    const { received } = await converse(broker.ports.kafka, Buffer.concat(requests), {
      timeoutMs: 20_000,
      enough: (bytes) => bytes.length > 8 && bytes.length > 4 + bytes.readInt32BE(0) + 10,
    });
    const second = received.subarray(4 + received.readInt32BE(0));
    // SASL_AUTHENTICATION_FAILED, or no answer at all.
    if (second.length >= 10) expect(second.readInt16BE(8)).not.toBe(0);
  };
  const overHttp = async (n: number) => {
    const authorization = `Basic ${Buffer.from(`victim:wrong ${n}`).toString('base64')}`;
    const { status } = await fetch(`http://127.0.0.1:${broker.ports.http}/api/v1/topics`, {
      headers: { authorization, connection: 'close' },
    });
    expect([401, 429]).toContain(status);
  };
  const flood = async (attempt: (n: number) => Promise<void>, count: number, atOnce = 32) => {
    let next = 0;
    await Promise.all(
      Array.from({ length: atOnce }, async () => {
        while (next < count) await attempt(next++);
      }),
    );
  };
  await flood(overMqtt, 50);
  const before = rssOf(broker.pid);
  await flood(overMqtt, 350);
  await flood(overKafka, 300);
  await flood(overHttp, 300, 8);
  // Most were refused unseen: hashing a thousand secrets would itself be an attack.
  const lookedAt = await eventually('metrics', 10_000, async () => {
    const answer = await fetch(`http://127.0.0.1:${broker.ports.http}/metrics`, {
      headers: { authorization: `Basic ${Buffer.from('device:right device').toString('base64')}` },
    });
    const found = (await answer.text()).match(/^headwater_login_failures_total\{.*\} \d+$/gm);
    return found === null ? undefined : found.reduce((sum, line) => sum + Number(line.split(' ').pop()), 0);
  }).catch(() => null);
  if (lookedAt !== null) expect(lookedAt).toBeLessThan(500);
  expect(rssOf(broker.pid) - before).toBeLessThan(24 * 1024 * 1024);
  // Somebody else, from elsewhere, with the right secret.
  const connect = [text('MQTT'), Buffer.from([4, 0xc2, 0, 60]), text('other'), text('device'), text('right device')];
  const answer = await new Promise<Buffer>((resolve, reject) => {
    const socket = connectTcp({ host: '127.0.0.1', port: broker.ports.mqtt, localAddress: '127.0.0.2' });
    socket.on('connect', () => socket.write(mqttPacket(1, 0, Buffer.concat(connect))));
    socket.on('data', (bytes) => {
      resolve(bytes);
      socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed without an answer')));
  });
  expect([...answer.subarray(0, 4)]).toEqual([0x20, 2, 0, 0]);
  expect((await broker.stop()).code).toBe(0);
});
