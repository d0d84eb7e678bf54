import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { HeadwaterError } from '../../src/errors.ts';
import { History } from '../../src/http/history.ts';
import { PageFiles } from '../../src/http/page-files.ts';
import { HttpServer, type HttpServerOptions } from '../../src/http/server.ts';
import type { HttpProviders, TopicView } from '../../src/http/views.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';

const TOPIC: TopicView = {
  name: 'a b',
  id: '0'.repeat(32),
  internal: false,
  sizeBytes: 10,
  records: 2,
  partitions: [],
  config: { 'retention.ms': 1 },
  overrides: {},
};

const running: HttpServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});

interface Started {
  readonly port: number;
  readonly calls: string[];
  readonly metrics: Metrics;
}

async function start(more: Partial<HttpServerOptions> = {}, providers: Partial<HttpProviders> = {}): Promise<Started> {
  const calls: string[] = [];
  const refuse = async () => {
    throw new TypeError('not part of this test');
  };
  const base: HttpProviders = {
    ready: () => [{ name: 'log', ok: true }],
    broker: refuse,
    topics: () => [TOPIC],
    groups: () => [],
    links: () => [],
    clients: () => [],
    messages: async (query) => {
      calls.push(JSON.stringify(query));
      return [];
    },
    createTopic: async (name, partitions, config) => {
      calls.push(`create ${name} ${partitions} ${JSON.stringify([...config])}`);
    },
    alterTopic: async (name, changes, partitions) => {
      calls.push(`alter ${name} ${partitions} ${JSON.stringify([...changes])}`);
    },
    deleteTopic: async (name) => {
      throw new HeadwaterError('UNKNOWN_TOPIC', `there is no topic "${name}"`);
    },
    resetOffsets: refuse,
    pauseLink: refuse,
    standby: () => null,
    promote: async () => ({ leaderEpoch: 1_000 }),
    reload: async () => ({ changed: [], restart: [] }),
    ...providers,
  };
  const metrics = new Metrics();
  const server = new HttpServer({
    env: systemEnv,
    metrics,
    logger: silentLogger,
    providers: base,
    listeners: [{ name: 'http', host: '127.0.0.1', port: 0, tls: null }],
    maxConnections: 10,
    authenticate: null,
    page: new PageFiles(),
    ...more,
  });
  running.push(server);
  const [bound] = await server.start();
  return { port: bound!.port, calls, metrics };
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
}

function send(
  port: number,
  method: string,
  path: string,
  { headers = {}, body }: { headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }));
    });
    call.on('error', reject);
    call.end(body);
  });
}

const CHANGE = { 'x-requested-with': 'test', 'content-type': 'application/json' };

describe('health', () => {
  it('says that the process is alive', async () => {
    const { port } = await start();
    expect(await send(port, 'GET', '/healthz')).toMatchObject({ status: 200, text: 'ok\n' });
  });

  it('is ready only when every check is', async () => {
    const { port } = await start(
      {},
      {
        ready: () => [
          { name: 'log', ok: true },
          { name: 'disk', ok: false, detail: 'read-only' },
        ],
      },
    );
    const answer = await send(port, 'GET', '/readyz');
    expect(answer.status).toBe(503);
    expect(JSON.parse(answer.text)).toEqual({
      ready: false,
      checks: [
        { name: 'log', ok: true },
        { name: 'disk', ok: false, detail: 'read-only' },
      ],
    });
  });
});

describe('metrics', () => {
  it('are text of version 0.0.4, and count the requests themselves', async () => {
    const { port } = await start();
    await send(port, 'GET', '/healthz');
    const answer = await send(port, 'GET', '/metrics');
    expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(answer.text).toContain('headwater_http_requests_total{status="200"} 1\n');
    expect((await send(port, 'POST', '/metrics')).status).toBe(405);
    expect((await send(port, 'HEAD', '/metrics')).text).toBe('');
  });
});

