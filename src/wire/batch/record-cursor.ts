/**
 * Walks the records of a batch one by one without copying: keys and values are views of the batch (or of its decompressed
 * records), headers are decoded when asked for. A field that lies about its length is CORRUPT_BATCH.
 */
import { HeadwaterError } from '../../errors.ts';
import {
  BATCH_HEADER_BYTES,
  baseOffsetOf,
  baseTimestampOf,
  codecNumberOf,
  hasLogAppendTime,
  maxTimestampOf,
  recordCountOf,
} from './record-batch.ts';

const TWO_32 = 4_294_967_296;

export interface DecodedHeader {
  readonly key: string;
  readonly value: Buffer | null;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export class RecordCursor {
  readonly #bytes: Buffer;
  readonly #baseOffset: number;
  readonly #baseTimestamp: number;
  /** The broker's time, the same for all records; -1: each record has its own. */
  readonly #appendTime: number;
  #left: number;
  #next: number;
  #start = 0;
  #at = 0;
  #keyStart = 0;
  #keyLength = -1;
  #valueStart = 0;
  #valueLength = -1;
  #headersStart = 0;
  #end = 0;
  /** Of the present record. */
  offset = -1;
  /** Milliseconds since 1970, of the present record. */
  timestamp = -1;

  /** `records` is the decompressed records section; without it the batch must be uncompressed. */
  constructor(batch: Uint8Array, records?: Uint8Array) {
    if (records === undefined && codecNumberOf(batch) !== 0) {
      throw new TypeError('the records of a compressed batch must be decompressed first (decompressRecords)');
    }
    this.#bytes = asBuffer(records ?? batch);
    this.#next = records === undefined ? BATCH_HEADER_BYTES : 0;
    this.#left = recordCountOf(batch);
    this.#baseOffset = baseOffsetOf(batch);
    this.#baseTimestamp = baseTimestampOf(batch);
    this.#appendTime = hasLogAppendTime(batch) ? maxTimestampOf(batch) : -1;
  }

  #corrupt(what: string): never {
    throw new HeadwaterError('CORRUPT_BATCH', `record at byte ${this.#at} of its batch: ${what}`);
  }

  #varint(): number {
    const bytes = this.#bytes;
    let raw = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.#at >= this.#end) this.#corrupt('a varint runs over its end');
      const byte = bytes[this.#at++]!;
      raw |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (raw >>> 1) ^ -(raw & 1);
    }
    return this.#corrupt('a varint without an end');
  }

  #varlong(): number {
    const bytes = this.#bytes;
    let low = 0;
    let high = 0;
    for (let index = 0; index < 10; index++) {
      if (this.#at >= this.#end) this.#corrupt('a varlong runs over its end');
      const byte = bytes[this.#at++]!;
      const part = byte & 0x7f;
      if (index < 4) low |= part << (7 * index);
      else if (index === 4) {
        low |= part << 28;
        high = part >>> 4;
      } else high |= part << (7 * index - 32);
      if (byte < 0x80) {
        const magnitude = (high >>> 1) * TWO_32 + (((low >>> 1) | (high << 31)) >>> 0);
        return (low & 1) === 1 ? -magnitude - 1 : magnitude;
      }
    }
    return this.#corrupt('a varlong without an end');
  }

  /** Length of a byte field (-1: null) whose bytes start at the position afterwards; moves past them. */
  #skipBytes(): number {
    const length = this.#varint();
    if (length < -1 || this.#at + length > this.#end) this.#corrupt(`a field of ${length} bytes`);
    if (length > 0) this.#at += length;
    return length;
  }

  /** Moves to the next record; false at the end. */
  next(): boolean {
    if (this.#left <= 0) {
      if (this.#next !== this.#bytes.length && this.#left === 0) {
        this.#at = this.#next;
        this.#corrupt(`${this.#bytes.length - this.#next} bytes after the last record`);
      }
      return false;
    }
    this.#left--;
    this.#at = this.#next;
    this.#start = this.#next;
    this.#end = this.#bytes.length;
    const length = this.#varint();
    if (length < 0 || this.#at + length > this.#end) this.#corrupt(`a record of ${length} bytes`);
    this.#end = this.#at + length;
    this.#next = this.#end;
    this.#at++; // attributes, unused by Kafka
    const delta = this.#varlong();
    this.timestamp = this.#appendTime >= 0 ? this.#appendTime : this.#baseTimestamp + delta;
    this.offset = this.#baseOffset + this.#varint();
    this.#keyLength = this.#skipBytes();
    this.#keyStart = this.#at - Math.max(0, this.#keyLength);
    this.#valueLength = this.#skipBytes();
    this.#valueStart = this.#at - Math.max(0, this.#valueLength);
    this.#headersStart = this.#at;
    return true;
  }

  /** The whole record as it is encoded, its length included: a view. Its deltas count from this batch. */
  get raw(): Buffer {
    return this.#bytes.subarray(this.#start, this.#next);
  }

  /** A view. */
  get key(): Buffer | null {
    return this.#keyLength < 0 ? null : this.#bytes.subarray(this.#keyStart, this.#keyStart + this.#keyLength);
  }

  /** A view. */
  get value(): Buffer | null {
    return this.#valueLength < 0 ? null : this.#bytes.subarray(this.#valueStart, this.#valueStart + this.#valueLength);
  }

  headers(): DecodedHeader[] {
    this.#at = this.#headersStart;
    const count = this.#varint();
    // A header takes two bytes at least.
    if (count < 0 || count * 2 > this.#end - this.#at) this.#corrupt(`${count} headers`);
    const headers: DecodedHeader[] = [];
    for (let index = 0; index < count; index++) {
      const keyLength = this.#skipBytes();
      if (keyLength < 0) this.#corrupt('a header without a key');
      const key = this.#bytes.toString('utf8', this.#at - keyLength, this.#at);
      const length = this.#skipBytes();
      headers.push({ key, value: length < 0 ? null : this.#bytes.subarray(this.#at - length, this.#at) });
    }
    return headers;
  }

  /** Walks the rest; throws CORRUPT_BATCH unless every field of every record is sound and offsets are dense from 0. */
  checkDense(): void {
    for (let wanted = this.#baseOffset; this.next(); wanted++) {
      if (this.offset !== wanted) this.#corrupt(`offset ${this.offset} where ${wanted} is due`);
      this.headers();
      if (this.#at !== this.#end) this.#corrupt(`${this.#end - this.#at} bytes after its headers`);
    }
  }
}
