/** Bytes for both ports as nobody's client would send them: written by hand, independent of the code under test. */
import { connect, type Socket } from 'node:net';

/** What came back on one connection, and whether the other side ended it. */
export interface Conversation {
  readonly received: Buffer;
  readonly closed: boolean;
}

/** Sends `bytes` and listens until the other side closes, `enough` says so, or `timeoutMs` passes. */
export async function converse(
  port: number,
  bytes: Uint8Array,
  { timeoutMs = 3_000, enough = () => false }: { timeoutMs?: number; enough?: (received: Buffer) => boolean } = {},
): Promise<Conversation> {
  const socket: Socket = connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  let closed = false;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, timeoutMs);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    socket.on('connect', () => socket.write(bytes));
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      if (enough(Buffer.concat(chunks))) done();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      closed = true;
      done();
    });
  });
  socket.destroy();
  return { received: Buffer.concat(chunks), closed };
}

const i8 = (value: number) => Buffer.from([value & 0xff]);
const i16 = (value: number) => {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
};
const i32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const i64 = (value: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
};
const text = (value: string) => Buffer.concat([i16(Buffer.byteLength(value)), Buffer.from(value)]);

/** A Kafka request with header version 1. */
export function kafkaRequest(apiKey: number, version: number, body: Uint8Array, correlationId = 7): Buffer {
  const payload = Buffer.concat([i16(apiKey), i16(version), i32(correlationId), text('raw'), body]);
  return Buffer.concat([i32(payload.length), payload]);
}

/** Produce v3 of one batch to one partition, acks=all. */
export function produceRequest(topic: string, batch: Uint8Array, partition = 0): Buffer {
  const data = Buffer.concat([i32(1), text(topic), i32(1), i32(partition), i32(batch.length), batch]);
  return kafkaRequest(0, 3, Buffer.concat([i16(-1), i16(-1), i32(5_000), data]));
}

/** The error code of the one partition in a Produce v3 response. */
export function produceError(response: Buffer): number {
  // size, correlation id, one topic: name, one partition: index, error code
  const name = response.readInt16BE(12);
  return response.readInt16BE(14 + name + 4 + 4);
}

/** Metadata v4 for one topic, which may be created. */
export function metadataRequest(topic: string): Buffer {
  return kafkaRequest(3, 4, Buffer.concat([i32(1), text(topic), i8(1)]));
}

/** Whether a whole response frame is there. */
export function wholeFrame(received: Buffer): boolean {
  return received.length >= 4 && received.length >= 4 + received.readInt32BE(0);
}

/** A RecordBatch v2 of one uncompressed record without a key. */
export function recordBatch(value: string): Buffer {
  const body = Buffer.from(value);
  if (body.length > 50) throw new RangeError('the varints of this writer have one byte');
  const zigzag = (n: number) => i8(n * 2);
  const record = Buffer.concat([i8(0), zigzag(0), zigzag(0), i8(1), zigzag(body.length), body, zigzag(0)]);
  const covered = Buffer.concat([
    ...[i16(0), i32(0), i64(1_700_000_000_000), i64(1_700_000_000_000), i64(-1), i16(-1), i32(-1), i32(1)],
    ...[zigzag(record.length), record],
  ]);
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32c(covered));
  return Buffer.concat([i64(0), i32(4 + 1 + 4 + covered.length), i32(-1), i8(2), crc, covered]);
}

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}

/** An MQTT packet of `type` with `flags`; the remaining length is that of `body`, or `claimed`. */
export function mqttPacket(type: number, flags: number, body: Uint8Array, claimed = body.length): Buffer {
  const length: number[] = [];
  let rest = claimed;
  do {
    length.push((rest % 128) | (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.concat([i8((type << 4) | flags), Buffer.from(length), body]);
}

/** CONNECT of a clean session; `level` 4 is 3.1.1, 5 is 5.0. */
export function mqttConnect(level: 4 | 5, clientId: string): Buffer {
  const properties = level === 5 ? i8(0) : Buffer.alloc(0);
  return mqttPacket(1, 0, Buffer.concat([text('MQTT'), i8(level), i8(2), i16(60), properties, text(clientId)]));
}

/** PUBLISH with QoS 1. */
export function mqttPublish(level: 4 | 5, topic: Uint8Array | string, payload: Uint8Array | string): Buffer {
  const name = Buffer.from(topic);
  const properties = level === 5 ? i8(0) : Buffer.alloc(0);
  return mqttPacket(3, 2, Buffer.concat([i16(name.length), name, i16(1), properties, Buffer.from(payload)]));
}
