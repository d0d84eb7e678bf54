/**
 * A growing buffer that can also refer to large byte ranges without copying them: the result is a list of chunks to hand
 * to the socket as they are (cork, write each, uncork = one writev).
 */
import { HeadwaterError } from '../../errors.ts';

/** Below this a copy is cheaper than one more entry in the vector. */
const REFERENCE_MIN_BYTES = 4_096;

const TWO_32 = 4_294_967_296;
const TWO_63 = 2 ** 63;

export class Writer {
  #buffer: Buffer;
  #position = 0;
  /** Where the part of `#buffer` that is not in `#chunks` yet begins. */
  #start = 0;
  readonly #chunks: Uint8Array[] = [];
  #chunkBytes = 0;

  constructor(sizeHint = 256) {
    this.#buffer = Buffer.allocUnsafe(sizeHint);
  }

  /** Bytes written so far, referenced chunks included. */
  get byteLength(): number {
    return this.#chunkBytes + this.#position - this.#start;
  }

  /** Makes room for `size` bytes and returns where they start in `#buffer`. */
  #claim(size: number): number {
    const at = this.#position;
    if (at + size > this.#buffer.length) return this.#grow(size);
    this.#position = at + size;
    return at;
  }

  #grow(size: number): number {
    const open = this.#position - this.#start;
    const grown = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, open + size + 64));
    this.#buffer.copy(grown, 0, this.#start, this.#position);
    this.#buffer = grown;
    this.#start = 0;
    this.#position = open + size;
    return open;
  }

  int8(value: number): void {
    const at = this.#claim(1);
    this.#buffer[at] = value;
  }

  bool(value: boolean): void {
    const at = this.#claim(1);
    this.#buffer[at] = value ? 1 : 0;
  }

  int16(value: number): void {
    const at = this.#claim(2);
    const buffer = this.#buffer;
    buffer[at] = value >> 8;
    buffer[at + 1] = value;
  }

  int32(value: number): void {
    const at = this.#claim(4);
    const buffer = this.#buffer;
    buffer[at] = value >> 24;
    buffer[at + 1] = value >> 16;
    buffer[at + 2] = value >> 8;
    buffer[at + 3] = value;
  }

  /** Any integer from -2^63 to 2^63; what a number cannot hold exactly is written as the number says. */
  int64(value: number): void {
    if (value >= TWO_63) {
      this.int32(0x7fffffff);
      this.int32(-1);
      return;
    }
    const high = Math.floor(value / TWO_32);
    this.int32(high);
    this.int32((value - high * TWO_32) | 0);
  }

  float64(value: number): void {
    const at = this.#claim(8);
    this.#buffer.writeDoubleBE(value, at);
  }

  /** LEB128 of 0 to 2^32-1. */
  uvarint(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.int8((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.int8(rest);
  }

  /** Zigzag LEB128 of a 32-bit integer. */
  varint(value: number): void {
    this.uvarint((value << 1) ^ (value >> 31));
  }

  /** Zigzag LEB128 of an integer up to 2^53 either way. */
  varlong(value: number): void {
    if (value >= -1_073_741_824 && value < 1_073_741_824) {
      this.varint(value);
      return;
    }
    let rest = value < 0 ? (BigInt(-value) << 1n) - 1n : BigInt(value) << 1n;
    while (rest > 0x7fn) {
      this.int8(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.int8(Number(rest));
  }

  /** UTF-8 without a length; `byteLength` is Buffer.byteLength(text). */
  utf8(text: string, byteLength: number): void {
    const at = this.#claim(byteLength);
    if (byteLength > 0) this.#buffer.write(text, at, byteLength, 'utf8');
  }

  hex(text: string, byteLength: number): void {
    const at = this.#claim(byteLength);
    if (this.#buffer.write(text, at, byteLength, 'hex') !== byteLength) {
      throw new HeadwaterError('INVALID_REQUEST', `"${text}" is not ${byteLength} bytes in hex digits`);
    }
  }

  /** Copies small ranges, refers to large ones: those must not change until the chunks are sent. */
  bytes(bytes: Uint8Array): void {
    if (bytes.length < REFERENCE_MIN_BYTES) {
      const at = this.#claim(bytes.length);
      this.#buffer.set(bytes, at);
      return;
    }
    this.#seal();
    this.#chunks.push(bytes);
    this.#chunkBytes += bytes.length;
  }

  /** What `write` writes, with its size in front as a uvarint. */
  sized(write: (inner: Writer) => void): void {
    const inner = new Writer();
    write(inner);
    this.uvarint(inner.byteLength);
    for (const chunk of inner.chunks()) this.bytes(chunk);
  }

  #seal(): void {
    if (this.#position === this.#start) return;
    this.#chunks.push(this.#buffer.subarray(this.#start, this.#position));
    this.#chunkBytes += this.#position - this.#start;
    this.#start = this.#position;
  }

  /** Everything written, in order. The writer is done with. */
  chunks(): Uint8Array[] {
    this.#seal();
    return this.#chunks;
  }

  /** As `chunks`, for a writer whose first four bytes were left for the size of what follows them. */
  framed(): Uint8Array[] {
    const size = this.byteLength - 4;
    const chunks = this.chunks();
    const first = chunks[0]!;
    first[0] = size >> 24;
    first[1] = size >> 16;
    first[2] = size >> 8;
    first[3] = size;
    return chunks;
  }

  /** Everything written as one range; copies when chunks were referenced. */
  toBytes(): Buffer {
    const chunks = this.chunks();
    return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  }
}
