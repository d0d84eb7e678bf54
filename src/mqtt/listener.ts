/** Listens for MQTT on TCP, TLS, WebSocket and WebSocket over TLS; what is rarely used is loaded when it is. */
import type { IncomingMessage } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket, TlsOptions } from 'node:tls';
import type { Net } from '../env.ts';

export interface MqttListenerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** `ws` and `wss` serve the path /mqtt. Default `tcp`. */
  readonly protocol?: 'tcp' | 'tls' | 'ws' | 'wss';
  /** For tls and wss; `requestCert` makes the client certificate's subject an identity. */
  readonly tls?: TlsOptions;
}

export interface Accepted {
  readonly stream: Duplex;
  readonly remoteAddress: string;
  /** Common name of a verified client certificate. */
  readonly certificate: string | null;
}

export type OnAccepted = (accepted: Accepted) => void;

const WEBSOCKET_PATH = '/mqtt';
const TLS_HANDSHAKE_TIMEOUT_MS = 10_000;

export class Listener {
  readonly options: MqttListenerOptions;
  readonly #net: Net;
  readonly #onAccepted: OnAccepted;
  readonly #maxPacketBytes: number;
  #server: Server | null = null;
  #secure: { setSecureContext(options: TlsOptions): void } | null = null;
  readonly #sockets = new Set<Duplex>();

  constructor(options: MqttListenerOptions, net: Net, maxPacketBytes: number, onAccepted: OnAccepted) {
    this.options = options;
    this.#net = net;
    this.#maxPacketBytes = maxPacketBytes;
    this.#onAccepted = onAccepted;
  }

  /** Where it listens, once started. */
  get address(): AddressInfo {
    return this.#server!.address() as AddressInfo;
  }

  async start(): Promise<void> {
    const { protocol = 'tcp' } = this.options;
    const accept = protocol === 'ws' || protocol === 'wss' ? await this.#webSocket() : this.#plain;
    const connection = protocol === 'tls' || protocol === 'wss' ? await this.#tls(accept) : accept;
    const server = this.#net.server((socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      // Until somebody takes it over.
      socket.on('error', () => socket.destroy());
      connection(socket, null);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.options.port, this.options.host, () => {
        server.removeListener('error', reject);
        server.on('error', () => undefined);
        resolve();
      });
    });
    this.#server = server;
  }

  readonly #plain = (socket: Socket, certificate: string | null): void => {
    this.#onAccepted({ stream: socket, remoteAddress: socket.remoteAddress ?? '', certificate });
  };

  async #tls(then: (socket: Socket, certificate: string | null) => void): Promise<(socket: Socket) => void> {
    const { createServer } = await import('node:tls');
    const { tls = {} } = this.options;
    const server = createServer({ ...tls, handshakeTimeout: TLS_HANDSHAKE_TIMEOUT_MS }, (socket: TLSSocket) => {
      const subject = socket.authorized ? socket.getPeerCertificate().subject : undefined;
      const name: unknown = subject?.CN;
      then(socket, typeof name === 'string' ? name : null);
    });
    server.on('tlsClientError', (_, socket) => socket.destroy());
    this.#secure = server;
    return (socket) => {
      server.emit('connection', socket);
    };
  }

  /** New certificates for connections to come. Throws when they cannot be used; the old ones stay then. */
  setCertificates(options: TlsOptions): void {
    this.#secure?.setSecureContext(options);
  }

  async #webSocket(): Promise<(socket: Socket, certificate: string | null) => void> {
    const [{ createServer }, { WebSocketServer, createWebSocketStream }] = await Promise.all([
      import('node:http'),
      import('ws'),
    ]);
    const certificates = new WeakMap<Duplex, string>();
    const webSockets = new WebSocketServer({
      noServer: true,
      // [MQTT-6.0.0-3] The subprotocol is `mqtt`; MQTT 3.1 clients say `mqttv3.1`.
      handleProtocols: (offered) => (offered.has('mqtt') ? 'mqtt' : offered.has('mqttv3.1') ? 'mqttv3.1' : false),
      maxPayload: this.#maxPacketBytes + 1024,
      perMessageDeflate: false,
    });
    const http = createServer({ requestTimeout: TLS_HANDSHAKE_TIMEOUT_MS }, (_, response) => {
      response.writeHead(426, { connection: 'close' }).end('MQTT over WebSocket is served at /mqtt\n');
    });
    http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const path = (request.url ?? '').split('?')[0];
      const offered = request.headers['sec-websocket-protocol'] ?? '';
      if (path !== WEBSOCKET_PATH || !/\bmqtt(v3\.1)?\b/.test(offered)) {
        socket.end(
          `HTTP/1.1 ${path === WEBSOCKET_PATH ? '400 Bad Request' : '404 Not Found'}\r\nconnection: close\r\n\r\n`,
        );
        return;
      }
      webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        // [MQTT-6.0.0-1] MQTT travels in binary frames.
        webSocket.on('message', (_, isBinary) => {
          if (!isBinary) webSocket.close(1003);
        });
        const stream = createWebSocketStream(webSocket);
        const remoteAddress = request.socket.remoteAddress ?? '';
        this.#onAccepted({ stream, remoteAddress, certificate: certificates.get(socket) ?? null });
      });
    });
    return (socket, certificate) => {
      if (certificate !== null) certificates.set(socket, certificate);
      http.emit('connection', socket);
    };
  }

  /** Accepts no more; connections that became MQTT connections are closed by the edge. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
    });
  }
}