describe('the JSON API', () => {
  it('answers with what the providers say, under percent-encoded names', async () => {
    const { port } = await start();
    expect(JSON.parse((await send(port, 'GET', '/api/v1/topics')).text)).toEqual([TOPIC]);
    expect(JSON.parse((await send(port, 'GET', '/api/v1/topics/a%20b')).text)).toEqual(TOPIC);
    expect(JSON.parse((await send(port, 'GET', '/api/v1/standby')).text)).toBeNull();
    expect((await send(port, 'GET', '/api/v1/topics/%ZZ')).status).toBe(400);
  });

  it('carries the security headers', async () => {
    const { port } = await start();
    const { headers } = await send(port, 'GET', '/api/v1/topics');
    expect(headers['content-security-policy']).toContain("default-src 'none'");
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['x-frame-options']).toBe('DENY');
    expect(headers['cache-control']).toBe('no-store');
  });

  it('reads and bounds its parameters', async () => {
    const { port, calls } = await start();
    await send(port, 'GET', '/api/v1/topics/t/messages?partition=1&offset=5&limit=2');
    await send(port, 'GET', '/api/v1/topics/t/messages?timestamp=1000');
    expect(calls.map((call) => JSON.parse(call) as unknown)).toEqual([
      { topic: 't', partition: 1, from: { offset: 5 }, limit: 2 },
      { topic: 't', partition: 0, from: { timestamp: 1000 }, limit: 50 },
    ]);
    const bad = await send(port, 'GET', '/api/v1/topics/t/messages?limit=501');
    expect(bad.status).toBe(400);
    expect(JSON.parse(bad.text)).toEqual({
      error: { code: 'INVALID_REQUEST', message: 'limit: "501" is not a whole number from 1 to 500' },
    });
  });

  it('changes things only with a header that no other site can send', async () => {
    const { port, calls } = await start();
    const body = JSON.stringify({ name: 'a b', partitions: 2, config: { 'retention.ms': 5 } });
    expect(
      (await send(port, 'POST', '/api/v1/topics', { headers: { 'content-type': 'application/json' }, body })).status,
    ).toBe(403);
    expect(calls).toEqual([]);
    expect((await send(port, 'POST', '/api/v1/topics', { headers: CHANGE, body })).status).toBe(200);
    await send(port, 'PATCH', '/api/v1/topics/a%20b', { headers: CHANGE, body: '{"config":{"retention.ms":null}}' });
    expect(calls).toEqual(['create a b 2 [["retention.ms","5"]]', 'alter a b null [["retention.ms",null]]']);
  });

  it('gives the reason and the status of a refusal', async () => {
    const { port } = await start();
    const cases: readonly (readonly [string, string, string | undefined, number, string])[] = [
      ['DELETE', '/api/v1/topics/x', undefined, 404, 'there is no topic "x"'],
      ['POST', '/api/v1/topics', '{"nam":1}', 400, 'unknown field "nam"; allowed: name, partitions, config'],
      ['POST', '/api/v1/topics', '{', 400, 'the body is not valid JSON'],
      ['POST', '/api/v1/topics', `"${'x'.repeat(70_000)}"`, 413, 'a request body may have 65536 bytes at most'],
      ['PUT', '/api/v1/topics', undefined, 405, '/api/v1/topics allows GET, POST'],
      ['GET', '/api/v1/nothing', undefined, 404, 'there is no /api/v1/nothing'],
      ['GET', '/api/v1/broker', undefined, 500, 'a bug in Headwater; its log says more'],
    ];
    for (const [method, path, body, status, message] of cases) {
      const answer = await send(port, method, path, { headers: CHANGE, ...(body === undefined ? {} : { body }) });
      expect([method, path, answer.status]).toEqual([method, path, status]);
      expect((JSON.parse(answer.text) as { error: { message: string } }).error.message).toBe(message);
    }
  });
});

describe('the gate', () => {
  it('without a login answers loopback names only, so that no foreign name can be pointed here', async () => {
    const { port } = await start();
    expect((await send(port, 'GET', '/api/v1/topics', { headers: { host: 'evil.example' } })).status).toBe(403);
    expect((await send(port, 'GET', '/api/v1/topics', { headers: { host: `localhost:${port}` } })).status).toBe(200);
    expect((await send(port, 'GET', '/healthz', { headers: { host: 'evil.example' } })).status).toBe(200);
  });

  it('with a login asks for it everywhere but for health, and remembers what was right', async () => {
    let asked = 0;
    const { port } = await start({
      authenticate: async (user, secret) => {
        asked++;
        return secret === 'right' ? { user, admin: user === 'root' } : null;
      },
    });
    const as = (credentials: string) => ({ authorization: `Basic ${Buffer.from(credentials).toString('base64')}` });
    const refused = await send(port, 'GET', '/metrics');
    expect(refused.status).toBe(401);
    expect(refused.headers['www-authenticate']).toContain('Basic realm="Headwater"');
    expect((await send(port, 'GET', '/healthz')).status).toBe(200);
    expect((await send(port, 'GET', '/metrics', { headers: as('eve:wrong') })).status).toBe(401);
    for (let i = 0; i < 3; i++) {
      expect((await send(port, 'GET', '/api/v1/topics', { headers: as('eve:right') })).status).toBe(200);
    }
    expect(asked).toBe(2);
    const change = (credentials: string) =>
      send(port, 'POST', '/api/v1/reload', { headers: { ...CHANGE, ...as(credentials) } });
    expect((await change('eve:right')).status).toBe(403);
    expect((await change('root:right')).status).toBe(200);
  });
});

