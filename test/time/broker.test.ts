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
const machine: Machine = { bootId: async () => boot, uptime: () => 1_000, synchronised: async () => null };

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
