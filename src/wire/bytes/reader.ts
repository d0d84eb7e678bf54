/**
 * Bounds-checked reads over bytes that somebody else wrote. Every length, count and varint is checked against what is
 * there before anything is allocated; a lie is a MALFORMED error that names the position. Byte ranges come back as views.
 */
import { HeadwaterError } from '../../errors.ts';

/** Array elements that one message may hold in all: bounds the memory that small elements would multiply to. */
export const MESSAGE_ELEMENTS_MAX = 200_000;

const TWO_32 = 4_294_967_296;

export class Reader {
  readonly #bytes: Buffer;
  #position: number;
  #elementsLeft = MESSAGE_ELEMENTS_MAX;

  constructor(bytes: Uint8Array, position = 0) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#position = position;
  }

  get position(): number {
    return this.#position;
  }

  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  /** Claims `size` bytes and returns where they start. */
  #take(size: number): number {
    const start = this.#position;
    const end = start + size;
    if (end > this.#bytes.length) this.#malformed(`${size} bytes wanted, ${this.#bytes.length - start} left`);
    this.#position = end;
    return start;
  }

  #malformed(what: string): never {
    throw new HeadwaterError('MALFORMED', `malformed at byte ${this.#position}: ${what}`);
  }

  skip(size: number): void {
    if (size < 0) this.#malformed(`length ${size}, must be 0 or more`);
    this.#take(size);
  }

  int8(): number {
    return (this.#bytes[this.#take(1)]! << 24) >> 24;
  }

  uint8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  bool(): boolean {
    return this.#bytes[this.#take(1)] !== 0;
  }

  int16(): number {
    const at = this.#take(2);
    const bytes = this.#bytes;
    return ((bytes[at]! << 24) >> 16) | bytes[at + 1]!;
  }

  uint16(): number {
    const at = this.#take(2);
    return (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }

  int32(): number {
    const at = this.#take(4);
    const bytes = this.#bytes;
    return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  }

  uint32(): number {
    return this.int32() >>> 0;
  }

  /** A signed 64-bit integer as a number: exact up to 2^53, nearest beyond. */
  int64(): number {
    const high = this.int32();
    return high * TWO_32 + (this.int32() >>> 0);
  }

  float64(): number {
    return this.#bytes.readDoubleBE(this.#take(8));
  }

  /** LEB128, at most 32 bits. */
  uvarint(): number {
    const bytes = this.#bytes;
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = bytes[this.#take(1)]!;
      if (shift === 28 && byte > 0x0f) this.#malformed('varint above 32 bits');
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    return this.#malformed('varint without an end');
  }

  /** Zigzag LEB128 of 32 bits. */
  varint(): number {
    const raw = this.uvarint();
    return (raw >>> 1) ^ -(raw & 1);
  }

  /** Zigzag LEB128 of 64 bits, as a number: exact up to 2^53, nearest beyond. */
  varlong(): number {
    const bytes = this.#bytes;
    let low = 0;
    let high = 0;
    for (let index = 0; index < 10; index++) {
      const byte = bytes[this.#take(1)]!;
      const part = byte & 0x7f;
      if (index === 9 && byte > 1) this.#malformed('varlong above 64 bits');
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
    return this.#malformed('varlong without an end');
  }

  /** A view of the next `size` bytes, not a copy. */
  bytes(size: number): Buffer {
    if (size < 0) this.#malformed(`length ${size}, must be 0 or more`);
    const start = this.#take(size);
    return this.#bytes.subarray(start, start + size);
  }

  utf8(size: number): string {
    if (size < 0) this.#malformed(`length ${size}, must be 0 or more`);
    const start = this.#take(size);
    return size === 0 ? '' : this.#bytes.toString('utf8', start, start + size);
  }

  hex(size: number): string {
    const start = this.#take(size);
    return this.#bytes.toString('hex', start, start + size);
  }

  /** Checks an element count (each element takes at least `minBytes`) before an array for it is made. */
  count(count: number, minBytes: number): number {
    if (count < 0) this.#malformed(`count ${count}, must be 0 or more`);
    if (count * minBytes > this.remaining) {
      this.#malformed(`${count} elements of at least ${minBytes} bytes, ${this.remaining} bytes left`);
    }
    this.#elementsLeft -= count;
    if (this.#elementsLeft < 0) this.#malformed(`more than ${MESSAGE_ELEMENTS_MAX} elements in one message`);
    return count;
  }
}
