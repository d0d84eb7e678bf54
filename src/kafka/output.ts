/** The way out of one connection: answers as bytes on its socket, gathered by turn, counted until the socket took them. */
import type { Socket } from 'node:net';
import type { Series } from '../metrics.ts';

/** Counted over all connections of an edge. */
export interface SharedBytes {
  /** Received, not a whole request yet. */
  partial: number;
  /** Answers not yet taken by the sockets. */
  output: number;
}

export class Output {
  readonly #socket: Socket;
  readonly #shared: SharedBytes;
  readonly #sent: Series;
  #waiting = 0;
  #corked = false;
  #closed = false;

  constructor(socket: Socket, shared: SharedBytes, sent: Series) {
    this.#socket = socket;
    this.#shared = shared;
    this.#sent = sent;
  }

  send(chunks: readonly Uint8Array[]): void {
    const socket = this.#socket;
    if (this.#closed || !socket.writable) return;
    if (!this.#corked) {
      this.#corked = true;
      socket.cork();
      // Answers that become ready in one turn (a group commit) leave in one system call.
      process.nextTick(() => {
        this.#corked = false;
        socket.uncork();
      });
    }
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.length;
    this.#waiting += bytes;
    this.#shared.output += bytes;
    this.#sent.value += bytes;
    const last = chunks.length - 1;
    for (let i = 0; i < last; i++) socket.write(chunks[i]!);
    socket.write(chunks[last]!, () => {
      if (this.#closed) return;
      this.#waiting -= bytes;
      this.#shared.output -= bytes;
    });
  }

  /** The socket is gone, and with it what waited. */
  closed(): void {
    this.#closed = true;
    this.#shared.output -= this.#waiting;
    this.#waiting = 0;
  }
}
