/**
 * A Kafka cluster of one broker (or two) on loopback with Kafka's rules for idempotent producers, and faults to order: answers that
 * are lost after or before the append, error codes, silence, throttling, leaders that move, producers forgotten, records lost.
 */
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { FrameReader } from '../../src/client/frames.ts';
import type { Clock } from '../../src/env.ts';
import { systemEnv } from '../../src/env.ts';
import {
  addToSequence,
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  baseSequenceOf,
  codecOf,
  lastOffsetDeltaOf,
  lastSequenceOf,
  nextOffsetOf,
  patchBaseOffset,
  producerEpochOf,
  producerIdOf,
  validateProducedBatch,
} from '../../src/wire/batch/record-batch.ts';
import { RecordCursor } from '../../src/wire/batch/record-cursor.ts';
import { produce } from '../../src/wire/kafka/api/00-produce.ts';
import { fetch } from '../../src/wire/kafka/api/01-fetch.ts';
import { listOffsets } from '../../src/wire/kafka/api/02-list-offsets.ts';
import { metadata } from '../../src/wire/kafka/api/03-metadata.ts';
import { apiVersions } from '../../src/wire/kafka/api/18-api-versions.ts';
import { createTopics } from '../../src/wire/kafka/api/19-create-topics.ts';
import { initProducerId } from '../../src/wire/kafka/api/22-init-producer-id.ts';
import { describeConfigs } from '../../src/wire/kafka/api/32-describe-configs.ts';
import { createPartitions } from '../../src/wire/kafka/api/37-create-partitions.ts';
import { decodeRequest, encodeResponse, readRequestHeader } from '../../src/wire/kafka/message.ts';
import type { Api, RequestOf, ResponseInput } from '../../src/wire/kafka/schema.ts';

const APIS: readonly Api[] = [
  produce,
  fetch,
  listOffsets,
  metadata,
  apiVersions,
  createTopics,
  initProducerId,
  createPartitions,
  describeConfigs,
];

/** The tests compress with gzip only. */
function cursorOf(batch: Buffer): RecordCursor {
  return new RecordCursor(
    batch,
    codecOf(batch) === 'none' ? undefined : gunzipSync(batch.subarray(BATCH_HEADER_BYTES)),
  );
}

interface ProducerEntry {
  epoch: number;
  batches: { first: number; last: number; baseOffset: number }[];
}

export class FakePartition {
  batches: Buffer[] = [];
  /** The broker that serves it; the other one refuses with NOT_LEADER_OR_FOLLOWER. */
  leader = 1;
  /** The leader as Metadata has it, while that is not known everywhere yet. */
  leaderInMetadata: number | null = null;
  start = 0;
  /** Batches at the end that are appended and not committed: nobody can read them. */
  uncommitted = 0;
  maxMessageBytes = 1_048_588;
  /** What a Fetch gets instead of records; 0: none. */
  fetchError = 0;
  readonly producers = new Map<number, ProducerEntry>();

  get end(): number {
    const last = this.batches.at(-1);
    return last === undefined ? this.start : nextOffsetOf(last);
  }

  get committed(): { readonly batches: readonly Buffer[]; readonly end: number } {
    const batches = this.batches.slice(0, this.batches.length - this.uncommitted);
    const last = batches.at(-1);
    return { batches, end: last === undefined ? this.start : nextOffsetOf(last) };
  }

