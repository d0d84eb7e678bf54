/** A Kafka edge on a free loopback port, over a memory log, with the real network. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { systemEnv } from '../../src/env.ts';
import { KafkaEdge, type KafkaEdgeDependencies, type KafkaEdgeOptions } from '../../src/kafka/edge.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { decodeResponse, encodeRequest, readCorrelationId } from '../../src/wire/kafka/message.ts';
import type { Api, RequestInput, ResponseOf } from '../../src/wire/kafka/schema.ts';
import { startCoordinators } from './coordinators.ts';
import { MemoryLog } from './memory-log.ts';

export interface StartedEdge {
  readonly edge: KafkaEdge;
  readonly log: MemoryLog;
  readonly metrics: Metrics;
  readonly port: number;
  /** The value of a counter or gauge, by name and label value. */
  metric(name: string, label?: string): number;
}

export async function startEdge(
  options: Partial<KafkaEdgeOptions> = {},
  dependencies: Partial<KafkaEdgeDependencies> = {},
): Promise<StartedEdge> {
  const log = new MemoryLog();
  const metrics = new Metrics();
  const edge = new KafkaEdge(
    {
      listeners: [{ name: 'PLAINTEXT', host: '127.0.0.1', port: 0, advertised: null, secure: null }],
      identity: { nodeId: 1, clusterId: 'HeadwaterTestCluster01', rack: null },
      settings: {
        autoCreateTopics: true,
        deleteTopics: true,
        brokerSettings: () => [
          { name: 'num.partitions', value: '1', isDefault: true, sensitive: false, doc: 'partitions of a new topic' },
          { name: 'ssl.key', value: 'secret', isDefault: false, sensitive: true, doc: 'a key' },
        ],
        topicDefaults: () => new Map([['retention.ms', '3600000']]),
        logDir: '/data',
        logDirSpace: async () => ({ totalBytes: 1000, usableBytes: 400 }),
      },
      ...options,
    },
    {
      env: systemEnv,
      logger: silentLogger,
      metrics,
      log,
      transactionGate: { admits: () => 48 },
      ...(await startCoordinators(systemEnv, log)),
      ...dependencies,
    },
  );
  const [bound] = await edge.start();
  return {
    edge,
    log,
    metrics,
    port: bound!.port,
    metric(name, label) {
      for (const family of metrics.families()) {
        if (family.name !== name) continue;
        for (const { labels, value } of family.samples()) {
          if (label === undefined || Object.values(labels).includes(label)) return value;
        }
      }
      return 0;
    },
  };
}

/** A client of raw frames: what real clients never send can be sent with it. */
export class RawClient {
  readonly socket: Socket;
  #buffer = Buffer.alloc(0);
  readonly #frames: Buffer[] = [];
  #wanted: (() => void) | null = null;
  #correlation = 0;
  closed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      while (this.#buffer.length >= 4 && this.#buffer.length >= 4 + this.#buffer.readInt32BE(0)) {
        const end = 4 + this.#buffer.readInt32BE(0);
        this.#frames.push(this.#buffer.subarray(4, end));
        this.#buffer = this.#buffer.subarray(end);
      }
      this.#wanted?.();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.#wanted?.();
    });
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  /** Frames received that nobody took yet. */
  get received(): number {
    return this.#frames.length;
  }

  /** The next frame without its size, or null when the connection closed first. */
  async frame(): Promise<Buffer | null> {
    while (this.#frames.length === 0 && !this.closed) {
      await new Promise<void>((resolve) => {
        this.#wanted = resolve;
      });
    }
    return this.#frames.shift() ?? null;
  }

  async whenClosed(): Promise<void> {
    if (!this.closed) await once(this.socket, 'close');
  }

  /** Sends without waiting; returns the correlation id. */
  send<A extends Api>(api: A, version: number, body: RequestInput<A>): number {
    const id = ++this.#correlation;
    this.socket.write(Buffer.concat(encodeRequest(api, version, id, 'raw', body)));
    return id;
  }

  /** Takes the next frame as the answer to `id`. */
  async answer<A extends Api>(api: A, version: number, id: number): Promise<ResponseOf<A>> {
    const frame = await this.frame();
    if (frame === null) throw new Error(`closed before the answer to ${api.name} came`);
    if (readCorrelationId(frame) !== id) throw new Error(`answer to ${readCorrelationId(frame)} instead of ${id}`);
    return decodeResponse(api, version, frame);
  }

  request<A extends Api>(api: A, version: number, body: RequestInput<A>): Promise<ResponseOf<A>> {
    return this.answer(api, version, this.send(api, version, body));
  }

  close(): void {
    this.socket.destroy();
  }
}