describe('the admin page', () => {
  it('comes with its type and a tag, and nothing beside its files does', async () => {
    const { port } = await start();
    const page = await send(port, 'GET', '/');
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
    const again = await send(port, 'GET', '/', { headers: { 'if-none-match': String(page.headers['etag']) } });
    expect([again.status, again.text]).toEqual([304, '']);
    for (const path of ['/..%2fserver.ts', '/../server.ts', '/index.html', '/__proto__']) {
      expect((await send(port, 'GET', path)).status).toBe(404);
    }
  });
});

describe('HTTPS', () => {
  it('serves by address too, where browsers name no server, and shows a new certificate after a reload', async () => {
    const certificate = (name: string) => {
      const read = (file: string) => readFileSync(new URL(`../security/certificates/${file}`, import.meta.url));
      return { cert: read(`${name}.pem`), key: read(`${name}.key`), requestCert: true, rejectUnauthorized: true };
    };
    let name = 'server';
    const { port } = await start({
      listeners: [{ name: 'https', host: '127.0.0.1', port: 0, tls: () => certificate(name) }],
    });
    const ca = readFileSync(new URL('../security/certificates/ca.pem', import.meta.url));
    const ask = () =>
      new Promise<{ status: number; serial: string }>((resolve, reject) => {
        const call = secureRequest({ host: '127.0.0.1', port, path: '/healthz', ca, agent: false }, (response) => {
          const { serialNumber } = (response.socket as TLSSocket).getPeerCertificate();
          response.resume().on('end', () => resolve({ status: response.statusCode!, serial: serialNumber }));
        });
        call.on('error', reject);
        call.end();
      });
    const before = await ask();
    expect(before.status).toBe(200);
    name = 'server2';
    running[0]!.securityChanged();
    expect((await ask()).serial).not.toBe(before.serial);
  });
});

describe('the history', () => {
  it('keeps six hours of totals and no more, oldest first', async () => {
    let now = 0;
    const topic = { ...TOPIC, partitions: [{ highWatermark: 7 }, { highWatermark: 5 }] };
    const providers = {
      broker: () => ({ rssBytes: 1, storedBytes: 2 }),
      topics: () => [topic],
      links: () => [{ backlogRecords: 3 }, { backlogRecords: 4 }],
    } as unknown as HttpProviders;
    const history = new History({ ...systemEnv.clock, now: () => now }, providers);
    for (now = 1; now <= 1_500; now++) await history.sample();
    const { at, records, backlog, rssBytes, storedBytes } = history.view();
    expect([at.length, at[0], at.at(-1)]).toEqual([1_440, 61, 1_500]);
    expect([records[0], backlog[0], rssBytes[0], storedBytes[0]]).toEqual([12, 7, 1, 2]);
  });
});

describe('bounds', () => {
  it('refuses connections above the limit and counts them', async () => {
    const { port, metrics } = await start({ maxConnections: 2 });
    const sockets = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    await expect(send(port, 'GET', '/healthz')).rejects.toThrow();
    for (const socket of sockets) socket.destroy();
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    const samples = [...metrics.families()].find(({ name }) => name === 'headwater_http_requests_total')!.samples();
    expect([...samples]).toEqual([{ labels: { status: 'refused' }, value: 1 }]);
  });

  it('answers 503 on connections that come while there is no memory, except for who looks after it', async () => {
    const { port } = await start({ overloaded: () => true });
    const refused = await send(port, 'GET', '/api/v1/topics');
    expect(refused.status).toBe(503);
    expect(JSON.parse(refused.text)).toMatchObject({ error: { code: 'SERVER_BUSY' } });
    expect(refused.headers.connection).toBe('close');
    for (const path of ['/healthz', '/readyz', '/metrics']) expect((await send(port, 'GET', path)).status).toBe(200);
  });

  it('refuses headers of more than 8 KiB', async () => {
    const { port } = await start();
    expect((await send(port, 'GET', '/healthz', { headers: { 'x-long': 'x'.repeat(9_000) } })).status).toBe(431);
  });

  it('stops although a connection is open', async () => {
    const { port } = await start();
    const socket = connect(port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await running.pop()!.stop();
    await closed;
  });
});
