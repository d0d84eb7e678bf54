/**
 * Writes one packet. The body is written after a gap of five bytes; `packet` puts the fixed header right before the body,
 * so that no length has to be known beforehand and nothing is copied.
 */
import { HeadwaterError } from '../../errors.ts';

const HEADER_GAP = 5;
const MAX_REMAINING_LENGTH = 268_435_455;

export function varintSize(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : 4;
}

export class Writer {
  #buffer: Buffer;
  #position = HEADER_GAP;

  /** `estimate`: bytes of the body; it grows when the estimate is too low. */
  constructor(estimate: number) {
    this.#buffer = Buffer.allocUnsafe(estimate + HEADER_GAP);
  }

  /** Bytes of the body so far. */
  get length(): number {
    return this.#position - HEADER_GAP;
  }

  #room(bytes: number): number {
    const at = this.#position;
    const need = at + bytes;
    if (need > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(need, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#position = need;
    return at;
  }

  u8(value: number): void {
    // In two steps: room() may replace the buffer.
    const at = this.#room(1);
    this.#buffer[at] = value;
  }

  u16(value: number): void {
    const at = this.#room(2);
    this.#buffer.writeUInt16BE(value, at);
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#buffer.writeUInt32BE(value, at);
  }

  varint(value: number): void {
    const at = this.#room(varintSize(value));
    putVarint(this.#buffer, at, value);
  }

  string(value: string): void {
    const bytes = Buffer.byteLength(value);
    if (bytes > 0xffff) {
      throw new HeadwaterError('INVALID_REQUEST', `an MQTT string has ${bytes} bytes; at most 65535 are allowed`);
    }
    const at = this.#room(2 + bytes);
    this.#buffer.writeUInt16BE(bytes, at);
    if (bytes > 0) this.#buffer.write(value, at + 2, bytes, 'utf8');
  }

  binary(value: Uint8Array): void {
    if (value.length > 0xffff) {
      throw new HeadwaterError(
        'INVALID_REQUEST',
        `MQTT binary data has ${value.length} bytes; at most 65535 are allowed`,
      );
    }
    const at = this.#room(2 + value.length);
    this.#buffer.writeUInt16BE(value.length, at);
    this.#buffer.set(value, at + 2);
  }

  bytes(value: Uint8Array): void {
    const at = this.#room(value.length);
    this.#buffer.set(value, at);
  }

  /** Body bytes alone, for a part that is embedded with its own length (properties). */
  body(): Buffer {
    return this.#buffer.subarray(HEADER_GAP, this.#position);
  }

  /** The finished packet; `extra` counts payload bytes that the caller sends behind it. The writer is used up. */
  packet(firstByte: number, extra = 0): Buffer {
    const length = this.length + extra;
    if (length > MAX_REMAINING_LENGTH) {
      throw new HeadwaterError('BATCH_TOO_LARGE', `an MQTT packet of ${length} bytes; at most ${MAX_REMAINING_LENGTH}`);
    }
    const start = HEADER_GAP - 1 - varintSize(length);
    this.#buffer[start] = firstByte;
    putVarint(this.#buffer, start + 1, length);
    return this.#buffer.subarray(start, this.#position);
  }
}

function putVarint(buffer: Buffer, at: number, value: number): void {
  let rest = value;
  let i = at;
  while (rest >= 0x80) {
    buffer[i++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  buffer[i] = rest;
}
