/** The Kafka edge: its listeners and the connections they accept. */
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Env, Timer } from '../env.ts';
import type { GroupCoordinator } from '../groups/coordinator.ts';
import { KAFKA_CONNECTIONS_MAX } from '../limits.ts';
import type { Log } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { Quotas } from '../quotas/quotas.ts';
import type { TransactionCoordinator } from '../transactions/coordinator.ts';
import { Connection } from './connection.ts';
import type {
  Access,
  BrokerIdentity,
  KafkaContext,
  KafkaSettings,
  Pair,
  TransactionGate,
  UserStore,
} from './context.ts';
import type { HandlerTable } from './handler.ts';
import { createHandlers } from './handlers.ts';
import { edgeMetrics } from './metrics.ts';
import type { SharedBytes } from './output.ts';
import { SaslSession, type SaslSource } from './sasl.ts';

export interface KafkaListenerOptions {
  /** As in Kafka's `listeners`: PLAINTEXT, SSL, LAN, ... */
  readonly name: string;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** advertised.listeners; null: the address and port that the client reached us at (right behind no NAT). */
  readonly advertised: { readonly host: string; readonly port: number } | null;
  /** Wraps an accepted socket in TLS; null: plain text. */
  readonly secure: ((socket: Socket) => Socket) | null;
  /** null or absent: whoever reaches the listener may use it. */
  readonly sasl?: SaslSource | null;
}

export interface KafkaEdgeOptions {
  readonly listeners: readonly KafkaListenerOptions[];
  readonly identity: BrokerIdentity;
  readonly settings: KafkaSettings;
  /** kafka.max.connections, at most KAFKA_CONNECTIONS_MAX; one more is closed at once. */
  readonly maxConnections?: number;
  /** connections.max.idle.ms: a connection without a byte in either direction for this long is closed. Default 600000. */
  readonly maxIdleMs?: number;
}

export interface KafkaEdgeDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Access rules; null or absent: everybody may do everything. */
  readonly access?: Access | null;
  readonly users?: UserStore | null;
  readonly quotas?: Quotas | null;
  /** Whether no new connections are taken for want of memory. Default: never. */
  readonly overloaded?: () => boolean;
  /** Absent: the broker stands alone. */
  readonly pair?: Pair | null;
  readonly transactionGate: TransactionGate;
  readonly groups: GroupCoordinator;
  readonly transactions: TransactionCoordinator;
}

export interface BoundAddress {
  readonly listener: string;
  readonly host: string;
  readonly port: number;
}

const IDLE_CHECK_MS = 30_000;
const STOP_MAX_MS = 1_000;
const AUTHENTICATION_MAX_MS = 30_000;

export class KafkaEdge {
  readonly #options: KafkaEdgeOptions;
  readonly #env: Env;
  readonly #logger: Logger;
  readonly #overloaded: () => boolean;
  readonly #context: KafkaContext;
  readonly #handlers: HandlerTable;
  readonly #shared: SharedBytes = { partial: 0, output: 0 };
  readonly #connections = new Set<Connection>();
  readonly #servers: Server[] = [];
  #idleTimer: Timer | null = null;
  #nextId = 1;
  #emptied: (() => void) | null = null;