  /** KIP-98 as today's Kafka does it: an error code and a base offset. */
  append(input: Uint8Array): { code: number; baseOffset: number } {
    const batch = Buffer.from(input);
    validateProducedBatch(batch);
    cursorOf(batch).checkDense();
    if (batch.length > this.maxMessageBytes) return { code: 10, baseOffset: -1 };
    const id = producerIdOf(batch);
    const first = baseSequenceOf(batch);
    const last = lastSequenceOf(batch);
    const epoch = producerEpochOf(batch);
    if (id >= 0) {
      const entry = this.producers.get(id);
      if (entry !== undefined) {
        if (epoch < entry.epoch) return { code: 47, baseOffset: -1 };
        if (epoch > entry.epoch && first !== 0) return { code: 45, baseOffset: -1 };
        if (epoch === entry.epoch) {
          const copy = entry.batches.find((one) => one.first === first && one.last === last);
          if (copy !== undefined) {
            // With acks=all the answer waits until it is committed.
            const behind = this.batches.filter((one) => baseOffsetOf(one) > copy.baseOffset).length;
            this.uncommitted = Math.min(this.uncommitted, behind);
            return { code: 0, baseOffset: copy.baseOffset };
          }
          if (first !== addToSequence(entry.batches.at(-1)!.last, 1)) return { code: 45, baseOffset: -1 };
        }
      }
    }
    const baseOffset = this.end;
    patchBaseOffset(batch, baseOffset);
    this.batches.push(batch);
    if (id >= 0) {
      const before = this.producers.get(id);
      const batches = before?.epoch === epoch ? before.batches : [];
      this.producers.set(id, { epoch, batches: [...batches, { first, last, baseOffset }].slice(-5) });
    }
    return { code: 0, baseOffset };
  }

  /** An unclean leader election: records and what was known of their producers. */
  loseLast(count: number): void {
    this.batches.splice(this.batches.length - count, count);
    this.producers.clear();
    for (const batch of this.batches) {
      const id = producerIdOf(batch);
      const entry = {
        first: baseSequenceOf(batch),
        last: lastSequenceOf(batch),
        baseOffset: nextOffsetOf(batch) - lastOffsetDeltaOf(batch) - 1,
      };
      const before = this.producers.get(id);
      this.producers.set(id, { epoch: producerEpochOf(batch), batches: [...(before?.batches ?? []), entry].slice(-5) });
    }
  }

  values(): string[] {
    const values: string[] = [];
    for (const batch of this.batches) {
      const cursor = cursorOf(batch);
      while (cursor.next()) values.push(String(cursor.value));
    }
    return values;
  }
}

/** What happens to the next Produce request. */
export type Fault =
  | { readonly kind: 'drop-after-append' }
  | { readonly kind: 'drop-before-append' }
  | { readonly kind: 'code'; readonly code: number; readonly append?: boolean }
  | { readonly kind: 'silence' }
  /** On this connection only: nothing more is read from it. */
  | { readonly kind: 'dead-connection'; readonly append: boolean };

export class FakeKafka {
  readonly topics = new Map<string, { id: string; partitions: FakePartition[] }>();
  readonly faults: Fault[] = [];
  readonly requests: RequestOf<typeof produce>[] = [];
  clusterId = 'FakeCluster';
  /** Metadata requests answered so far. */
  metadataRequests = 0;
  /** As without the permission to read them. */
  hidesConfigs = false;
  port = 0;
  autoFaults: (() => Fault | null) | null = null;
  /**
   * `throttle_time_ms` of every Produce answer. As Kafka does it since KIP-219: the answer goes out at once, and then nothing is read from
   * this connection for so long.
   */
  throttleMs = 0;
  clock: Clock = systemEnv.clock;
  /** When (by `clock`) each Produce request came, whether it was read at once or not. */
  readonly arrivals: number[] = [];
  /** Connections accepted so far. */
  connections = 0;
  /** Grows with everything that comes in. */
  activity = 0;
  #server: Server;
  #second: { readonly server: Server; readonly port: number } | null = null;
  readonly #sockets = new Set<Socket>();
  /** Those that nothing is read from: what waits there until the throttle is over; null: for ever. */
  readonly #muted = new Map<Socket, Buffer[] | null>();
  #nextProducer = 1000;
  #nextTopic = 1;
  #silent = false;

  private constructor() {
    this.#server = this.#newServer(1);
  }

