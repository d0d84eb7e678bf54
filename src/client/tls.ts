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

/** Alerts by which a server refuses our certificate, or that we show none. */
const REFUSED = /^ERR_SSL_\w*ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED)$/;

/** Whether TLS ended because one side does not take the other's certificate. */
export function isCertificateRefused(error: unknown): boolean {
  return error instanceof Error && REFUSED.test((error as NodeJS.ErrnoException).code ?? '');
}

/**
 * TLS 1.2 or later over a connected socket. AUTHENTICATION_FAILED when a certificate is not accepted, CONNECTION_LOST when
 * the handshake fails otherwise, with the reason.
 */
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
      const refused = socket.authorizationError != null || isCertificateRefused(error);
      const code = refused ? 'AUTHENTICATION_FAILED' : 'CONNECTION_LOST';
      reject(new HeadwaterError(code, `TLS with ${host}: ${error.message}`, { cause: error }));
    };
    socket.once('error', failed);
    socket.once('secureConnect', () => {
      socket.off('error', failed);
      resolve(socket);
    });
  });
}
