/** Garbage, floods, half-open and slow peers: nothing crashes, nothing grows, nobody else is disturbed. */
import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Env, systemEnv } from '../../src/env.ts';
import type { Logger } from '../../src/logger.ts';
import { writePacket } from '../../src/wire/mqtt/write.ts';
import { packets } from '../wire/mqtt/arbitraries.ts';
import { opened, RawClient, SteppedClock, startEdge, type TestEdge } from './harness.ts';

const errors: string[] = [];
const logger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error(fields, message) {
    const { error } = fields as { error?: Error };
    errors.push(`${message}: ${error?.stack ?? JSON.stringify(fields)}`);
  },
};

let edge: TestEdge;
let witness: RawClient;
const clock = new SteppedClock();
const env: Env = { ...systemEnv, clock };
beforeAll(async () => {
  edge = await startEdge({ maxConnections: 200, maxPacketBytes: 10_000 }, { env, logger });
  witness = await opened(edge.port, 5, { clientId: 'witness' });
  await witness.subscribe('witness/#', 1);
});
afterAll(async () => edge.stop());

/** The witness publishes, is acknowledged and gets its own message: the broker is well. */
async function allIsWell(): Promise<void> {
  witness.publish('witness/beat', 'x', { qos: 1, messageId: 77 });
  for (let seen = 0; seen < 2; ) {
    const packet = await witness.next();
    if (packet.cmd === 'publish' && packet.topic !== 'witness/beat') continue;
    if (packet.cmd === 'publish') witness.send({ cmd: 'puback', messageId: packet.messageId });
    seen++;
  }
  expect(errors).toEqual([]);
}

function rawSocket(): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(edge.port, '127.0.0.1', () => resolve(socket));
    socket.on('error', () => undefined);
  });
}

const closed = (socket: Socket) =>
  new Promise<void>((resolve) => {
    if (socket.closed) resolve();
    else {
      socket.on('close', () => resolve());
      socket.resume();
    }
  });

async function connectionsLeft(count: number): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (edge.counterNow('headwater_mqtt_connections') <= count) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(edge.counterNow('headwater_mqtt_connections')).toBeLessThanOrEqual(count);
}

describe('hostile input', () => {
  it.each([4, 5] as const)('random bytes, before and after CONNECT (level %i)', async (version) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 4 }),
        fc.boolean(),
        async (chunks, connected) => {
          const client = connected ? await opened(edge.port, version) : new RawClient(edge.port, version);
          for (const chunk of chunks) client.socket.write(chunk);
          client.socket.end();
          await client.untilClosed();
        },
      ),
      { numRuns: 60 },
    );
    await allIsWell();
  });

  it.each([4, 5] as const)('mutated packets of every type on an open connection (level %i)', async (version) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(packets(version), { minLength: 1, maxLength: 8 }),
        fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { maxLength: 6 }),
        async (list, changes) => {
          const bytes = Buffer.concat(list.map((packet) => writePacket(packet, version)));
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          const client = await opened(edge.port, version);
          client.socket.end(bytes);
          client.socket.removeAllListeners('data');
          client.socket.resume();
          await closed(client.socket);
        },
      ),
      { numRuns: 80 },
    );
    await allIsWell();
  });

  it('an oversized packet is refused when its header is there', async () => {
    const client = await opened(edge.port, 5);
    client.raw('30ffffff7f');
    expect((await client.untilClosed())[0].reasonCode).toBe(0x95);
    await allIsWell();
  });

  it('a connection that never sends CONNECT is closed, and one that stops in the middle of a packet', async () => {
    const silent = await rawSocket();
    const half = await rawSocket();
    half.write(Buffer.from([0x10, 0x20, 0x00]));
    const slow = await opened(edge.port, 4);
    slow.raw('30 7f 0001');
    await witness.quiet();
    await connectionsLeft(10);
    clock.step(11_000);
    await Promise.all([closed(silent), closed(half)]);
    clock.step(61_000);
    await slow.untilClosed();
    await allIsWell();
  });

  it('a slow-loris inside a packet does not keep its connection by sending a byte now and then', async () => {
    const slow = await opened(edge.port, 4);
    slow.raw('30 7f 0001');
    await witness.quiet();
    for (let i = 0; i < 5 && !slow.closed; i++) {
      slow.raw('61');
      await new Promise((resolve) => setTimeout(resolve, 20));
      clock.step(20_000);
    }
    await slow.untilClosed();
    await allIsWell();
  });

  it('a flood of connections: the newest are refused at the limit, those that are there go on', async () => {
    const sockets: Socket[] = [];
    for (let i = 0; i < 260; i++) sockets.push(await rawSocket());
    await allIsWell();
    expect(edge.counterNow('headwater_mqtt_connections')).toBeLessThanOrEqual(200);
    expect(edge.counterNow('headwater_mqtt_refused_total')).toBeGreaterThan(50);
    for (const socket of sockets) socket.destroy();
    await connectionsLeft(1);
    await allIsWell();
  });

  it('a flood of CONNECTs with one client id leaves one session', async () => {
    const clients = Array.from({ length: 50 }, () => new RawClient(edge.port, 4));
    for (const client of clients) {
      client.send({
        cmd: 'connect',
        protocolId: 'MQTT',
        protocolVersion: 4,
        clean: true,
        clientId: 'flood',
        keepalive: 0,
      });
    }
    await connectionsLeft(2);
    for (const client of clients) client.end();
    await connectionsLeft(1);
    await allIsWell();
  });

  it('a subscriber that reads nothing grows nothing: it falls behind, others are served', async () => {
    const deaf = await opened(edge.port, 4, { clientId: 'deaf' });
    await deaf.subscribe('deaf/#', 0);
    deaf.socket.pause();
    const loud = await opened(edge.port, 4);
    const payload = Buffer.alloc(8_000, 0x61);
    for (let i = 1; i <= 2_000; i++) {
      loud.publish('deaf/x', payload, { qos: 1, messageId: i });
      if (i % 100 === 0) while (loud.received.length < i) await new Promise((resolve) => setImmediate(resolve));
    }
    await allIsWell();
    expect(edge.edge.clients().find((client) => client.clientId === 'deaf')?.behind).toBe(true);
    deaf.socket.resume();
    for (let i = 1; i <= 2_000; i++) await deaf.next('publish');
    await allIsWell();
    deaf.end();
    loud.end();
  });

  it('a publisher that does not read its acknowledgements is not read any more', async () => {
    const rude = await opened(edge.port, 5);
    rude.socket.pause();
    const before = edge.counterNow('headwater_mqtt_pauses_total');
    const ping = Buffer.from('c000'.repeat(200_000), 'hex');
    for (let i = 0; i < 40 && edge.counterNow('headwater_mqtt_pauses_total') === before; i++) {
      rude.socket.write(ping);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(edge.counterNow('headwater_mqtt_pauses_total')).toBeGreaterThan(before);
    await allIsWell();
    rude.end();
  });
});
