import { HeadwaterError } from '../errors.ts';

/** Cuts a byte stream into frames (int32 size in front). A chunk is copied only when a frame spans several. */
export class FrameReader {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Bytes that the frame in progress needs, its size included; 4 until the size is known. */
  #wanted = 4;

  /** A larger frame is MALFORMED before memory for it is taken. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  #sizeOf(frame: Buffer): number {
    const size = frame.readInt32BE(0);
    if (size < 0 || size > this.#maxBytes) {
      throw new HeadwaterError('MALFORMED', `a frame of ${size} bytes; 0 to ${this.#maxBytes} are allowed`);
    }
    return size + 4;
  }

  /** Calls `onFrame` for every frame that is complete, without its size. */
  push(chunk: Buffer, onFrame: (frame: Buffer) => void): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes >= this.#wanted) {
      let data = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
      this.#chunks = [];
      while (data.length >= 4) {
        this.#wanted = this.#sizeOf(data);
        if (data.length < this.#wanted) break;
        const frame = data.subarray(4, this.#wanted);
        data = data.subarray(this.#wanted);
        this.#bytes -= this.#wanted;
        this.#wanted = 4;
        onFrame(frame);
      }
      if (data.length > 0) this.#chunks.push(data);
    }
  }
}
