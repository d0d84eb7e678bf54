/**
 * One client connection: frames in, handlers in arrival order, answers out in the same order. Backpressure is by bytes:
 * nothing more is read while the socket cannot take answers, the log's queue is full, or a request that must run alone
 * is in flight.
 */
import type { Socket } from 'node:net';
import { asHeadwaterError } from '../errors.ts';
import {
  KAFKA_PARTIAL_REQUESTS_MAX_BYTES,
  KAFKA_PIPELINED_REQUESTS_MAX,
  KAFKA_REQUEST_MAX_BYTES,
  SOCKET_OUTPUT_HIGH_WATER_BYTES,
} from '../limits.ts';
import type { KafkaOperation, KafkaResource } from '../security/acl.ts';
import { identityOf } from '../security/tls.ts';
import { apiVersions } from '../wire/kafka/api/18-api-versions.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import { decodeRequest, encodeResponse, isSupported, readRequestHeader } from '../wire/kafka/message.ts';
import { parseVersions } from '../wire/kafka/schema.ts';
import type { KafkaContext } from './context.ts';
import { Framer } from './framer.ts';
import { Gate } from './gate.ts';
import { type ClientConnection, type Handler, type HandlerTable, NO_RESPONSE } from './handler.ts';
import { Output, type SharedBytes } from './output.ts';
import type { SaslSession } from './sasl.ts';

/** Who has not authenticated yet has nothing large to say. */
const UNAUTHENTICATED_REQUEST_MAX_BYTES = 64 * 1024;

export interface ConnectionOptions {
  readonly id: number;
  readonly socket: Socket;
  /** `socket` speaks TLS: its client may have shown a certificate. */
  readonly secure: boolean;
  readonly listener: string;
  readonly advertised: { readonly host: string; readonly port: number };
  readonly context: KafkaContext;
  readonly handlers: HandlerTable;
  readonly shared: SharedBytes;
  /** null: the listener asks for no authentication. */
  readonly sasl: SaslSession | null;
  readonly onClosed: (connection: Connection) => void;
}

/** A request whose answer has its place in the order. */
interface Pending {
  answered: boolean;
  chunks: readonly Uint8Array[] | null;
}

export class Connection implements ClientConnection {
  readonly id: number;
  readonly listener: string;
  readonly advertised: { readonly host: string; readonly port: number };
  readonly remoteAddress: string;
  readonly sasl: SaslSession | null;
  clientId: string | null = null;
  /** `clock.monotonic()` of the last byte in or out; the edge closes idle connections by it. */
  lastActivity: number;

  readonly #socket: Socket;
  readonly #context: KafkaContext;
  readonly #handlers: HandlerTable;
  readonly #shared: SharedBytes;
  readonly #onClosed: (connection: Connection) => void;
  readonly #framer: Framer;
  readonly #output: Output;
  readonly #gate: Gate;
  readonly #secure: boolean;
  #certificate: string | null = null;
  readonly #pending: Pending[] = [];
  readonly #closeTasks = new Set<() => void>();
  #partial = 0;
  /** A request that is not pipelined is in flight. */
  #exclusive = false;
  #pumping = false;
  #inputEnded = false;
  /** A request that must run alone and waits for the answers before it. */
  #afterPending: (() => void) | null = null;
  #state: 'open' | 'ending' | 'closed' = 'open';

  constructor(options: ConnectionOptions) {
    this.id = options.id;
    this.listener = options.listener;
    this.advertised = options.advertised;
    this.sasl = options.sasl;
    this.#framer = new Framer(options.sasl === null ? KAFKA_REQUEST_MAX_BYTES : UNAUTHENTICATED_REQUEST_MAX_BYTES);
    this.#socket = options.socket;
    this.#secure = options.secure;
    this.#context = options.context;
    this.#handlers = options.handlers;
    this.#shared = options.shared;
    this.#output = new Output(options.socket, options.shared, options.context.metrics.bytesOut);
    this.#gate = new Gate(options.context.env.clock, options.context.log, () => this.#pump());
    this.#onClosed = options.onClosed;
    this.remoteAddress = (options.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
    this.lastActivity = this.#context.env.clock.monotonic();
    const socket = this.#socket;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('drain', () => {
      this.lastActivity = this.#context.env.clock.monotonic();
      this.#pump();
    });
    // What a client sent before it left is still done: it may have been Produce with acks=0.
    socket.on('end', () => {
      this.#inputEnded = true;
      this.#pump();
    });
    socket.on('error', (error) => {
      this.#context.logger.debug({ connection: this.id, error: error.message }, 'Kafka connection failed');
    });
    socket.on('close', () => this.#closed());
  }

