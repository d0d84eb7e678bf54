/**
 * What goes out on one connection, gathered while packets and commits are handled and written once per turn: an
 * acknowledgement is two bytes of identifier behind a constant, a small PUBLISH is copied, a large payload is handed on.
 */
import type { Duplex } from 'node:stream';
import type { EncodedPublish } from '../wire/mqtt/publish.ts';

const FIRST_BYTES = 256;

/** Flushes every connection that wrote something, once, after the present callbacks have run. */
export class Flusher {
  #dirty: Output[] = [];
  readonly #run = () => {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const output of dirty) output.flush();
  };

  add(output: Output): void {
    if (this.#dirty.push(output) === 1) queueMicrotask(this.#run);
  }
}

export class Output {
  readonly #stream: Duplex;
  readonly #flusher: Flusher;
  #buffer: Buffer | null = null;
  #length = 0;
  #scheduled = false;
  /** Bytes handed to the socket so far. */
  bytesWritten = 0;

  constructor(stream: Duplex, flusher: Flusher) {
    this.#stream = stream;
    this.#flusher = flusher;
  }

  /** Bytes that the peer has not taken yet. */
  get queuedBytes(): number {
    return this.#length + this.#stream.writableLength;
  }

  #room(bytes: number): Buffer {
    const need = this.#length + bytes;
    let buffer = this.#buffer;
    if (buffer === null || need > buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(need, buffer === null ? FIRST_BYTES : buffer.length * 4));
      if (buffer !== null) buffer.copy(grown, 0, 0, this.#length);
      this.#buffer = grown;
      buffer = grown;
    }
    if (!this.#scheduled) {
      this.#scheduled = true;
      this.#flusher.add(this);
    }
    return buffer;
  }

  write(bytes: Uint8Array): void {
    this.#room(bytes.length).set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** PUBACK, PUBREC, PUBREL or PUBCOMP without a reason: four bytes. */
  writeAck(firstByte: number, packetId: number): void {
    const buffer = this.#room(4);
    const at = this.#length;
    buffer[at] = firstByte;
    buffer[at + 1] = 2;
    buffer[at + 2] = packetId >>> 8;
    buffer[at + 3] = packetId;
    this.#length = at + 4;
  }

  writePublish(encoded: EncodedPublish, packetId: number, dup: boolean): void {
    const { head, idOffset, payload } = encoded;
    const buffer = this.#room(head.length);
    const at = this.#length;
    head.copy(buffer, at);
    if (dup) buffer[at]! |= 8;
    if (idOffset > 0) {
      buffer[at + idOffset] = packetId >>> 8;
      buffer[at + idOffset + 1] = packetId;
    }
    this.#length = at + head.length;
    if (payload !== null) {
      this.flush();
      this.#send(payload);
    }
  }

  #send(bytes: Uint8Array): void {
    this.bytesWritten += bytes.length;
    if (this.#stream.writable) this.#stream.write(bytes);
  }

  flush(): void {
    this.#scheduled = false;
    if (this.#length === 0) return;
    const bytes = this.#buffer!.subarray(0, this.#length);
    this.#buffer = null;
    this.#length = 0;
    this.#send(bytes);
  }
}
