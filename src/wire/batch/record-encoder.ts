/** Packs records into one RecordBatch v2: sizes first, then every byte once into a buffer of exactly that size. */
import { HeadwaterError } from '../../errors.ts';
import {
  attributesOf,
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_END,
  CODEC_MASK,
  CODECS,
  CONTROL,
  type CodecName,
  patchCrc,
  TRANSACTIONAL,
  writeInt16,
  writeInt32,
  writeInt64,
} from './record-batch.ts';
import { varintSize, varlongSize, writeVarint, writeVarlong } from './varint.ts';

export interface HeaderInput {
  readonly key: string;
  readonly value: Uint8Array | null;
}

/** `LogRecord` of the log fits it. */
export interface RecordInput {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly HeaderInput[];
  /** Milliseconds since 1970; -1: `now` of the batch. */
  readonly timestamp: number;
}

export interface BatchOptions {
  /** Stamp of records without a time, milliseconds since 1970. */
  readonly now: number;
  readonly baseOffset?: number;
  readonly leaderEpoch?: number;
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
  readonly transactional?: boolean;
  readonly control?: boolean;
}

/** One codec, loaded (compression.ts). */
export interface BatchCompressor {
  readonly name: CodecName;
  compress(bytes: Uint8Array): Uint8Array;
}

const bytesSize = (bytes: Uint8Array | null): number => (bytes === null ? 1 : varintSize(bytes.length) + bytes.length);

function headersSize(headers: readonly HeaderInput[]): number {
  let size = varintSize(headers.length);
  for (const header of headers) {
    const keyBytes = Buffer.byteLength(header.key);
    size += varintSize(keyBytes) + keyBytes + bytesSize(header.value);
  }
  return size;
}

/** Bytes of a record without its length prefix. */
function bodySize(record: RecordInput, offsetDelta: number, timestampDelta: number): number {
  return (
    1 +
    varlongSize(timestampDelta) +
    varintSize(offsetDelta) +
    bytesSize(record.key) +
    bytesSize(record.value) +
    (record.headers.length === 0 ? 1 : headersSize(record.headers))
  );
}

/**
 * Upper bound of what a record adds to a batch: for queues that count bytes before they pack. Needs no timestamp.
 */
export function recordSizeBound(record: RecordInput): number {
  return 5 + 1 + 9 + 5 + bytesSize(record.key) + bytesSize(record.value) + headersSize(record.headers);
}

function writeBytes(batch: Buffer, at: number, bytes: Uint8Array | null): number {
  if (bytes === null) return writeVarint(batch, at, -1);
  const start = writeVarint(batch, at, bytes.length);
  batch.set(bytes, start);
  return start + bytes.length;
}

function writeHeaders(batch: Buffer, at: number, headers: readonly HeaderInput[]): number {
  let position = writeVarint(batch, at, headers.length);
  for (const header of headers) {
    position = writeVarint(batch, position, Buffer.byteLength(header.key));
    position += batch.write(header.key, position);
    position = writeBytes(batch, position, header.value);
  }
  return position;
}

function writeHeader(
  batch: Buffer,
  count: number,
  baseTimestamp: number,
  maxTimestamp: number,
  options: BatchOptions,
): void {
  writeInt64(batch, 0, options.baseOffset ?? 0);
  writeInt32(batch, 8, batch.length - BATCH_LENGTH_END);
  writeInt32(batch, 12, options.leaderEpoch ?? -1);
  batch[16] = 2;
  const transactional = options.transactional === true ? TRANSACTIONAL : 0;
  writeInt16(batch, 21, transactional | (options.control === true ? CONTROL : 0));
  writeInt32(batch, 23, count - 1);
  writeInt64(batch, 27, baseTimestamp);
  writeInt64(batch, 35, maxTimestamp);
  writeInt64(batch, 43, options.producerId ?? -1);
  writeInt16(batch, 51, options.producerEpoch ?? -1);
  writeInt32(batch, 53, options.baseSequence ?? -1);
  writeInt32(batch, 57, count);
}

/** Bodies' sizes of the batch that is encoded, where it has few records: no array for each. */
const FEW_SIZES = new Int32Array(64);

/** One uncompressed batch with dense offsets from `baseOffset`. `records` must not be empty. */
export function encodeBatch(records: readonly RecordInput[], options: BatchOptions): Buffer {
  const count = records.length;
  if (count === 0) throw new HeadwaterError('INVALID_RECORD', 'a record batch needs at least one record');
  const stampOf = (record: RecordInput): number => (record.timestamp < 0 ? options.now : record.timestamp);
  const baseTimestamp = stampOf(records[0]!);
  let maxTimestamp = baseTimestamp;
  let total = BATCH_HEADER_BYTES;
  const sizes = count <= FEW_SIZES.length ? FEW_SIZES : new Int32Array(count);
  for (let index = 0; index < count; index++) {
    const record = records[index]!;
    const timestamp = stampOf(record);
    if (timestamp > maxTimestamp) maxTimestamp = timestamp;
    const size = bodySize(record, index, timestamp - baseTimestamp);
    sizes[index] = size;
    total += varintSize(size) + size;
  }
  // From Node's pool where it is small: a memory of its own costs more than to fill it. Nobody keeps it for long.
  const batch = Buffer.allocUnsafe(total);
  writeHeader(batch, count, baseTimestamp, maxTimestamp, options);
  let at = BATCH_HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    const record = records[index]!;
    at = writeVarint(batch, at, sizes[index]!);
    batch[at++] = 0;
    at = writeVarlong(batch, at, stampOf(record) - baseTimestamp);
    at = writeVarint(batch, at, index);
    at = writeBytes(batch, at, record.key);
    at = writeBytes(batch, at, record.value);
    if (record.headers.length === 0) batch[at++] = 0;
    else at = writeHeaders(batch, at, record.headers);
  }
  patchCrc(batch);
  return batch;
}

/**
 * The same batch with its records compressed; `batch` itself when it is compressed already or would not shrink.
 */
export function compressBatch(batch: Uint8Array, codec: BatchCompressor): Uint8Array {
  const attributes = attributesOf(batch);
  if ((attributes & CODEC_MASK) !== 0 || codec.name === 'none') return batch;
  const packed = codec.compress(batch.subarray(BATCH_HEADER_BYTES));
  if (packed.length >= batch.length - BATCH_HEADER_BYTES) return batch;
  const result = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES + packed.length);
  result.set(batch.subarray(0, BATCH_HEADER_BYTES), 0);
  result.set(packed, BATCH_HEADER_BYTES);
  writeInt32(result, 8, result.length - BATCH_LENGTH_END);
  writeInt16(result, 21, attributes | CODECS.indexOf(codec.name));
  patchCrc(result);
  return result;
}