  constructor(options: KafkaEdgeOptions, dependencies: KafkaEdgeDependencies) {
    const { metrics, overloaded, ...parts } = dependencies;
    const shared = this.#shared;
    this.#options = options;
    this.#overloaded = overloaded ?? (() => false);
    this.#env = dependencies.env;
    this.#logger = dependencies.logger;
    this.#handlers = createHandlers();
    this.#context = {
      ...parts,
      access: dependencies.access ?? null,
      pair: dependencies.pair ?? null,
      users: dependencies.users ?? null,
      quotas: dependencies.quotas ?? null,
      identity: options.identity,
      settings: options.settings,
      metrics: edgeMetrics(
        metrics,
        () => this.#connections.size,
        () => shared.output,
      ),
      get outputBytes() {
        return shared.output;
      },
    };
  }

  /** Binds every listener; when one fails (EADDRINUSE, EACCES) those bound before are closed again and the error is thrown. */
  async start(): Promise<BoundAddress[]> {
    const bound: BoundAddress[] = [];
    try {
      for (const listener of this.#options.listeners) bound.push(await this.#listen(listener));
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#idleTimer = this.#env.clock.every(IDLE_CHECK_MS, () => this.#closeIdle());
    return bound;
  }

  /** Accepts no more, ends long polls, waits up to a second for what is in flight to be answered, then closes. */
  async stop(): Promise<void> {
    this.#idleTimer?.cancel();
    this.#idleTimer = null;
    const servers = this.#servers.splice(0);
    const released = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const connection of [...this.#connections]) connection.stop();
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#env.clock.after(STOP_MAX_MS, resolve);
        this.#emptied = () => {
          timer.cancel();
          resolve();
        };
      });
      this.#emptied = null;
      for (const connection of [...this.#connections]) connection.destroy();
    }
    await Promise.all(released);
  }

  async #listen(listener: KafkaListenerOptions): Promise<BoundAddress> {
    const server = this.#env.net.server((socket) => this.#accept(socket, listener, address));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listener.port, listener.host, () => {
        server.off('error', reject);
        resolve();
      });
    });
    server.on('error', (error) => {
      this.#logger.error({ listener: listener.name, error: error.message }, 'a Kafka listener failed');
    });
    this.#servers.push(server);
    const address = server.address() as AddressInfo;
    return { listener: listener.name, host: address.address, port: address.port };
  }

  #accept(accepted: Socket, listener: KafkaListenerOptions, address: AddressInfo): void {
    const { metrics } = this.#context;
    const limit = Math.min(this.#options.maxConnections ?? KAFKA_CONNECTIONS_MAX, KAFKA_CONNECTIONS_MAX);
    if (this.#overloaded()) {
      metrics.refusedConnections.value += 1;
      accepted.destroy();
      return;
    }
    if (this.#connections.size >= limit) {
      metrics.refusedConnections.value += 1;
      this.#logger.warn({ limit, remote: accepted.remoteAddress }, 'refusing a Kafka connection: limit reached');
      accepted.destroy();
      return;
    }
    metrics.connections.value += 1;
    const socket = listener.secure === null ? accepted : listener.secure(accepted);
    const connection = new Connection({
      id: this.#nextId++,
      socket,
      secure: listener.secure !== null,
      listener: listener.name,
      advertised: listener.advertised ?? { host: hostOf(accepted.localAddress ?? listener.host), port: address.port },
      context: this.#context,
      handlers: this.#handlers,
      shared: this.#shared,
      sasl: listener.sasl == null ? null : new SaslSession(listener.sasl, hostOf(accepted.remoteAddress ?? '')),
      onClosed: (closed) => {
        this.#connections.delete(closed);
        if (this.#connections.size === 0) this.#emptied?.();
      },
    });
    this.#connections.add(connection);
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Closes the `count` that came last. */
  shedNewest(count: number): void {
    for (const connection of [...this.#connections].slice(-count)) {
      this.#context.metrics.closed('memory').value += 1;
      connection.destroy();
    }
  }

  /** Long polls may take as long as they like; who was asked to authenticate may not. */
  #closeIdle(): void {
    const now = this.#env.clock.monotonic();
    const maxIdleMs = this.#options.maxIdleMs ?? 600_000;
    for (const connection of this.#connections) {
      const known = connection.admitted;
      if (connection.inFlight > 0 || connection.throttled) continue;
      if (now - connection.lastActivity < (known ? maxIdleMs : AUTHENTICATION_MAX_MS)) continue;
      this.#context.metrics.closed(known ? 'idle' : 'not authenticated in time').value += 1;
      connection.destroy();
    }
  }
}

/** IPv4 clients of a dual-stack socket must be told an IPv4 address. */
function hostOf(address: string): string {
  return address.replace(/^::ffff:/, '');
}
