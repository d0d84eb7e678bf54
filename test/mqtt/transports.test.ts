/** The `mqtt` package as an independent client: TCP, TLS with a client certificate, WebSocket. */
import { readFileSync } from 'node:fs';
import { connect as netConnect } from 'node:net';
import { join } from 'node:path';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import type { Credentials } from '../../src/mqtt/access.ts';
import type { MqttListenerOptions } from '../../src/mqtt/listener.ts';
import { startEdge, type TestEdge } from './harness.ts';

const file = (name: string) => readFileSync(join(import.meta.dirname, '../security/certificates', name));
const tls = {
  key: file('server.key'),
  cert: file('server.pem'),
  ca: file('ca.pem'),
  requestCert: true,
  rejectUnauthorized: false,
};

let edge: TestEdge | null = null;
const clients: MqttClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.end(true);
  await edge?.stop();
  edge = null;
});

async function client(url: string, options: IClientOptions): Promise<MqttClient> {
  const one = await mqtt.connectAsync(url, { reconnectPeriod: 0, rejectUnauthorized: false, ...options });
  clients.push(one);
  return one;
}

async function roundTrip(url: string, options: IClientOptions): Promise<void> {
  const one = await client(url, options);
  const got = new Promise<[string, string]>((resolve) =>
    one.on('message', (topic, body) => resolve([topic, String(body)])),
  );
  await one.subscribeAsync('a/#', { qos: 2 });
  const payload = 'x'.repeat(100_000);
  await one.publishAsync('a/b', payload, { qos: 2 });
  expect(await got).toEqual(['a/b', payload]);
}

const protocols: [NonNullable<MqttListenerOptions['protocol']>, string, string][] = [
  ['tcp', 'mqtt', ''],
  ['tls', 'mqtts', ''],
  ['ws', 'ws', '/mqtt'],
  ['wss', 'wss', '/mqtt'],
];

describe.each(protocols)('over %s', (protocol, scheme, path) => {
  it.each([4, 5] as const)('a client of level %i publishes and receives 100 kB at QoS 2', async (protocolVersion) => {
    edge = await startEdge({ listeners: [{ host: '127.0.0.1', port: 0, protocol, tls }] });
    await roundTrip(`${scheme}://127.0.0.1:${edge.port}${path}`, { protocolVersion });
  });
});

describe('TLS', () => {
  it('the subject of a verified client certificate is the identity; a stranger has none', async () => {
    const seen: Credentials[] = [];
    const authenticator = {
      authenticate: async (credentials: Credentials) => {
        seen.push(credentials);
        return { name: credentials.certificate ?? 'nobody' };
      },
      authorize: () => true,
    };
    const listeners = [{ host: '127.0.0.1', port: 0, protocol: 'tls' as const, tls }];
    edge = await startEdge({ listeners }, { authenticator });
    const url = `mqtts://127.0.0.1:${edge.port}`;
    await client(url, { key: file('client.key'), cert: file('client.pem') });
    await client(url, {});
    expect(seen.map((one) => one.certificate !== null)).toEqual([true, false]);
  });

  it('garbage instead of a handshake closes the connection and nothing else', async () => {
    edge = await startEdge({ listeners: [{ host: '127.0.0.1', port: 0, protocol: 'tls', tls }] });
    const { port } = edge;
    await new Promise<void>((resolve) => {
      const socket = netConnect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\n\r\n'));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve());
      socket.resume();
    });
    await roundTrip(`mqtts://127.0.0.1:${port}`, {});
  });

  it('certificates that cannot be used leave the old ones in place', async () => {
    edge = await startEdge({ listeners: [{ host: '127.0.0.1', port: 0, protocol: 'tls', tls }] });
    const { edge: running } = edge;
    expect(() => running.setCertificates({ key: 'none', cert: 'none' })).toThrow();
    await roundTrip(`mqtts://127.0.0.1:${edge.port}`, {});
  });
});

describe('WebSocket', () => {
  it.each([
    ['GET /other HTTP/1.1', 'mqtt', '404'],
    ['GET /mqtt HTTP/1.1', 'chat', '400'],
  ])('%s with the subprotocol %s is refused with %s', async (request, subprotocol, status) => {
    edge = await startEdge({ listeners: [{ host: '127.0.0.1', port: 0, protocol: 'ws' }] });
    const { port } = edge;
    const answer = await new Promise<string>((resolve) => {
      let text = '';
      const socket = netConnect(port, '127.0.0.1', () =>
        socket.write(
          `${request}\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
            `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: ${subprotocol}\r\n\r\n`,
        ),
      );
      socket.on('data', (chunk) => {
        text += String(chunk);
      });
      socket.on('close', () => resolve(text));
    });
    expect(answer).toContain(`HTTP/1.1 ${status}`);
  });
});
