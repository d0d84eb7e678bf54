/** Floods of CONNECT on the real process, both versions: nothing is left of them, and a client that is there is served. */
import { readFileSync } from 'node:fs';
import { connect as open, type Socket } from 'node:net';
import { connect } from 'mqtt';
import { expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { eventually } from '../support/wait.ts';

const WAVES = 15;
const WAVE = 100;

function connectBytes(version: 4 | 5, id: string, clean: boolean): Buffer {
  const tail = version === 5 ? [0] : [];
  const body = Buffer.concat([
    Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, version, clean ? 2 : 0, 0, 0, ...tail, 0, id.length]),
    Buffer.from(id),
  ]);
  return Buffer.concat([Buffer.from([0x10, body.length]), body]);
}

/** Every third is cut in the middle of its CONNECT, every third says it twice, every third goes without a word. */
async function flood(port: number, version: 4 | 5): Promise<void> {
  for (let wave = 0; wave < WAVES; wave++) {
    const sockets: Socket[] = [];
    await Promise.all(
      Array.from(
        { length: WAVE },
        (_, i) =>
          new Promise<void>((resolve) => {
            const socket = open(port, '127.0.0.1');
            sockets.push(socket);
            socket.on('error', () => undefined);
            socket.on('close', () => resolve());
            socket.on('connect', () => {
              const bytes = connectBytes(version, `flood-${i}`, true);
              if (i % 3 === 0) socket.end(bytes.subarray(0, 5 + (i % 10)));
              else if (i % 3 === 1) socket.write(Buffer.concat([bytes, bytes]));
              else socket.write(bytes, () => socket.destroy());
            });
            socket.resume();
          }),
      ),
    );
    for (const socket of sockets) socket.destroy();
  }
}

it('3,000 CONNECTs leave no connection, no session and no memory behind', async () => {
  const broker = await TestBroker.start({ brokerId: 'edge' });
  const witness = connect(broker.mqttUrl, { clientId: 'witness', reconnectPeriod: 0 });
  let beats = 0;
  witness.on('message', () => beats++);
  await witness.subscribeAsync('beat', { qos: 1 });
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${broker.pid}/status`, 'utf8'))![1]) / 1024;
  const gone = () =>
    eventually(
      'the flood to be gone',
      30_000,
      async () => (await broker.metrics()).get('headwater_mqtt_connections') === 1,
    );
  // The first floods make the heap what it is under load.
  for (const version of [4, 5] as const) await flood(broker.ports.mqtt, version);
  await gone();
  const before = rss();
  for (const version of [4, 5] as const) await flood(broker.ports.mqtt, version);
  await gone();
  expect(rss() - before).toBeLessThan(24);
  const metrics = await broker.metrics();
  expect(metrics.get('headwater_mqtt_sessions_sleeping')).toBe(0);
  await witness.publishAsync('beat', 'x', { qos: 1 });
  await eventually('the witness', 20_000, () => beats === 1);
  expect(witness.connected).toBe(true);
  expect(broker.output).not.toContain('a bug in');
  await witness.endAsync(true);
}, 120_000);
