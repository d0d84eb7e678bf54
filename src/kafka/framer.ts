/**
 * Cuts a byte stream into frames (int32 size, then the payload) without copying: a frame that lies in one socket chunk is
 * a view of it, one that spans several is joined once, when its last byte is there. Holds nothing but the chunks.
 */
import { HeadwaterError } from '../errors.ts';

export class Framer {
  /** Frames above it are MALFORMED. */
  maxBytes: number;
  #chunks: Buffer[] = [];
  /** Read position in `#chunks[0]`. */
  #offset = 0;
  #buffered = 0;
  /** Payload size of the frame whose size was read already, or -1. */
  #size = -1;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Bytes held. */
  get buffered(): number {
    return this.#buffered;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
  }

  /** Bytes of the next frame's payload when it is here whole, otherwise -1. Throws MALFORMED for an impossible size. */
  ready(): number {
    if (this.#size === -1) {
      if (this.#buffered < 4) return -1;
      const size = this.#take(4).readInt32BE(0);
      if (size < 0 || size > this.maxBytes) {
        throw new HeadwaterError('MALFORMED', `frame of ${size} bytes, allowed are 0 to ${this.maxBytes}`);
      }
      this.#size = size;
    }
    return this.#buffered >= this.#size ? this.#size : -1;
  }

  /** The next frame's payload, or null when it is not here whole. */
  next(): Buffer | null {
    const size = this.ready();
    if (size === -1) return null;
    this.#size = -1;
    return this.#take(size);
  }

  clear(): void {
    this.#chunks = [];
    this.#offset = 0;
    this.#buffered = 0;
    this.#size = -1;
  }

  #take(size: number): Buffer {
    this.#buffered -= size;
    const first = this.#chunks[0];
    if (first === undefined) return Buffer.alloc(0);
    const start = this.#offset;
    if (first.length - start > size) {
      this.#offset = start + size;
      return first.subarray(start, start + size);
    }
    if (first.length - start === size) {
      this.#chunks.shift();
      this.#offset = 0;
      return start === 0 ? first : first.subarray(start);
    }
    const joined = Buffer.allocUnsafe(size);
    let filled = 0;
    let used = 0;
    let from = start;
    while (filled < size) {
      const chunk = this.#chunks[used]!;
      const part = Math.min(size - filled, chunk.length - from);
      chunk.copy(joined, filled, from, from + part);
      filled += part;
      from += part;
      if (from === chunk.length) {
        used++;
        from = 0;
      }
    }
    this.#chunks.splice(0, used);
    this.#offset = from;
    return joined;
  }
}
