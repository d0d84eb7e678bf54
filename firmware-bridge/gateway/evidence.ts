/**
 * What the log holds, read from the log: the broker's Kafka listener gives back the records that the gateway published, with
 * device, epoch and sequence as their headers. Only Metadata, ListOffsets, OffsetForLeaderEpoch and Fetch are spoken, in versions
 * that every broker since Kafka 2.1 knows (Headwater and Kafka 4 do).
 */
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { eachRecord } from './record-batch.ts';

/** Partition -> the offset from which the log has to be read. */
export type Offsets = ReadonlyMap<number, number>;
export type Found = (device: string, epoch: number, sequence: number) => void;

/** Offsets of a partition. */
export type WaitedFor = { readonly partition: number; readonly from: number; readonly to: number };

export interface Evidence {
  /** Reports every reading of ours from `from` on (from the log's start in partitions that it does not name). */
  read(from: Offsets, found: Found): Promise<void>;
  /** Where the log ends now. */
  ends(): Promise<Offsets>;
  close(): void;
}

/** A broker of which only MQTT is known. After a crash readings on their way then may be published a second time. */
export const noEvidence: Evidence = {
  read: () => Promise.resolve(),
  ends: () => Promise.resolve(new Map()),
  close: () => {},
};

const METADATA = { key: 3, version: 7 } as const;
const LIST_OFFSETS = { key: 2, version: 1 } as const;
const OFFSET_FOR_LEADER_EPOCH = { key: 23, version: 2 } as const;
/** The first that is given zstd (KIP-110). */
const FETCH = { key: 1, version: 10 } as const;
const NO_SESSION = [0, -1] as const;
const EARLIEST = -2;
const LATEST = -1;
const FETCH_WAIT_MS = 500;
const FETCH_BYTES = 1 << 20;
const MAX_RESPONSE = 64 << 20;
const TIMEOUT_MS = 10_000;
const OFFSET_OUT_OF_RANGE = 1;
const UNKNOWN_TOPIC = 3;

/** Writes the few types that the three requests are made of. */
class Writer {
  readonly #parts: Buffer[] = [];

  #put(size: number, write: (buffer: Buffer) => void): this {
    const buffer = Buffer.alloc(size);
    write(buffer);
    this.#parts.push(buffer);
    return this;
  }

  int8(value: number): this {
    return this.#put(1, (buffer) => buffer.writeInt8(value));
  }

  int16(value: number): this {
    return this.#put(2, (buffer) => buffer.writeInt16BE(value));
  }

  int32(value: number): this {
    return this.#put(4, (buffer) => buffer.writeInt32BE(value));
  }

  int64(value: number): this {
    return this.#put(8, (buffer) => buffer.writeBigInt64BE(BigInt(value)));
  }

  string(value: string): this {
    this.int16(Buffer.byteLength(value));
    this.#parts.push(Buffer.from(value));
    return this;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  #step(size: number): number {
    this.#at += size;
    return this.#at - size;
  }

  int8 = (): number => this.#bytes.readInt8(this.#step(1));
  int16 = (): number => this.#bytes.readInt16BE(this.#step(2));
  int32 = (): number => this.#bytes.readInt32BE(this.#step(4));
  int64 = (): number => Number(this.#bytes.readBigInt64BE(this.#step(8)));

  string(): string | null {
    const size = this.int16();
    return size < 0 ? null : this.#bytes.toString('utf8', this.#step(size), this.#at);
  }

  bytes(): Buffer {
    const size = Math.max(0, this.int32());
    return this.#bytes.subarray(this.#step(size), this.#at);
  }

  array<T>(read: () => T): T[] {
    const count = this.int32();
    const items: T[] = [];
    for (let i = 0; i < count; i++) items.push(read());
    return items;
  }
}

/** One connection, one request at a time. */
class Connection {
  readonly #socket: Socket;
  readonly #clientId: string;
  #chunks: Buffer[] = [];
  #size = 0;
  #waiting: { resolve: (response: Reader) => void; reject: (error: Error) => void } | undefined;
  #correlation = 0;

  constructor(host: string, port: number, clientId: string) {
    this.#clientId = clientId;
    this.#socket = connect({ host, port });
    this.#socket.setTimeout(TIMEOUT_MS, () => this.#socket.destroy(new Error(`no answer from ${host}:${port}`)));
    this.#socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.#socket.on('error', (error) => this.#waiting?.reject(error));
    this.#socket.on('close', () => this.#waiting?.reject(new Error(`${host}:${port} closed the connection`)));
  }

