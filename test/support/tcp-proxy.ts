/** A TCP proxy on loopback that a test can cut (refuse and reset), freeze (swallow bytes without a sign) and restore. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { atEnd } from './scope.ts';

type State = 'open' | 'cut' | 'frozen';

export class TcpProxy {
  #state: State = 'open';
  #target: number;
  #port = 0;
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  /** Connections accepted so far. */
  connections = 0;
  /** Bytes that went towards the target. */
  bytesUp = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** `target` may be set later. */
  static async start(target = 0): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await new Promise<void>((resolve) => {
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    const address = proxy.#server.address();
    proxy.#port = typeof address === 'object' && address !== null ? address.port : 0;
    atEnd(() => proxy.close());
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  set target(port: number) {
    this.#target = port;
  }

  /** Resets what is connected and every new connection at once. */
  cut(): void {
    this.#state = 'cut';
    this.#dropAll();
  }

  /** Nothing gets through in either direction and nobody is told: a cable pulled further down the line. */
  freeze(): void {
    this.#state = 'frozen';
  }

  /** What was frozen stays dead (its bytes are gone): it is reset now; new connections pass. */
  restore(): void {
    if (this.#state === 'frozen') this.#dropAll();
    this.#state = 'open';
  }

  close(): void {
    this.#dropAll();
    this.#server.close();
  }

  #dropAll(): void {
    for (const [a, b] of this.#pairs) {
      a.resetAndDestroy();
      b.resetAndDestroy();
    }
    this.#pairs.clear();
  }

  #accept(client: Socket): void {
    this.connections++;
    if (this.#state === 'cut') {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(this.#target, '127.0.0.1');
    const pair = [client, upstream] as const;
    this.#pairs.add(pair);
    this.#pump(client, upstream, pair, true);
    this.#pump(upstream, client, pair, false);
  }

  #pump(from: Socket, to: Socket, pair: readonly [Socket, Socket], up: boolean): void {
    from.setNoDelay(true);
    from.on('data', (chunk) => {
      if (this.#state !== 'open') return;
      if (up) this.bytesUp += chunk.length;
      if (!to.write(chunk)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    });
    from.on('error', () => {});
    from.on('close', () => {
      if (this.#state === 'frozen') return;
      this.#pairs.delete(pair);
      to.destroy();
    });
  }
}
