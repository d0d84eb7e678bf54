/** Certificates as an operator makes them, with openssl: an authority, a server for loopback, a client, a stranger. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun } from './process.ts';
import { tempDir } from './scope.ts';

export interface Certificates {
  readonly ca: string;
  readonly server: string;
  readonly serverKey: string;
  readonly client: string;
  readonly clientKey: string;
  /** Key and certificate of the client in one file, as Java's PEM key stores are. */
  readonly clientStore: string;
  /** Signed by nobody the server knows. */
  readonly strangerStore: string;
}

/** `client` is the common name of the client's certificate. They are good for two days. */
export async function makeCertificates(client: string): Promise<Certificates> {
  const dir = tempDir('certificates');
  const path = (name: string) => join(dir, name);
  const openssl = (...args: string[]) => mustRun('openssl', args, { cwd: dir });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const selfSigned = (name: string, subject: string) =>
    openssl('req', '-x509', ...key, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', `/CN=${subject}`);
  const signed = async (name: string, subject: string, extensions: string) => {
    await openssl(
      'req',
      ...key.slice(0, -2),
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${subject}`,
    );
    writeFileSync(path(`${name}.ext`), extensions);
    await openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'],
      ...['-days', '2', '-out', `${name}.pem`, '-extfile', `${name}.ext`],
    );
  };
  await selfSigned('ca', 'Test authority');
  await selfSigned('stranger', client);
  await signed('server', 'headwater', 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  await signed('client', client, 'extendedKeyUsage=clientAuth\n');
  const store = (name: string) => {
    const file = path(`${name}.store.pem`);
    writeFileSync(file, readFileSync(path(`${name}.key`), 'utf8') + readFileSync(path(`${name}.pem`), 'utf8'));
    return file;
  };
  return {
    ca: path('ca.pem'),
    server: path('server.pem'),
    serverKey: path('server.key'),
    client: path('client.pem'),
    clientKey: path('client.key'),
    clientStore: store('client'),
    strangerStore: store('stranger'),
  };
}