  close(): void {
    this.#socket.destroy();
  }

  request(api: { key: number; version: number }, body: Buffer): Promise<Reader> {
    const header = new Writer()
      .int16(api.key)
      .int16(api.version)
      .int32(++this.#correlation)
      .string(this.#clientId)
      .bytes();
    const size = new Writer().int32(header.length + body.length).bytes();
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new Error('the connection is closed'));
      this.#waiting = { resolve, reject };
      this.#socket.write(Buffer.concat([size, header, body]));
    });
  }

  #onData(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size < 4) return;
    if (this.#chunks[0]!.length < 4) this.#chunks = [Buffer.concat(this.#chunks)];
    const size = this.#chunks[0]!.readInt32BE(0);
    if (size < 4 || size > MAX_RESPONSE) {
      this.#socket.destroy(new Error(`a response of ${size} bytes: is this a Kafka listener?`));
      return;
    }
    if (this.#size < size + 4) return;
    const response = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#size = 0;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve(new Reader(response.subarray(8)));
  }
}

export class KafkaEvidence implements Evidence {
  readonly #host: string;
  readonly #port: number;
  readonly #topic: string;
  readonly #clientId: string;
  readonly #onWait: (range: WaitedFor) => void;
  #open: Connection | undefined;

  /** `bootstrap` as host:port, `topic` the log topic that the readings are routed to. `onWait`: the log holds records that wait
   *  for their replicas, and the reading waits with them. */
  constructor(bootstrap: string, topic: string, clientId: string, onWait: (range: WaitedFor) => void = () => {}) {
    this.#onWait = onWait;
    const colon = bootstrap.lastIndexOf(':');
    this.#host = bootstrap.slice(0, colon).replace(/^\[|\]$/g, '');
    this.#port = Number(bootstrap.slice(colon + 1));
    this.#topic = topic;
    this.#clientId = clientId;
  }

  close(): void {
    this.#open?.close();
  }

