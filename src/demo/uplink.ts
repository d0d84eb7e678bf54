/** The network between edge and hub: a TCP relay that can be cut (nothing passes, nothing connects) and restored. */
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Net } from '../env.ts';

export class Uplink {
  readonly #net: Net;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #target = 0;
  #isCut = false;

  constructor(net: Net) {
    this.#net = net;
    this.#server = net.server((socket) => this.#relay(socket));
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  /** Resolves with the port it listens on. */
  open(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', () => resolve((this.#server.address() as AddressInfo).port));
    });
  }

  /** Where connections lead: a port of this machine. */
  leadTo(port: number): void {
    this.#target = port;
  }

  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  restore(): void {
    this.#isCut = false;
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  #relay(near: Socket): void {
    if (this.#isCut) {
      near.destroy();
      return;
    }
    const far = this.#net.connect('127.0.0.1', this.#target);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => {});
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  }
}
