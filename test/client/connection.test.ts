import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Connection, type ConnectionOptions } from '../../src/client/connection.ts';
import { FrameReader } from '../../src/client/frames.ts';
import { systemEnv } from '../../src/env.ts';
import { metadata } from '../../src/wire/kafka/api/03-metadata.ts';
import { apiVersions } from '../../src/wire/kafka/api/18-api-versions.ts';
import { encodeResponse, readRequestHeader } from '../../src/wire/kafka/message.ts';

type Serve = (
  socket: Socket,
  header: { apiKey: number; apiVersion: number; correlationId: number },
  bytes: number,
) => void;

let server: Server;
let port: number;
let serve: Serve;
const sockets = new Set<Socket>();

const versions =
  (max: number): Serve =>
  (socket, { apiVersion, correlationId }) => {
    const apiKeys = [
      { apiKey: 18, minVersion: 0, maxVersion: 4 },
      { apiKey: 3, minVersion: 0, maxVersion: max },
    ];
    socket.write(Buffer.concat(encodeResponse(apiVersions, apiVersion, correlationId, { errorCode: 0, apiKeys })));
  };

beforeEach(async () => {
  server = createServer((socket) => {
    sockets.add(socket);
    const frames = new FrameReader(1_000_000);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) =>
      frames.push(chunk, (frame) => {
        const header = readRequestHeader(frame);
        if (header.apiKey === 18) versions(5)(socket, header, 0);
        else serve(socket, header, frame.length);
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as { port: number }).port;
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
});

const open = (options: Partial<ConnectionOptions> = {}) =>
  Connection.open(systemEnv, {
    host: '127.0.0.1',
    port,
    clientId: 'c',
    requestTimeoutMs: 200,
    connectTimeoutMs: 2_000,
    maxInFlightBytes: 1_000_000,
    maxResponseBytes: 10_000,
    ...options,
  });

const answer = (socket: Socket, { apiVersion, correlationId }: { apiVersion: number; correlationId: number }) =>
  socket.write(
    Buffer.concat(
      encodeResponse(metadata, apiVersion, correlationId, { brokers: [], controllerId: correlationId, topics: [] }),
    ),
  );

describe('a connection', () => {
  it('speaks the lower of both newest versions and answers in order with several on their way', async () => {
    const held: (() => void)[] = [];
    const seen: number[] = [];
    serve = (socket, header) => {
      seen.push(header.apiVersion);
      held.push(() => answer(socket, header));
      if (held.length === 3) for (const release of held) release();
    };
    const connection = await open();
    const answers = await Promise.all([1, 2, 3].map(() => connection.send(metadata, { topics: [] })));
    expect(seen).toEqual([5, 5, 5]);
    const ids = answers.map(({ controllerId }) => controllerId);
    expect(ids).toEqual([...ids].sort((a, b) => a - b));
    connection.close();
  });

  it('refuses what the server does not serve, by name and range', async () => {
    const connection = await open();
    expect(() => connection.versionOf(metadata, -1)).toThrow('it serves 0 to 5');
    connection.close();
  });

  it('that gets no answer in time is closed, and everything on it fails', async () => {
    serve = () => {};
    const connection = await open();
    const both = [connection.send(metadata, { topics: [] }), connection.send(metadata, { topics: [] })];
    for (const one of both) await expect(one).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(connection.closed).toBe(true);
    await expect(connection.send(metadata, { topics: [] })).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
  });

  it('keeps no more bytes on their way than it may; the rest waits and goes out in order', async () => {
    const held: (() => void)[] = [];
    let bytes = 0;
    serve = (socket, header, size) => {
      bytes += size;
      held.push(() => answer(socket, header));
    };
    const connection = await open({ maxInFlightBytes: 300, requestTimeoutMs: 5_000 });
    const names = [{ name: 'x'.repeat(100) }];
    const sent = Array.from({ length: 6 }, () => connection.send(metadata, { topics: names }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(held).toHaveLength(2);
    expect(bytes).toBeLessThanOrEqual(300);
    for (let released = 0; released < 6; ) {
      for (const release of held.splice(0)) {
        release();
        released++;
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(await Promise.all(sent)).toHaveLength(6);
    expect(connection.inFlightBytes).toBe(0);
    connection.close();
  });

  it.each([
    ['an answer to another request', (socket: Socket) => answer(socket, { apiVersion: 5, correlationId: 99 })],
    ['a frame above the bound', (socket: Socket) => socket.write(Buffer.from([0x7f, 0, 0, 0]))],
    ['the end of the connection', (socket: Socket) => socket.destroy()],
  ])('ends with %s', async (_what, misbehave) => {
    serve = (socket) => misbehave(socket);
    const connection = await open();
    await expect(connection.send(metadata, { topics: [] })).rejects.toThrow();
    expect(connection.closed).toBe(true);
  });

  it('to nobody fails in time and says to whom', async () => {
    await expect(open({ port: 1, connectTimeoutMs: 500 })).rejects.toThrow('127.0.0.1:1');
  });
});
