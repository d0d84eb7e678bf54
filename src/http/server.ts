/** The HTTP edge: health, metrics, the JSON API and the admin page. Bounded in connections, header and body bytes. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';
import type { Env } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Metrics, Series } from '../metrics.ts';
import { answer, answerError, answerJson, begin } from './answer.ts';
import { matchApi } from './api.ts';
import { type Authenticate, Gate } from './gate.ts';
import { History } from './history.ts';
import type { PageFiles } from './page-files.ts';
import { PROMETHEUS_CONTENT_TYPE, renderMetrics } from './prometheus.ts';
import type { HttpProviders } from './views.ts';

export interface HttpListenerOptions {
  readonly name: string;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Certificate and key, asked again after a reload; null: plain HTTP. */
  readonly tls: (() => TlsOptions) | null;
}

export interface HttpServerOptions {
  readonly env: Env;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly providers: HttpProviders;
  readonly listeners: readonly HttpListenerOptions[];
  readonly maxConnections: number;
  /** Whether new connections are answered 503 for want of memory. Default: never. */
  readonly overloaded?: () => boolean;
  /** null: no login; then only requests addressed to loopback names are answered beyond /healthz and /readyz. */
  readonly authenticate: Authenticate | null;
  /** The admin page; null: there is none. */
  readonly page: PageFiles | null;
}

const HEADER_MAX_BYTES = 8 * 1024;
const BODY_MAX_BYTES = 64 * 1024;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 15_000;
const STOP_MAX_MS = 500;
/** Above it a slow reader is waited for. */
const OUTPUT_PAUSE_BYTES = 256 * 1024;