  #newServer(node: number): Server {
    return createServer((socket) => {
      this.#sockets.add(socket);
      this.connections++;
      this.activity++;
      const frames = new FrameReader(16 * 1024 * 1024);
      socket.on('data', (chunk: Buffer) => frames.push(chunk, (frame) => this.#receive(socket, node, frame)));
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        this.#muted.delete(socket);
      });
    });
  }

  /** Broker 2: it leads what is given to it. */
  async addBroker(): Promise<void> {
    const server = this.#newServer(2);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    this.#second = { server, port: (server.address() as { port: number }).port };
  }

  static async start(): Promise<FakeKafka> {
    const kafka = new FakeKafka();
    await kafka.listen();
    return kafka;
  }

  async listen(): Promise<void> {
    this.#server = this.#newServer(1);
    await new Promise<void>((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve));
    this.port = (this.#server.address() as { port: number }).port;
  }

  get bootstrap(): string {
    return `127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    if (this.#second !== null) await new Promise((resolve) => this.#second!.server.close(resolve));
  }

  /** Reads and never answers, on every connection there is now. */
  set silent(silent: boolean) {
    this.#silent = silent;
  }

  partition(topic: string, index = 0): FakePartition {
    return this.topics.get(topic)!.partitions[index]!;
  }

  create(name: string, partitions: number): void {
    this.topics.set(name, {
      id: String(this.#nextTopic++).padStart(32, '0'),
      partitions: Array.from({ length: partitions }, () => new FakePartition()),
    });
  }

  /** As after `producer.id.expiration.ms`. */
  forgetProducers(): void {
    for (const { partitions } of this.topics.values()) for (const partition of partitions) partition.producers.clear();
  }

  #receive(socket: Socket, node: number, frame: Buffer): void {
    this.activity++;
    if (readRequestHeader(frame).apiKey === produce.key) this.arrivals.push(this.clock.monotonic());
    if (this.#muted.has(socket)) this.#muted.get(socket)?.push(frame);
    else this.#serve(socket, node, frame);
  }

  #throttle(socket: Socket, node: number, ms: number): void {
    const waiting: Buffer[] = [];
    this.#muted.set(socket, waiting);
    this.clock.after(ms, () => {
      if (this.#muted.get(socket) !== waiting) return;
      this.#muted.delete(socket);
      for (const frame of waiting) {
        const again = this.#muted.get(socket);
        if (again === undefined) this.#serve(socket, node, frame);
        else again?.push(frame);
      }
    });
  }

  #serve(socket: Socket, node: number, frame: Buffer): void {
    if (this.#silent || socket.destroyed) return;
    const { apiKey, apiVersion, correlationId } = readRequestHeader(frame);
    const api = APIS.find(({ key }) => key === apiKey)!;
    const { body } = decodeRequest(api, apiVersion, frame);
    const answer = this.#answer(api, body, socket, node);
    if (answer === null || socket.destroyed) return;
    socket.write(Buffer.concat(encodeResponse(api, apiVersion, correlationId, answer as ResponseInput<Api>)));
    if (api === produce && this.throttleMs > 0) this.#throttle(socket, node, this.throttleMs);
  }

  #answer(api: Api, body: unknown, socket: Socket, node: number): unknown {
    switch (api) {
      case apiVersions:
        return {
          errorCode: 0,
          apiKeys: APIS.map(({ key, advertise: [minVersion, maxVersion] }) => ({
            apiKey: key,
            minVersion,
            maxVersion,
          })),
        };
      case metadata:
        return this.#metadata(body as RequestOf<typeof metadata>);
      case initProducerId:
        return { errorCode: 0, producerId: this.#nextProducer++, producerEpoch: 0 };
      case createTopics: {
        const { topics } = body as RequestOf<typeof createTopics>;
        for (const { name, numPartitions } of topics) this.create(name, numPartitions === -1 ? 1 : numPartitions);
        return {
          topics: topics.map(({ name, numPartitions }) => ({
            name,
            errorCode: 0,
            numPartitions,
            replicationFactor: 1,
          })),
        };
      }
      case createPartitions: {
        const { topics } = body as RequestOf<typeof createPartitions>;
        for (const { name, count } of topics) {
          const { partitions } = this.topics.get(name)!;
          while (partitions.length < count) partitions.push(new FakePartition());
        }
        return { results: topics.map(({ name }) => ({ name, errorCode: 0 })) };
      }
      case describeConfigs: {
        const { resourceName, resourceType } = (body as RequestOf<typeof describeConfigs>).resources[0]!;
        const value = String(this.partition(resourceName).maxMessageBytes);
        const row = { name: 'max.message.bytes', value, readOnly: false, isSensitive: false };
        const errorCode = this.hidesConfigs ? 29 : 0;
        return { results: [{ errorCode, resourceName, resourceType, configs: errorCode === 0 ? [row] : [] }] };
      }
      case listOffsets:
        return {
          topics: (body as RequestOf<typeof listOffsets>).topics.map(({ name, partitions }) => ({
            name,
            partitions: partitions.map(({ partitionIndex, timestamp }) => {
              const { start, committed, leader } = this.partition(name, partitionIndex);
              const { end } = committed;
              if (leader !== node) return { partitionIndex, errorCode: 6, timestamp: -1, offset: -1 };
              return { partitionIndex, errorCode: 0, timestamp: -1, offset: timestamp === -2 ? start : end };
            }),
          })),
        };
      case fetch:
        return this.#fetch(body as RequestOf<typeof fetch>, node);
      default:
        return this.#produce(body as RequestOf<typeof produce>, socket, node);
    }
  }

  #metadata({ topics }: RequestOf<typeof metadata>): unknown {
    this.metadataRequests++;
    const names = topics === null ? [...this.topics.keys()] : topics.map(({ name }) => name!);
    return {
      brokers: [
        { nodeId: 1, host: '127.0.0.1', port: this.port },
        ...(this.#second === null ? [] : [{ nodeId: 2, host: '127.0.0.1', port: this.#second.port }]),
      ],
      clusterId: this.clusterId,
      controllerId: 1,
      topics: names.map((name) => {
        const topic = this.topics.get(name);
        if (topic === undefined) return { errorCode: 3, name, partitions: [] };
        return {
          errorCode: 0,
          name,
          topicId: topic.id,
          partitions: topic.partitions.map(({ leader, leaderInMetadata }, partitionIndex) => ({
            errorCode: 0,
            partitionIndex,
            leaderId: leaderInMetadata ?? leader,
            replicaNodes: [1],
            isrNodes: [1],
          })),
        };
      }),
    };
  }

  #fetch({ topics }: RequestOf<typeof fetch>, node: number): unknown {
    return {
      responses: topics.map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.map(({ partition: partitionIndex, fetchOffset, partitionMaxBytes }) => {
          const { start, committed, leader, fetchError } = this.partition(topic, partitionIndex);
          const { batches, end } = committed;
          const records: Buffer[] = [];
          let bytes = 0;
          for (const batch of batches) {
            if (nextOffsetOf(batch) <= fetchOffset) continue;
            if (records.length > 0 && bytes + batch.length > partitionMaxBytes) break;
            records.push(batch);
            bytes += batch.length;
          }
          const outOfRange = fetchOffset < start || fetchOffset > end ? 1 : 0;
          const errorCode = leader === node ? fetchError || outOfRange : 6;
          const answer = { partitionIndex, errorCode, highWatermark: end, abortedTransactions: null };
          return { ...answer, records: errorCode === 0 ? Buffer.concat(records) : null };
        }),
      })),
    };
  }

  #produce(body: RequestOf<typeof produce>, socket: Socket, node: number): unknown {
    this.requests.push(body);
    const fault = this.faults.shift() ?? this.autoFaults?.() ?? null;
    if (fault?.kind === 'silence') {
      this.#silent = true;
      return null;
    }
    if (fault?.kind === 'drop-before-append') {
      socket.destroy();
      return null;
    }
    if (fault?.kind === 'dead-connection') {
      this.#muted.set(socket, null);
      if (!fault.append) return null;
    }
    const responses = body.topicData.map(({ name, partitionData }) => ({
      name,
      partitionResponses: partitionData.map(({ index, records }) => {
        if (fault?.kind === 'code' && fault.append !== true) return { index, errorCode: fault.code, baseOffset: -1 };
        const partition = this.partition(name, index);
        if (partition.leader !== node) return { index, errorCode: 6, baseOffset: -1 };
        const { code, baseOffset } = partition.append(records!);
        return { index, errorCode: fault?.kind === 'code' ? fault.code : code, baseOffset };
      }),
    }));
    if (fault?.kind === 'drop-after-append') {
      socket.destroy();
      return null;
    }
    if (fault?.kind === 'dead-connection') return null;
    return { responses, throttleTimeMs: this.throttleMs };
  }
}
