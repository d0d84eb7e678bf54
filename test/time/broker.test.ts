/** The real broker on a real disk, with a wall clock that is stepped from outside. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Broker } from '../../src/broker.ts';
import { defaultConfig } from '../../src/config/load.ts';
import { systemEnv } from '../../src/env.ts';
import { silentLogger } from '../../src/logger.ts';
import type { Machine } from '../../src/time/machine.ts';

const DAY = 86_400_000;
const TODAY = Date.UTC(2027, 4, 1);
let directory = '';
let broker: Broker;
let wall = 0;
let boot = '';
let up = 1_000;
const machine: Machine = { bootId: async () => boot, uptime: () => up, synchronised: async () => null };

async function start(flags: Record<string, string> = {}): Promise<void> {
  const anywhere = '127.0.0.1:0';
  const listeners = { 'listeners.mqtt': anywhere, 'listeners.kafka': anywhere, 'listeners.http': anywhere };
  const config = await defaultConfig({ 'data.dir': join(directory, 'data'), ...listeners, ...flags });
  // It stands still unless it is stepped.
  const env = { ...systemEnv, clock: { ...systemEnv.clock, now: () => wall } };
  broker = new Broker(config, { env, logger: silentLogger, version: '0', loadConfig: async () => config, machine });
  await broker.start();
}

/** What the gauge says to Prometheus. */
async function trusted(): Promise<string | undefined> {
  const { http } = broker.addresses();
  const page = await (await fetch(`http://${http!.host}:${http!.port}/metrics`)).text();
  return /^headwater_time_trusted (\d)$/m.exec(page)?.[1];
}

beforeEach(async () => {
  up = 1_000;
  directory = await mkdtemp(join(tmpdir(), 'headwater-time-'));
});

afterEach(async () => {
  await broker.stop();
  await rm(directory, { recursive: true, force: true });
});

it('boots in 1970, is stepped by 57 years, back by a day, and holds the next boot to what it believed', async () => {
  [boot, wall] = ['first', 15_000];
  await start();
  expect(await trusted()).toBe('0');
  wall = TODAY;
  expect(await trusted()).toBe('1');
  wall = TODAY - DAY;
  expect(await trusted()).toBe('0');
  wall = TODAY + 5;
  expect(await trusted()).toBe('1');
  await broker.stop();

  [boot, wall] = ['second', TODAY - DAY];
  await start();
  expect(await trusted()).toBe('0');
  wall = TODAY + DAY;
  expect(await trusted()).toBe('1');
});

it('with time.source=system believes 1970', async () => {
  wall = 15_000;
  await start({ 'time.source': 'system' });
  expect(await trusted()).toBe('1');
});

it('delivers what was retained in 1970 with an expiry, and lets expire what was retained since', async () => {
  [boot, wall] = ['first', 15_000];
  await start();
  const { mqtt } = broker.addresses();
  const client = await connectAsync(`mqtt://${mqtt!.host}:${mqtt!.port}`, { protocolVersion: 5, reconnectPeriod: 0 });
  const expiring = { qos: 1, retain: true, properties: { messageExpiryInterval: 60 } } as const;
  await client.publishAsync('t/1970', 'kept', expiring);
  wall = TODAY;
  await client.publishAsync('t/today', 'expires', expiring);
  wall = TODAY + 61_000;
  await client.publishAsync('t/last', 'stays', { qos: 1, retain: true });
  const found = new Map<string, number | undefined>();
  const both = new Promise<void>((resolve) => {
    client.on('message', (topic, _, packet) => {
      found.set(topic, packet.properties?.messageExpiryInterval);
      if (found.has('t/1970') && found.has('t/last')) resolve();
    });
  });
  await client.subscribeAsync('t/#', { qos: 1 });
  await both;
  // One that expired would have come with those.
  await client.endAsync();
  expect([...found]).toEqual([
    ['t/1970', 60],
    ['t/last', undefined],
  ]);
});

const HOUR = 3_600_000;

/** Three boots in 1970, each of an hour of records; in the last one the network comes and with it the time. */
async function threeBoots(): Promise<void> {
  for (const name of ['first', 'second', 'third']) {
    [boot, wall, up] = [name, 15_000, 15_000];
    await start();
    for (const minute of [0, 30, 60]) {
      wall = up = 15_000 + minute * 60_000;
      await publish(`${name} ${minute}`);
    }
    if (name !== 'third') await broker.stop();
  }
}

async function publish(text: string): Promise<void> {
  const { mqtt } = broker.addresses();
  const client = await connectAsync(`mqtt://${mqtt!.host}:${mqtt!.port}`, { reconnectPeriod: 0 });
  await client.publishAsync('sensor', text, { qos: 1 });
  await client.endAsync();
}

type Message = { offset: number; timestamp: number; value: string };

async function messages(from: string): Promise<Message[]> {
  const { http } = broker.addresses();
  const path = `/api/v1/topics/mqtt/messages?partition=0&limit=100&${from}`;
  const answer = await fetch(`http://${http!.host}:${http!.port}${path}`);
  return (await answer.json()) as Message[];
}

const values = (found: readonly Message[]) => found.map(({ value, timestamp }) => [value, timestamp]);

it('records of boots that did not know the time get it when it comes: exact in this boot, in order before', async () => {
  await threeBoots();
  const before = await messages('offset=0');
  expect(before.map(({ timestamp }) => timestamp).every((timestamp) => timestamp < DAY)).toBe(true);
  // Two hours after the boot, the clock is set.
  [wall, up] = [TODAY, 2 * HOUR];
  expect(await trusted()).toBe('1');
  await expect.poll(async () => (await messages('offset=0'))[0]!.timestamp, { timeout: 20_000 }).toBeGreaterThan(DAY);
  await publish('after');
  const bootedAt = TODAY - 2 * HOUR;
  // The last record of a boot is taken for as old as the next boot.
  const [second, first] = [bootedAt - HOUR, bootedAt - 2 * HOUR - 15_000];
  const expected = [
    ...[0, 30, 60].map((minute) => [`first ${minute}`, first + minute * 60_000]),
    ...[0, 30, 60].map((minute) => [`second ${minute}`, second + minute * 60_000]),
    ...[0, 30, 60].map((minute) => [`third ${minute}`, bootedAt + 15_000 + minute * 60_000]),
    ['after', TODAY],
  ];
  expect(values(await messages('offset=0'))).toEqual(expected);
  // By time: the first record at or after it.
  expect(values(await messages(`timestamp=${bootedAt + HOUR}`))).toEqual(expected.slice(8));
  expect(values(await messages(`timestamp=${first + 1}`))).toEqual(expected.slice(1));
  // It stays so, whatever boots come: also one that begins in 1970 again.
  await broker.stop();
  [boot, wall, up] = ['fourth', 15_000, 15_000];
  await start();
  await publish('fourth');
  expect(values(await messages('offset=0'))).toEqual([...expected, ['fourth', 15_000]]);
});
