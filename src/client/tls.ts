import type { Socket } from 'node:net';
import { HeadwaterError } from '../errors.ts';
import { isIP } from './host.ts';

/** PEM text or buffers; Node's own CA list without `ca`. */
export interface TlsOptions {
  readonly ca?: string | Buffer | undefined;
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  readonly passphrase?: string | undefined;
  /** Name to check in the server's certificate; the host's without it. */
  readonly servername?: string | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
}

/** TLS 1.2 or later over a connected socket. CONNECTION_LOST with the reason when the handshake fails. */
export async function secure(plain: Socket, host: string, options: TlsOptions): Promise<Socket> {
  const { connect } = await import('node:tls');
  return new Promise((resolve, reject) => {
    const servername = options.servername ?? (isIP(host) ? '' : host);
    const { rejectUnauthorized = true } = options;
    const socket = connect({
      socket: plain,
      host,
      servername,
      minVersion: 'TLSv1.2',
      ca: options.ca,
      cert: options.cert,
      key: options.key,
      passphrase: options.passphrase,
      rejectUnauthorized,
    });
    const failed = (error: Error): void => {
      reject(new HeadwaterError('CONNECTION_LOST', `TLS with ${host}: ${error.message}`, { cause: error }));
    };
    socket.once('error', failed);
    socket.once('secureConnect', () => {
      socket.off('error', failed);
      resolve(socket);
    });
  });
}