export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #gate: Gate;
  readonly #history: History;
  readonly #servers: Server[] = [];
  readonly #secured: { readonly server: TlsServer; readonly tls: () => TlsOptions }[] = [];
  readonly #requests: (status: string) => Series;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#gate = new Gate(options.env, options.authenticate);
    this.#history = new History(options.env.clock, options.providers);
    this.#requests = options.metrics.counters(
      'headwater_http_requests_total',
      'HTTP requests by status.',
      'status',
      50,
    );
    options.metrics.gauge('headwater_http_connections', 'Open HTTP connections.', () => this.#sockets.size);
  }

  readonly #sockets = new Set<Socket>();
  /** Those that came while the broker was overloaded. */
  readonly #unwelcome = new WeakSet<Socket>();

  /** Binds every listener, or none and throws. */
  async start(): Promise<{ listener: string; host: string; port: number }[]> {
    const bound = [];
    try {
      for (const listener of this.#options.listeners) {
        const server = this.#server(listener);
        await new Promise<void>((resolve, reject) => {
          server.once('error', reject);
          server.listen(listener.port, listener.host, () => {
            server.off('error', reject);
            resolve();
          });
        });
        server.on('error', (error) => this.#options.logger.error({ error: error.message }, 'an HTTP listener failed'));
        this.#servers.push(server);
        const { address, port } = server.address() as AddressInfo;
        bound.push({ listener: listener.name, host: address, port });
      }
    } catch (error) {
      await this.stop();
      throw error;
    }
    if (this.#options.page !== null && bound.length > 0) this.#history.start();
    return bound;
  }

  /** Requests in flight get up to 500 ms. */
  async stop(): Promise<void> {
    this.#history.stop();
    const servers = this.#servers.splice(0);
    const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const server of servers) server.closeIdleConnections();
    const timer = this.#options.env.clock.after(STOP_MAX_MS, () => {
      for (const server of servers) server.closeAllConnections();
      for (const socket of this.#sockets) socket.destroy();
    });
    await Promise.all(closed);
    timer.cancel();
  }

  /** Users or certificates were read again: nobody stays logged in by memory, new connections get the new certificate. */
  securityChanged(): void {
    this.#gate.forget();
    for (const { server, tls } of this.#secured) server.setSecureContext(forBrowsers(tls()));
  }

  #server({ tls }: HttpListenerOptions): Server {
    const limits = {
      maxHeaderSize: HEADER_MAX_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: 2_000,
    };
    const onRequest = (request: IncomingMessage, response: ServerResponse) => this.#request(request, response);
    const server =
      tls === null
        ? createServer(limits, onRequest)
        : createTlsServer({ ...limits, ...forBrowsers(tls()), handshakeTimeout: HEADERS_TIMEOUT_MS }, onRequest);
    if (tls !== null) this.#secured.push({ server: server as TlsServer, tls });
    server.maxRequestsPerSocket = 10_000;
    server.on('connection', (socket: Socket) => {
      if (this.#sockets.size >= this.#options.maxConnections) {
        this.#requests('refused').value += 1;
        socket.destroy();
        return;
      }
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.on(tls === null ? 'connection' : 'secureConnection', (socket: Socket) => {
      if (this.#options.overloaded?.() === true) this.#unwelcome.add(socket);
    });
    return server;
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    response.once('close', () => {
      this.#requests(String(response.statusCode)).value += 1;
    });
    request.on('error', () => {});
    response.on('error', () => {});
    this.#route(request, response).catch((error: unknown) => {
      if (!(error instanceof HeadwaterError)) this.#options.logger.error({ err: error }, 'an HTTP request failed');
      if (response.headersSent) response.destroy();
      else answerError(request, response, error);
    });
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = parseUrl(request.url ?? '/');
    if (url === null) return answer(request, response, 'bad request\n', { status: 400, type: 'text/plain' });
    const { pathname } = url;
    if (pathname === '/healthz') return this.#read(request, response, () => this.#health(request, response));
    if (pathname === '/readyz') return this.#read(request, response, () => this.#ready(request, response));
    // Who looks after the broker must still see what it lacks.
    if (this.#unwelcome.has(request.socket) && pathname !== '/metrics') {
      response.setHeader('connection', 'close');
      throw new HeadwaterError('SERVER_BUSY', 'the broker is above memory.budget and takes no new connections');
    }
    const visitor = await this.#gate.admit(request, response);
    if (visitor === null) return;
    if (pathname === '/metrics') return this.#read(request, response, () => this.#metrics(request, response));
    if (pathname === '/api/v1/history') {
      return this.#read(request, response, () => answerJson(request, response, this.#history.view()));
    }
    if (pathname === '/api/v1/me') {
      return this.#read(request, response, () => answerJson(request, response, visitor));
    }
    if (pathname.startsWith('/api/v1/')) {
      return this.#api(request, response, pathname.slice('/api/v1/'.length), url.searchParams, visitor.admin);
    }
    const file = this.#options.page?.find(pathname) ?? null;
    if (file === null) {
      return answerJson(
        request,
        response,
        { error: { code: 'NOT_FOUND', message: `there is nothing at ${pathname}` } },
        404,
      );
    }
    return this.#read(request, response, () => file.send(request, response));
  }

  #read(request: IncomingMessage, response: ServerResponse, send: () => void | Promise<void>): void | Promise<void> {
    if (request.method === 'GET' || request.method === 'HEAD') return send();
    answer(request, response, 'only GET and HEAD\n', {
      status: 405,
      type: 'text/plain',
      headers: { allow: 'GET, HEAD' },
    });
  }

  #health(request: IncomingMessage, response: ServerResponse): void {
    answer(request, response, 'ok\n', { type: 'text/plain; charset=utf-8' });
  }

  #ready(request: IncomingMessage, response: ServerResponse): void {
    const checks = this.#options.providers.ready();
    const ok = checks.every((check) => check.ok);
    answerJson(request, response, { ready: ok, checks }, ok ? 200 : 503);
  }

  async #metrics(request: IncomingMessage, response: ServerResponse): Promise<void> {
    begin(response, { type: PROMETHEUS_CONTENT_TYPE });
    if (request.method !== 'HEAD') {
      for (const piece of renderMetrics(this.#options.metrics)) {
        response.write(piece);
        if (response.writableLength > OUTPUT_PAUSE_BYTES && !(await drained(response))) return;
      }
    }
    response.end();
  }

  async #api(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    query: URLSearchParams,
    admin: boolean,
  ): Promise<void> {
    const match = matchApi(request.method ?? 'GET', path);
    if (!('route' in match)) {
      const error = { code: 'NOT_FOUND', message: `there is no /api/v1/${path}` };
      if (match.allow.length === 0) return answerJson(request, response, { error }, 404);
      const message = `/api/v1/${path} allows ${match.allow.join(', ')}`;
      return answerJson(request, response, { error: { code: 'NOT_ALLOWED', message } }, 405, {
        allow: match.allow.join(', '),
      });
    }
    const { route } = match;
    if (route.method !== 'GET') {
      // A page of another site can make a browser send a request, but not with a header of its own choosing.
      if (request.headers['x-requested-with'] === undefined) {
        throw new HeadwaterError(
          'NOT_AUTHORIZED',
          'a change needs the header X-Requested-With, against cross-site requests',
        );
      }
      if (!admin) throw new HeadwaterError('NOT_AUTHORIZED', 'only super.users may change anything');
    }
    const body = route.method === 'GET' || route.method === 'DELETE' ? undefined : await readBody(request);
    const value = await route.handle({ path: match.path, query, body, providers: this.#options.providers });
    // null is an answer of its own (not one of a pair); {} would be read as one without any field.
    answerJson(request, response, value === undefined ? {} : value);
  }
}

/** People log in with a name and a secret: a browser that is asked for a certificate bothers them with a dialog. */
function forBrowsers({ requestCert: _, rejectUnauthorized: __, ...options }: TlsOptions): TlsOptions {
  return options;
}

function parseUrl(text: string): URL | null {
  try {
    return new URL(text, 'http://local');
  } catch {
    return null;
  }
}

/** False when the reader has gone. */
function drained(response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    const onDrain = () => {
      response.off('close', onClose);
      resolve(true);
    };
    const onClose = () => {
      response.off('drain', onDrain);
      resolve(false);
    };
    response.once('drain', onDrain);
    response.once('close', onClose);
  });
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const declared = Number(request.headers['content-length'] ?? 0);
  const tooLarge = () =>
    new HeadwaterError('BATCH_TOO_LARGE', `a request body may have ${BODY_MAX_BYTES} bytes at most`);
  if (declared > BODY_MAX_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_MAX_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) {
    throw new HeadwaterError('INVALID_REQUEST', 'the body must be application/json');
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch {
    throw new HeadwaterError('INVALID_REQUEST', 'the body is not valid JSON');
  }
}