  async read(from: Offsets, found: Found): Promise<void> {
    await this.#with(async (connection) => {
      const epochs = await this.#partitions(connection);
      const starts = await this.#offsets(connection, [...epochs.keys()], EARLIEST);
      for (const [partition, epoch] of epochs) {
        const start = Math.max(starts.get(partition)!, from.get(partition) ?? 0);
        await this.#scan(connection, { partition, epoch, start }, found);
      }
    });
  }

  ends(): Promise<Offsets> {
    return this.#with(async (connection) =>
      this.#offsets(connection, [...(await this.#partitions(connection)).keys()], LATEST),
    );
  }

  async #with<T>(run: (connection: Connection) => Promise<T>): Promise<T> {
    // What was asked for on an earlier connection to the broker is of no use any more.
    this.#open?.close();
    const connection = new Connection(this.#host, this.#port, this.#clientId);
    this.#open = connection;
    try {
      return await run(connection);
    } finally {
      connection.close();
    }
  }

  /** Partition -> leader epoch. None when the topic does not exist yet: then nothing of ours can be in it. */
  async #partitions(connection: Connection): Promise<Map<number, number>> {
    const response = await connection.request(METADATA, new Writer().int32(1).string(this.#topic).int8(0).bytes());
    response.int32(); // throttle time
    response.array(() => [response.int32(), response.string(), response.int32(), response.string()]);
    response.string(); // cluster id
    response.int32(); // controller
    const topics = response.array(() => {
      const error = response.int16();
      response.string();
      response.int8();
      const partitions = response.array(() => {
        response.int16();
        const index = response.int32();
        response.int32(); // leader
        const epoch = response.int32();
        response.array(response.int32); // replicas
        response.array(response.int32); // in sync
        response.array(response.int32); // offline
        return [index, epoch] as const;
      });
      return { error, partitions };
    });
    const error = topics[0]?.error ?? UNKNOWN_TOPIC;
    if (error === UNKNOWN_TOPIC) return new Map();
    if (error !== 0) throw new Error(`topic ${this.#topic}: Kafka error ${error}`);
    return new Map(topics[0]!.partitions);
  }

  async #offsets(connection: Connection, partitions: readonly number[], time: number): Promise<Offsets> {
    if (partitions.length === 0) return new Map();
    const request = new Writer().int32(-1).int32(1).string(this.#topic).int32(partitions.length);
    for (const partition of partitions) request.int32(partition).int64(time);
    const response = await connection.request(LIST_OFFSETS, request.bytes());
    const offsets = new Map<number, number>();
    response.array(() => {
      response.string();
      return response.array(() => {
        const partition = response.int32();
        const error = response.int16();
        response.int64(); // timestamp
        const offset = response.int64();
        if (error !== 0) throw new Error(`offsets of ${this.#topic}-${partition}: Kafka error ${error}`);
        offsets.set(partition, offset);
      });
    });
    return offsets;
  }

  /** Where the log itself ends, behind what is waiting for its replicas and what consumers see. */
  async #logEnd(connection: Connection, partition: number, epoch: number): Promise<number> {
    const request = new Writer().int32(1).string(this.#topic).int32(1).int32(partition).int32(-1).int32(epoch);
    const response = await connection.request(OFFSET_FOR_LEADER_EPOCH, request.bytes());
    response.int32(); // throttle time
    let end = -1;
    response.array(() => {
      response.string();
      response.array(() => {
        const error = response.int16();
        if (error !== 0) throw new Error(`the end of ${this.#topic}-${partition}: Kafka error ${error}`);
        response.int32(); // partition
        response.int32(); // epoch
        end = response.int64();
      });
    });
    if (end >= 0) return end;
    return (await this.#offsets(connection, [partition], LATEST)).get(partition)!;
  }

  /**
   * Reads to the log's end. With acks=all it may end behind the high watermark: records that the broker holds and has not
   * acknowledged yet. They are waited for, however long that takes: to publish them again would be to store them twice.
   */
  async #scan(
    connection: Connection,
    { partition, epoch, start }: { partition: number; epoch: number; start: number },
    found: Found,
  ): Promise<void> {
    let end = await this.#logEnd(connection, partition, epoch);
    let waited = false;
    for (let offset = start; offset < end; ) {
      const { next, highWatermark } = await this.#fetch(connection, partition, offset, found);
      if (next !== undefined && next > offset) {
        offset = next;
        continue;
      }
      const earliest = (await this.#offsets(connection, [partition], EARLIEST)).get(partition)!;
      if (earliest > offset) offset = earliest;
      else if (highWatermark > offset) {
        throw new Error(`${this.#topic}-${partition}: nothing to read at ${offset}, before ${highWatermark}`);
      } else {
        if (!waited) this.#onWait({ partition, from: offset, to: end });
        waited = true;
        // Another leader may have another end.
        const epochs = await this.#partitions(connection);
        end = Math.min(end, await this.#logEnd(connection, partition, epochs.get(partition) ?? epoch));
      }
    }
  }

  /** `next` is undefined when there was nothing whole to read. */
  async #fetch(
    connection: Connection,
    partition: number,
    offset: number,
    found: Found,
  ): Promise<{ next: number | undefined; highWatermark: number }> {
    const request = new Writer().int32(-1).int32(FETCH_WAIT_MS).int32(1).int32(FETCH_BYTES).int8(0);
    request.int32(NO_SESSION[0]).int32(NO_SESSION[1]);
    // No leader epoch, no log start of our own, nothing forgotten.
    request.int32(1).string(this.#topic).int32(1).int32(partition).int32(-1).int64(offset).int64(-1).int32(FETCH_BYTES);
    request.int32(0);
    const response = await connection.request(FETCH, request.bytes());
    response.int32(); // throttle time
    const failure = response.int16();
    if (failure !== 0) throw new Error(`fetch of ${this.#topic}-${partition}: Kafka error ${failure}`);
    response.int32(); // session
    let records: Buffer = Buffer.alloc(0);
    let highWatermark = -1;
    response.array(() => {
      response.string();
      response.array(() => {
        response.int32();
        const error = response.int16();
        highWatermark = response.int64();
        response.int64(); // last stable offset
        response.int64(); // log start offset
        response.array(() => [response.int64(), response.int64()]);
        const bytes = response.bytes();
        if (error === OFFSET_OUT_OF_RANGE) return; // retention was faster: begin anew
        if (error !== 0) throw new Error(`fetch of ${this.#topic}-${partition}: Kafka error ${error}`);
        records = bytes;
      });
    });
    const next = await eachRecord(records, ({ offset: at, headers }) => {
      if (at < offset) return;
      const device = headers.get('device');
      const epoch = Number(headers.get('epoch'));
      const sequence = Number(headers.get('sequence'));
      if (device !== undefined && Number.isInteger(epoch) && sequence > 0) found(device, epoch, sequence);
    });
    return { next, highWatermark };
  }
}