  get user(): string | null {
    if (this.sasl !== null && this.sasl.user !== null) return this.sasl.user;
    // Known once the TLS handshake is over, and not before.
    if (this.#secure) this.#certificate ??= identityOf(this.#socket);
    return this.#certificate;
  }

  /** Whether it may send requests other than those that lead to a login. */
  get admitted(): boolean {
    return this.sasl === null || !this.sasl.required || this.user !== null;
  }

  allows(operation: KafkaOperation, resource: KafkaResource, name: string): boolean {
    const { access } = this.#context;
    return access === null || access.allowsKafka(this.user, operation, resource, name);
  }

  get closed(): boolean {
    return this.#state === 'closed';
  }

  get inFlight(): number {
    return this.#pending.length;
  }

  throttle(ms: number): void {
    this.#gate.hold(ms);
  }

  /** A quota holds it: that nothing comes from its client is our doing. */
  get throttled(): boolean {
    return this.#gate.held;
  }

  onClose(task: () => void): () => void {
    if (this.#state === 'closed') {
      task();
      return () => {};
    }
    this.#closeTasks.add(task);
    return () => this.#closeTasks.delete(task);
  }

  close(reason: string): void {
    if (this.#state !== 'open') return;
    this.#context.metrics.closed(reason).value += 1;
    this.#end();
  }

  /** Ends what waits (long polls) and reads no more; closes when everything in flight is answered. */
  stop(): void {
    if (this.#state === 'open') this.#end();
    this.#runCloseTasks();
  }

  /** Closes now, whatever is in flight. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Reads no more; the socket ends when everything in flight is answered. */
  #end(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ending';
    this.#afterPending = null;
    this.#dropInput();
    this.#socket.resume();
    if (this.#pending.length === 0) this.#finish();
    else this.#runCloseTasks();
  }

  #finish(): void {
    // The other side need not end its half: it gets the answers, then the socket closes.
    this.#socket.destroySoon();
  }

  #dropInput(): void {
    this.#framer.clear();
    this.#shared.partial -= this.#partial;
    this.#partial = 0;
  }

  #runCloseTasks(): void {
    const tasks = [...this.#closeTasks];
    this.#closeTasks.clear();
    for (const task of tasks) task();
  }

  #closed(): void {
    if (this.#state === 'closed') return;
    this.#dropInput();
    this.#state = 'closed';
    this.#output.closed();
    this.#gate.close();
    this.#runCloseTasks();
    this.#onClosed(this);
  }

  /** Closes for something that no protocol error can answer: garbage, an unknown API, a failed handler. */
  #abort(reason: string, fields: object): void {
    this.#context.logger.warn(
      { connection: this.id, remote: this.remoteAddress, clientId: this.clientId, ...fields },
      `closing a Kafka connection: ${reason}`,
    );
    this.close(reason);
  }

  #receive(chunk: Buffer): void {
    if (this.#state !== 'open') return;
    this.lastActivity = this.#context.env.clock.monotonic();
    this.#context.metrics.bytesIn.value += chunk.length;
    this.#framer.push(chunk);
    this.#pump();
    if (this.#shared.partial > KAFKA_PARTIAL_REQUESTS_MAX_BYTES) this.#abort('too many bytes in partial requests', {});
  }

  /** Starts every request that may start now; pauses the socket when one has to wait. */
  #pump(): void {
    if (this.#pumping || this.#state !== 'open') return;
    this.#pumping = true;
    try {
      while (this.#state === 'open') {
        if (this.#framer.maxBytes < KAFKA_REQUEST_MAX_BYTES && this.admitted) {
          this.#framer.maxBytes = KAFKA_REQUEST_MAX_BYTES;
        }
        const size = this.#framer.ready();
        if (size === -1) {
          if (this.#inputEnded) {
            if (this.#pending.length === 0) this.#end();
          } else if (this.#socket.isPaused()) this.#socket.resume();
          break;
        }
        if (!this.#mayStart(size)) {
          this.#socket.pause();
          break;
        }
        this.#start(this.#framer.next()!);
      }
    } catch (error) {
      this.#context.metrics.malformed.value += 1;
      this.#abort('malformed frame', { error: asHeadwaterError(error).message });
    } finally {
      this.#pumping = false;
      const held = this.#framer.buffered;
      this.#shared.partial += held - this.#partial;
      this.#partial = held;
    }
  }

  #mayStart(size: number): boolean {
    if (this.#exclusive || this.#pending.length >= KAFKA_PIPELINED_REQUESTS_MAX) return false;
    if (this.#socket.writableLength > SOCKET_OUTPUT_HIGH_WATER_BYTES) return false;
    return this.#gate.admits(size);
  }

  #start(frame: Buffer): void {
    if (this.sasl?.bare === true) {
      this.#authenticateBare(this.sasl, frame);
      return;
    }
    const { apiKey, apiVersion, correlationId } = readRequestHeader(frame);
    const handler = this.#handlers.get(apiKey);
    if (handler === undefined) {
      this.#abort('unknown API', { apiKey, apiVersion });
    } else if (!isSupported(handler.api, apiVersion)) {
      if (apiKey === apiVersions.key) this.#refuseApiVersions(correlationId);
      else this.#abort('unsupported version', { api: handler.api.name, apiVersion });
    } else if (handler.unauthenticated !== true && !this.admitted) {
      this.#abort('not authenticated', { api: handler.api.name });
    } else {
      this.#dispatch(handler, apiVersion, correlationId, frame);
    }
  }

  #dispatch(handler: Handler, version: number, correlationId: number, frame: Buffer): void {
    const { clientId, body } = decodeRequest(handler.api, version, frame);
    this.#context.metrics.request(handler.api.name).value += 1;
    const run = () => {
      this.clientId = clientId;
      this.#run(handler, version, correlationId, body);
    };
    if (handler.pipelined === true || this.#pending.length === 0) {
      run();
      return;
    }
    // It waits until everything before it is answered; nothing after it is read.
    this.#exclusive = true;
    this.#afterPending = run;
  }

  /** A frame that is a SASL message and nothing else. Failing has no answer but the close. */
  #authenticateBare(sasl: SaslSession, message: Buffer): void {
    const pending: Pending = { answered: false, chunks: null };
    this.#pending.push(pending);
    this.#exclusive = true;
    const answered = (chunks: readonly Uint8Array[] | null) => {
      this.#exclusive = false;
      pending.answered = true;
      pending.chunks = chunks;
      this.#flush();
    };
    sasl.step(message).then(
      (reply) => {
        const size = Buffer.alloc(4);
        size.writeInt32BE(reply.length);
        answered([size, reply]);
      },
      () => {
        this.#context.metrics.authenticationFailures.value += 1;
        this.close('authentication failed');
        answered(null);
      },
    );
  }

  #run(handler: Handler, version: number, correlationId: number, body: unknown): void {
    const pending: Pending = { answered: false, chunks: null };
    this.#pending.push(pending);
    const answer = (value: unknown) => this.#answer(pending, handler, version, correlationId, value);
    try {
      const result = handler.handle(this.#context, body as never, version, this);
      if (result instanceof Promise) {
        if (handler.pipelined !== true) this.#exclusive = true;
        result.then(answer).catch((error: unknown) => this.#failed(pending, handler, version, correlationId, error));
      } else answer(result);
    } catch (error) {
      this.#failed(pending, handler, version, correlationId, error);
    }
  }

  #answer(pending: Pending, handler: Handler, version: number, correlationId: number, value: unknown): void {
    if (handler.pipelined !== true) this.#exclusive = false;
    pending.chunks = value === NO_RESPONSE ? null : encodeResponse(handler.api, version, correlationId, value as never);
    pending.answered = true;
    this.#flush();
  }

  /** A thrown error becomes the response's own errorCode where this version has one. */
  #failed(pending: Pending, handler: Handler, version: number, correlationId: number, thrown: unknown): void {
    const error = asHeadwaterError(thrown);
    const { name, response } = handler.api;
    const level = error.code === 'INTERNAL' ? 'error' : 'debug';
    this.#context.logger[level]({ api: name, version, code: error.code, error: error.stack }, 'a Kafka request failed');
    this.#context.metrics.error(error.kafkaCode);
    const row = response['errorCode'];
    const [min, max] = row === undefined ? [1, 0] : parseVersions(row.versions);
    if (version >= min && version <= max && !pending.answered) {
      this.#answer(pending, handler, version, correlationId, {
        errorCode: error.kafkaCode,
        errorMessage: error.message,
      });
      return;
    }
    pending.answered = true;
    this.#abort('request failed', { api: name, version, error: error.message });
    this.#flush();
  }

  #refuseApiVersions(correlationId: number): void {
    const [minVersion, maxVersion] = apiVersions.advertise;
    this.#context.metrics.error(KAFKA_ERROR.UNSUPPORTED_VERSION);
    const chunks = encodeResponse(apiVersions, 0, correlationId, {
      errorCode: KAFKA_ERROR.UNSUPPORTED_VERSION,
      apiKeys: [{ apiKey: apiVersions.key, minVersion, maxVersion }],
    });
    this.#pending.push({ answered: true, chunks });
    this.#flush();
  }

  /** Sends what is answered, in request order, then goes on with what waited for that. */
  #flush(): void {
    let sent = 0;
    for (const { answered, chunks } of this.#pending) {
      if (!answered) break;
      sent++;
      if (chunks !== null) this.#output.send(chunks);
    }
    if (sent > 0) this.#pending.splice(0, sent);
    if (this.#pending.length > 0) return;
    const next = this.#afterPending;
    if (next !== null) {
      this.#afterPending = null;
      this.#exclusive = false;
      next();
    } else if (this.#state === 'ending') this.#finish();
    if (this.#pumping) return;
    this.#pump();
  }
}
