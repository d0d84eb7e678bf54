/** Certificates of the TLS listeners: read from files, replaced while connections go on, never replaced by bad ones. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { createSecureContext, type SecureContext, TLSSocket, type TlsOptions } from 'node:tls';
import { HeadwaterError } from '../errors.ts';

export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  /** Authorities of client certificates. */
  readonly ca: string | null;
  readonly clientAuth: 'none' | 'requested' | 'required';
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
/** OpenSSL ends the handshake of a client that resumes a session and may show a certificate unless sessions have a context. */
const SESSION_CONTEXT = 'headwater';

interface Loaded {
  readonly context: SecureContext;
  readonly options: TlsOptions;
  readonly files: TlsFiles;
  /** When the certificate ends, milliseconds since 1970. */
  readonly validTo: number;
}

export class TlsContexts {
  #loaded: Loaded;

  private constructor(loaded: Loaded) {
    this.#loaded = loaded;
  }

  /** Throws INVALID_CONFIG naming the file that is missing, unreadable or does not fit. */
  static async load(files: TlsFiles): Promise<TlsContexts> {
    return new TlsContexts(await load(files));
  }

  /** New connections get the new certificate; when it is bad the old one stays and the error is thrown. */
  async reload(files: TlsFiles = this.#loaded.files): Promise<void> {
    this.#loaded = await load(files);
  }

  get context(): SecureContext {
    return this.#loaded.context;
  }

  /** The same for a tls.Server that makes its own context. */
  get options(): TlsOptions {
    return this.#loaded.options;
  }

  get validTo(): number {
    return this.#loaded.validTo;
  }

  /** An accepted socket as a TLS server; destroyed when the handshake takes too long. */
  wrap(socket: Socket): TLSSocket {
    const { context, files } = this.#loaded;
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext: context,
      requestCert: files.clientAuth !== 'none',
      rejectUnauthorized: files.clientAuth === 'required',
    });
    secure.setTimeout(HANDSHAKE_TIMEOUT_MS, () => secure.destroy());
    secure.once('secure', () => {
      secure.setTimeout(0);
      // A server that made its own TLSSocket checks for itself.
      if (files.clientAuth === 'required' && identityOf(secure) === null) secure.destroy();
    });
    return secure;
  }
}

/** The subject's common name of a verified client certificate; null without one. */
export function identityOf(socket: Socket): string | null {
  if (!(socket instanceof TLSSocket)) return null;
  // tls.Server asks the session in this way before it sets `authorized`; a TLSSocket of our own has to be asked by us.
  const session = (socket as unknown as { _handle?: { verifyError?: () => Error | null } })._handle;
  if (typeof session?.verifyError !== 'function' || session.verifyError() != null) return null;
  const name = socket.getPeerCertificate(false)?.subject?.CN as string | string[] | undefined;
  return typeof name === 'string' && name !== '' ? name : null;
}

async function load(files: TlsFiles): Promise<Loaded> {
  const [cert, key, ca] = await Promise.all([
    read('ssl.certificate.file', files.certificate),
    read('ssl.key.file', files.key),
    files.ca === null ? undefined : read('ssl.ca.file', files.ca),
  ]);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (error) {
    throw invalid('ssl.certificate.file', files.certificate, 'holds no PEM certificate', error);
  }
  try {
    const pem = { cert, key, ...(ca !== undefined && { ca }), minVersion: 'TLSv1.2' } as const;
    const options = {
      ...pem,
      requestCert: files.clientAuth !== 'none',
      rejectUnauthorized: files.clientAuth === 'required',
    };
    return {
      context: createSecureContext({ ...pem, sessionIdContext: SESSION_CONTEXT }),
      options,
      files,
      validTo: Date.parse(certificate.validTo),
    };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const mismatch = code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH';
    throw invalid(
      'ssl.key.file',
      files.key,
      mismatch ? `is not the key of ${files.certificate}` : `cannot be used: ${message}`,
      error,
    );
  }
}

async function read(setting: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : code === 'EACCES' ? 'may not be read by this user' : message;
    throw invalid(setting, file, why, error);
  }
}

function invalid(setting: string, file: string, why: string, cause: unknown): HeadwaterError {
  return new HeadwaterError('INVALID_CONFIG', `${setting}: ${file} ${why}`, { cause });
}
