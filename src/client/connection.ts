/**
 * One connection to a Kafka server: requests go out in order, several at a time, answers come back in the same order.
 * Requests beyond `maxInFlightBytes` wait here. A request that is not answered in time ends the connection: its answer
 * could otherwise be taken for that of another, and a peer that says nothing (lost packets, no RST) must not hold us. A peer that says
 * it will read nothing for a while (`throttle_time_ms`, KIP-219: the answer comes at once, then the connection is left alone) is no such
 * peer: what is on its way then has so much longer.
 */
import type { Socket } from 'node:net';
import type { Env, Timer } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { THROTTLE_MAX_MS } from '../limits.ts';
import { apiVersions } from '../wire/kafka/api/18-api-versions.ts';
import { decodeResponse, encodeRequest, readCorrelationId } from '../wire/kafka/message.ts';
import type { Api, RequestInput, ResponseOf } from '../wire/kafka/schema.ts';
import { UpstreamError } from './error.ts';
import { FrameReader } from './frames.ts';
import { authenticate, type SaslOptions } from './sasl.ts';
import { isCertificateRefused, secure, type TlsOptions } from './tls.ts';

const SOFTWARE = 'headwater';
const SOFTWARE_VERSION = '0.1.0';
const UNSUPPORTED_VERSION = 35;

export interface ConnectionOptions {
  readonly host: string;
  readonly port: number;
  readonly clientId: string;
  readonly tls?: TlsOptions | undefined;
  readonly sasl?: SaslOptions | undefined;
  /** From sending a request to its answer, milliseconds. */
  readonly requestTimeoutMs: number;
  /** From dialling to the end of TLS, ApiVersions and SASL, milliseconds. */
  readonly connectTimeoutMs: number;
  readonly maxInFlightBytes: number;
  readonly maxResponseBytes: number;
}

export interface SendOptions {
  /** Instead of the connection's; a long poll adds what it may wait for. */
  readonly timeoutMs?: number;
  /** The newest version to use. */
  readonly maxVersion?: number;
  /** Produce with acks=0: resolves with null once written. */
  readonly unanswered?: boolean;
}

interface Pending {
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  readonly correlationId: number;
  readonly timeoutMs: number;
  readonly unanswered: boolean;
  readonly name: string;
  timer: Timer | null;
  settle(error: Error | null, frame: Buffer | null): void;
}

type Versions = ReadonlyMap<number, readonly [min: number, max: number]>;

export class Connection {
  readonly #env: Env;
  readonly #options: ConnectionOptions;
  #socket: Socket;
  #versions: Versions = new Map();
  #correlationId = 0;
  readonly #waiting: Pending[] = [];
  readonly #inFlight: Pending[] = [];
  #inFlightBytes = 0;
  #failure: HeadwaterError | null = null;
  /** `clock.monotonic()` from which on the peer reads again. */
  #throttledUntil = 0;
  readonly #closeTasks: ((reason: HeadwaterError) => void)[] = [];
  /** `clock.monotonic()` of the last byte received. */
  lastReceived: number;

  private constructor(env: Env, options: ConnectionOptions, socket: Socket) {
    this.#env = env;
    this.#options = options;
    this.#socket = socket;
    this.lastReceived = env.clock.monotonic();
  }

  get peer(): string {
    return `${this.#options.host}:${this.#options.port}`;
  }

  get closed(): boolean {
    return this.#failure !== null;
  }

  get inFlight(): number {
    return this.#inFlight.length;
  }

