import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createSecureContext, TLSSocket, connect as tlsConnect } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { describeAclsHandler } from '../../src/kafka/handle/29-describe-acls.ts';
import { HandlerTable } from '../../src/kafka/handler.ts';
import { fetch } from '../../src/wire/kafka/api/01-fetch.ts';
import { metadata } from '../../src/wire/kafka/api/03-metadata.ts';
import { apiVersions } from '../../src/wire/kafka/api/18-api-versions.ts';
import { fetching } from './requests.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

let started: StartedEdge | null = null;

afterEach(async () => {
  await started?.edge.stop();
  started = null;
});

test('an API key with two handlers fails at start', () => {
  expect(() => new HandlerTable([describeAclsHandler, describeAclsHandler])).toThrow(/API key 29 has two handlers/);
});

test('a port in use fails the start and leaves nothing bound', async () => {
  const taken = createServer();
  taken.listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  const listener = (name: string, at: number) => ({
    name,
    host: '127.0.0.1',
    port: at,
    advertised: null,
    secure: null,
  });
  await expect(startEdge({ listeners: [listener('A', 0), listener('B', port)] })).rejects.toThrow(/EADDRINUSE/);
  taken.close();
});

test('each listener tells its clients the address that is advertised for it', async () => {
  started = await startEdge({
    listeners: [
      { name: 'NAT', host: '127.0.0.1', port: 0, advertised: { host: 'edge.example', port: 9999 }, secure: null },
    ],
  });
  const client = await RawClient.connect(started.port);
  const { brokers } = await client.request(metadata, 1, { topics: [] });
  expect(brokers).toEqual([{ nodeId: 1, host: 'edge.example', port: 9999, rack: null }]);
  client.close();
});

test('TLS: the same requests through a wrapped socket', async () => {
  const pem = (name: string) => readFileSync(new URL(`../security/certificates/${name}`, import.meta.url));
  const [key, cert, ca] = [pem('server.key'), pem('server.pem'), pem('ca.pem')];
  const secureContext = createSecureContext({ key, cert });
  started = await startEdge({
    listeners: [
      {
        name: 'SSL',
        host: '127.0.0.1',
        port: 0,
        advertised: null,
        secure: (socket) => new TLSSocket(socket, { isServer: true, secureContext }),
      },
    ],
  });
  const socket = tlsConnect({ port: started.port, host: '127.0.0.1', ca, checkServerIdentity: () => undefined });
  await once(socket, 'secureConnect');
  const client = new RawClient(socket);
  const { brokers } = await client.request(metadata, 1, { topics: [] });
  expect(brokers).toEqual([{ nodeId: 1, host: '127.0.0.1', port: started.port, rack: null }]);
  // Plain text on the same port hurts nobody.
  const plain = await RawClient.connect(started.port);
  plain.socket.write('GET / HTTP/1.1\r\n\r\n');
  await plain.whenClosed();
  expect((await client.request(apiVersions, 0, {})).errorCode).toBe(0);
  client.close();
});

describe('idle connections', () => {
  async function withClock(): Promise<{ advance(ms: number): void }> {
    let now = 0;
    const repeated: (() => void)[] = [];
    const clock = {
      ...systemEnv.clock,
      monotonic: () => now,
      every: (_ms: number, task: () => void) => {
        repeated.push(task);
        return { cancel() {} };
      },
    };
    started = await startEdge({ maxIdleMs: 600_000 }, { env: { ...systemEnv, clock } });
    return {
      advance(ms) {
        now += ms;
        for (const task of repeated) task();
      },
    };
  }

  test('are closed after connections.max.idle.ms, those that wait for a long poll are not', async () => {
    const clock = await withClock();
    await started!.log.createTopic({ name: 't', partitions: 1, config: new Map() });
    const idle = await RawClient.connect(started!.port);
    const polling = await RawClient.connect(started!.port);
    await idle.request(apiVersions, 0, {});
    polling.send(fetch, 11, fetching(0, 60_000));
    await expect.poll(() => started!.log.topic('t')!.partitions[0]!.waiters.size).toBe(1);
    clock.advance(599_999);
    expect((await idle.request(apiVersions, 0, {})).errorCode).toBe(0);
    clock.advance(600_001);
    await idle.whenClosed();
    expect(polling.closed).toBe(false);
    expect(started!.metric('headwater_kafka_closed_connections_total', 'idle')).toBe(1);
    polling.close();
  });
});
