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
  /** They lived through a freeze that was healed. */
  readonly #buried = new WeakSet<readonly [Socket, Socket]>();
  /** Connections accepted so far. */
  connections = 0;
  /** Bytes that went towards the target. */
  bytesUp = 0;
  #trigger: { readonly bytes: number; readonly pass: boolean; readonly done: () => void } | null = null;

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

  /** After `freeze`: new connections pass; what was open stays silent for ever, as behind a router that forgot it. */
  heal(): void {
    for (const pair of this.#pairs) this.#buried.add(pair);
    this.#state = 'open';
  }

  /**
   * Freezes in the middle of an exchange: as soon as a chunk of at least `bytes` comes from a client, it is passed on
   * (its answer will be lost) or swallowed, and nothing gets through any more. Resolves with whether that happened
   * within `timeoutMs`; otherwise it freezes then.
   */
  async freezeAtRequest(bytes: number, pass: boolean, timeoutMs: number): Promise<boolean> {
    const happened = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.#trigger = {
        bytes,
        pass,
        done: () => {
          clearTimeout(timer);
          resolve(true);
        },
      };
    });
    this.#trigger = null;
    this.freeze();
    return happened;
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
      if (this.#state !== 'open' || this.#buried.has(pair)) return;
      const trigger = this.#trigger;
      if (up && trigger !== null && chunk.length >= trigger.bytes) {
        this.#trigger = null;
        this.#state = 'frozen';
        trigger.done();
        if (!trigger.pass) return;
      }
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
      // The far end hears nothing of the end of a connection that is buried.
      if (!this.#buried.has(pair)) to.destroy();
    });
  }
}