  /** Bytes of requests that were sent and not answered yet. */
  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** Connects, negotiates and authenticates. CONNECTION_LOST, AUTHENTICATION_FAILED or UPSTREAM_REFUSED. */
  static open(env: Env, options: ConnectionOptions): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = env.net.connect(options.host, options.port);
      const connection = new Connection(env, options, socket);
      const timer = env.clock.after(options.connectTimeoutMs, () => {
        connection.close(
          new HeadwaterError('CONNECTION_LOST', `${connection.peer}: not connected in ${options.connectTimeoutMs} ms`),
        );
      });
      connection.onClose((reason) => {
        timer.cancel();
        reject(reason);
      });
      // Until frames are read, an error only ends the attempt.
      socket.on('error', (error) => connection.#lost(error));
      socket.on('close', () => connection.#lost());
      socket.once('connect', () => {
        connection.#handshake(socket).then(
          () => {
            timer.cancel();
            resolve(connection);
          },
          (error) => connection.close(error instanceof HeadwaterError ? error : connection.#lossOf(error)),
        );
      });
    });
  }

  async #handshake(plain: Socket): Promise<void> {
    const { tls, host, sasl } = this.#options;
    let socket = plain;
    if (tls !== undefined) {
      socket = await secure(plain, host, tls);
      this.#socket = socket;
      socket.on('error', (error) => this.#lost(error));
      socket.on('close', () => this.#lost());
    }
    const frames = new FrameReader(this.#options.maxResponseBytes);
    socket.on('data', (chunk: Buffer) => {
      this.lastReceived = this.#env.clock.monotonic();
      try {
        frames.push(chunk, (frame) => this.#answer(frame));
      } catch (error) {
        this.close(error instanceof HeadwaterError ? error : this.#lossOf(error));
      }
    });
    this.#versions = await this.#negotiate();
    if (sasl !== undefined) await authenticate(this, sasl, this.#env.random);
  }

  /** KIP-511: a server that does not know our version answers in v0 with its own. */
  async #negotiate(): Promise<Versions> {
    const body = { clientSoftwareName: SOFTWARE, clientSoftwareVersion: SOFTWARE_VERSION };
    const ask = (version: number) => {
      this.#versions = new Map([[apiVersions.key, [version, version]]]);
      return this.send(apiVersions, body);
    };
    let answer: ResponseOf<typeof apiVersions>;
    try {
      answer = await ask(3);
    } catch (error) {
      // Decoding a v0 answer as v3 may fail in any way; the connection itself is still good.
      if (this.closed) throw error;
      answer = await ask(0);
    }
    if (answer.errorCode === UNSUPPORTED_VERSION) answer = await ask(0);
    if (answer.errorCode !== 0) throw new UpstreamError(answer.errorCode, `ApiVersions of ${this.peer}`);
    return new Map(answer.apiKeys.map((row) => [row.apiKey, [row.minVersion, row.maxVersion]]));
  }

  /** The version to speak: the lower of both maxima. UPSTREAM_REFUSED when the server does not serve one of ours. */
  versionOf(api: Api, maxVersion = api.range[1]): number {
    const theirs = this.#versions.get(api.key);
    const version = theirs === undefined ? -1 : Math.min(theirs[1], api.range[1], maxVersion);
    if (theirs === undefined || version < theirs[0] || version < api.range[0]) {
      const range = theirs === undefined ? 'none' : `${theirs[0]} to ${theirs[1]}`;
      throw new UpstreamError(
        UNSUPPORTED_VERSION,
        `${api.name} at ${this.peer}`,
        `it serves ${range}, this client ${api.range[0]} to ${Math.min(maxVersion, api.range[1])}`,
      );
    }
    return version;
  }

  serves(api: Api): boolean {
    return this.#versions.has(api.key);
  }

  /** Sends one request and resolves with its answer. Rejects with CONNECTION_LOST when it does not come. */
  send<A extends Api>(api: A, body: RequestInput<A>, options: SendOptions = {}): Promise<ResponseOf<A>> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) throw this.#failure;
      const version = this.versionOf(api, options.maxVersion);
      const correlationId = this.#correlationId;
      this.#correlationId = (correlationId + 1) & 0x7fffffff;
      const chunks = encodeRequest(api, version, correlationId, this.#options.clientId, body);
      let bytes = 0;
      for (const chunk of chunks) bytes += chunk.length;
      const throttled = (ms: number): void => this.#throttled(ms);
      this.#waiting.push({
        chunks,
        bytes,
        correlationId,
        timeoutMs: options.timeoutMs ?? this.#options.requestTimeoutMs,
        unanswered: options.unanswered === true,
        name: api.name,
        timer: null,
        settle(error, frame) {
          if (error !== null) return reject(error);
          if (frame === null) return resolve(null as unknown as ResponseOf<A>);
          try {
            const answer = decodeResponse(api, version, frame);
            throttled((answer as { throttleTimeMs?: number }).throttleTimeMs ?? 0);
            resolve(answer);
          } catch (cause) {
            reject(cause instanceof Error ? cause : new Error(String(cause)));
          }
        },
      });
      this.#pump();
    });
  }

  #pump(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined) return;
      const full = this.#inFlight.length > 0 && this.#inFlightBytes + next.bytes > this.#options.maxInFlightBytes;
      if (full) return;
      this.#waiting.shift();
      this.#write(next);
    }
  }

  #write(pending: Pending): void {
    const socket = this.#socket;
    if (pending.chunks.length > 1) socket.cork();
    for (const chunk of pending.chunks) socket.write(chunk);
    if (pending.chunks.length > 1) socket.uncork();
    if (pending.unanswered) {
      pending.settle(null, null);
      return;
    }
    this.#inFlight.push(pending);
    this.#inFlightBytes += pending.bytes;
    this.#limit(pending);
  }

  /** Ends the connection unless the answer comes in time. */
  #limit(pending: Pending): void {
    const { clock } = this.#env;
    const ms = pending.timeoutMs + Math.max(0, this.#throttledUntil - clock.monotonic());
    pending.timer = clock.after(ms, () => {
      const what = `${this.peer}: no answer to ${pending.name} in ${Math.round(ms)} ms`;
      this.close(new HeadwaterError('CONNECTION_LOST', what));
    });
  }

  #throttled(ms: number): void {
    if (!(ms > 0)) return;
    const pause = Math.min(ms, THROTTLE_MAX_MS);
    this.#throttledUntil = Math.max(this.#throttledUntil, this.#env.clock.monotonic() + pause);
    for (const pending of this.#inFlight) {
      pending.timer?.cancel();
      this.#limit(pending);
    }
  }

  #answer(frame: Buffer): void {
    const pending = this.#inFlight[0];
    const correlationId = readCorrelationId(frame);
    if (pending === undefined || pending.correlationId !== correlationId) {
      throw new HeadwaterError(
        'CONNECTION_LOST',
        `${this.peer} answered request ${correlationId}; ${pending?.correlationId ?? 'none'} is due`,
      );
    }
    this.#inFlight.shift();
    this.#inFlightBytes -= pending.bytes;
    pending.timer?.cancel();
    pending.settle(null, frame);
    this.#pump();
  }

  onClose(task: (reason: HeadwaterError) => void): void {
    if (this.#failure !== null) task(this.#failure);
    else this.#closeTasks.push(task);
  }

  #lossOf(error: unknown): HeadwaterError {
    const reason = error instanceof Error ? error.message : 'the peer closed the connection';
    // With TLS 1.3 a server looks at our certificate after we have seen the handshake succeed.
    const code = isCertificateRefused(error) ? 'AUTHENTICATION_FAILED' : 'CONNECTION_LOST';
    return new HeadwaterError(code, `${this.peer}: ${reason}`, { cause: error });
  }

  #lost(error?: Error): void {
    this.close(this.#lossOf(error));
  }

  /** Everything unanswered is rejected with `reason`. */
  close(reason: HeadwaterError = new HeadwaterError('CONNECTION_LOST', `${this.peer}: closed by this side`)): void {
    if (this.#failure !== null) return;
    this.#failure = reason;
    this.#socket.destroy();
    const pendings = [...this.#inFlight, ...this.#waiting];
    this.#inFlight.length = 0;
    this.#waiting.length = 0;
    this.#inFlightBytes = 0;
    for (const pending of pendings) {
      pending.timer?.cancel();
      pending.settle(reason, null);
    }
    for (const task of this.#closeTasks.splice(0)) task(reason);
  }
}
