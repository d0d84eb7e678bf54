import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { HEADWATER, TestBroker } from '../support/broker.ts';
import { run } from '../support/process.ts';
import { ResendingPublisher } from '../support/publisher.ts';
import { readTopic } from '../support/readback.ts';

describe('the broker process', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)(
    '%s under load: ends within 2 s, everything acknowledged is stored, the next start needs no cleaning',
    async (signal) => {
      const broker = await TestBroker.start({ brokerId: 'edge' });
      const readings = Array.from({ length: 200_000 }, (_, i) => ({ topic: 'load', payload: Buffer.from(`${i}`) }));
      let stopped: Promise<{ code: number | null; ms: number }> | null = null;
      const publisher = new ResendingPublisher({
        port: broker.ports.mqtt,
        clientId: 'load',
        readings,
        window: 1_000,
        onAcknowledged: (count) => {
          if (count === 5_000) stopped = broker.stop(signal);
        },
      });
      void publisher.run();
      while (stopped === null) await new Promise((resolve) => setTimeout(resolve, 5));
      const { code, ms } = await (stopped as Promise<{ code: number | null; ms: number }>);
      publisher.stop();
      expect(code).toBe(0);
      expect(ms).toBeLessThan(2_000);

      await broker.start();
      expect(broker.output).not.toMatch(/"level":(50|"error")|quarantine/);
      const stored = new Set((await readTopic(broker.bootstrap, 'mqtt')).map(({ value }) => value));
      const lost = readings.filter(({ payload }, i) => publisher.wasAcknowledged(i) && !stored.has(payload.toString()));
      expect(publisher.acknowledged).toBeGreaterThanOrEqual(5_000);
      expect(lost).toEqual([]);
      await broker.stop();
    },
  );

  it('stops within 2 s while idle clients of every kind are connected', async () => {
    const broker = await TestBroker.start();
    const { default: mqtt } = await import('mqtt');
    const client = await mqtt.connectAsync(broker.mqttUrl, { reconnectPeriod: 0 });
    client.on('error', () => {});
    const page = await broker.http('/metrics');
    await page.text();
    const { kafkaOf } = await import('../support/readback.ts');
    const consumer = kafkaOf(broker.bootstrap).consumer({ groupId: 'idle', maxWaitTimeInMs: 30_000 });
    await consumer.connect();
    await consumer.subscribe({ topic: 'mqtt' });
    await consumer.run({ eachMessage: async () => {} });
    const { code, ms } = await broker.stop();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(2_000);
    await client.endAsync(true);
    await consumer.disconnect();
  });

  it('SIGTERM during a start that waits for the other broker of its pair: ends within 2 s', async () => {
    const mute = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as AddressInfo;
    const pair = `{ type: standby, bootstrap.servers: "127.0.0.1:${port}", initial.role: leader }`;
    const child = new TestBroker({ config: `links: { pair: ${pair} }\n` }).spawn();
    child.endInput();
    await once(mute, 'connection');
    const since = performance.now();
    const { code, stdout, stderr } = await child.stop();
    expect(performance.now() - since).toBeLessThan(2_000);
    expect(code).toBe(0);
    expect(stderr).toContain('asked to stop during the start');
    expect(stdout).not.toContain('Listening');
    mute.close();
  });

  it('a data directory that cannot be made, or a users file with a damaged line: told at once', async () => {
    const listeners = ['mqtt', 'kafka', 'http'].flatMap((name) => [`--${name}`, '127.0.0.1:0']);
    const nowhere = await run(HEADWATER, ['serve', ...listeners, '--data', '/proc/headwater'], { timeoutMs: 15_000 });
    expect(nowhere.code).toBe(1);
    expect(nowhere.stderr).toContain('headwater serve: cannot create /proc/headwater: ');
    const broker = new TestBroker({ config: 'users.file: headwater.yaml\n' });
    const damaged = await run(HEADWATER, broker.args, { timeoutMs: 15_000 });
    // EX_CONFIG: the service manager does not try again.
    expect(damaged.code).toBe(78);
    expect(damaged.stderr).toMatch(/^headwater serve: .*headwater\.yaml:1: /m);
  });

  it('a second process on the same data directory is refused with a clear message, and the first goes on', async () => {
    const broker = await TestBroker.start();
    const args = [
      'serve',
      '--data',
      broker.data,
      '--mqtt',
      '127.0.0.1:0',
      '--kafka',
      '127.0.0.1:0',
      '--http',
      '127.0.0.1:0',
    ];
    const second = await run(HEADWATER, args, { timeoutMs: 15_000 });
    expect(second.code).not.toBe(0);
    const said = second.stdout + second.stderr;
    expect(said).toContain(broker.data);
    expect(said).toMatch(/another process|in use|locked/);
    expect(said).not.toMatch(/\n\s+at /);
    expect((await broker.http('/healthz')).status).toBe(200);
    await broker.stop();
  });

  it('a port that is taken is named, and nothing is left running', async () => {
    const broker = await TestBroker.start();
    const other = new TestBroker();
    const taken = `127.0.0.1:${broker.ports.mqtt}`;
    const args = ['serve', '--data', other.data, '--mqtt', taken, '--kafka', '127.0.0.1:0', '--http', '127.0.0.1:0'];
    const { code, stdout, stderr } = await run(HEADWATER, args, { timeoutMs: 15_000 });
    expect(code).not.toBe(0);
    expect(stdout + stderr).toContain(taken);
    expect(stdout + stderr).toMatch(/EADDRINUSE|in use|taken/);
    await broker.stop();
  });

  it('a wrong setting is named with its value and what is allowed, and nothing starts', async () => {
    const broker = new TestBroker({ config: 'num.partitions: many\nlog.retention.hour: 5\n' });
    const child = broker.spawn();
    child.endInput();
    const { code, stdout, stderr } = await child.finished;
    expect(code).not.toBe(0);
    const said = stdout + stderr;
    expect(said).toContain('num.partitions');
    expect(said).toContain('many');
    expect(said).toContain('log.retention.hour');
    expect(readdirSync(broker.data)).toEqual([]);
  });

  it('answers on /healthz, /readyz and /metrics', async () => {
    const broker = await TestBroker.start();
    for (const path of ['/healthz', '/readyz']) expect((await broker.http(path)).status).toBe(200);
    const metrics = await broker.http('/metrics');
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
    const samples = await broker.metrics();
    expect(samples.get('process_resident_memory_bytes')).toBeGreaterThan(20e6);
    expect(samples.get('process_open_fds')).toBeGreaterThan(5);
    expect(samples.get('headwater_log_queued_bytes')).toBe(0);
    expect((await broker.http('/no-such-page')).status).toBe(404);
    await broker.stop();
  });
});
