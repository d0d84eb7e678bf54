import { copyFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { identityOf, TlsContexts, type TlsFiles } from '../../src/security/tls.ts';

const CERTIFICATES = fileURLToPath(new URL('./certificates/', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'headwater-tls-'));
const path = (name: string) => join(CERTIFICATES, name);
const pem = (name: string) => readFileSync(path(name));

const FILES: TlsFiles = { certificate: path('server.pem'), key: path('server.key'), ca: null, clientAuth: 'none' };

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

/** Answers each connection with who it is. */
async function serve(contexts: TlsContexts): Promise<number> {
  const server = createServer((socket: Socket) => {
    const secure = contexts.wrap(socket);
    secure.on('error', () => {});
    secure.once('data', () => secure.end(`you are ${identityOf(secure) ?? 'nobody'}`));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as { port: number }).port;
}

/** What the server says, or why the connection failed; and the certificate it showed. */
function talk(
  port: number,
  options: { cert?: Buffer; key?: Buffer; maxVersion?: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'; session?: Buffer } = {},
): Promise<{ said: string; serial: string; session: Buffer | undefined; resumed: boolean }> {
  return new Promise((resolve, reject) => {
    let said = '';
    let serial = '';
    let session: Buffer | undefined;
    let resumed = false;
    const client: TLSSocket = connect(
      { port, host: '127.0.0.1', servername: 'localhost', ca: pem('ca.pem'), ...options },
      () => {
        serial = client.getPeerCertificate().serialNumber;
        resumed = client.isSessionReused();
        client.write('who am I?');
      },
    );
    client.on('data', (data) => {
      said += String(data);
    });
    client.on('session', (ticket: Buffer) => {
      session = ticket;
    });
    client.on('error', reject);
    client.on('close', () => resolve({ said, serial, session, resumed }));
  });
}

const client = { cert: pem('client.pem'), key: pem('client.key') };
const stranger = { cert: pem('stranger.pem'), key: pem('stranger.key') };

describe('a TLS listener', () => {
  it('serves clients without a certificate when none is asked for', async () => {
    const port = await serve(await TlsContexts.load(FILES));
    expect((await talk(port)).said).toBe('you are nobody');
  });

  it('knows a client by the common name of a certificate that its authority signed', async () => {
    const port = await serve(await TlsContexts.load({ ...FILES, ca: path('ca.pem'), clientAuth: 'requested' }));
    expect((await talk(port, client)).said).toBe('you are sensor-7');
    expect((await talk(port)).said).toBe('you are nobody');
    expect((await talk(port, stranger)).said).toBe('you are nobody');
  });

  it('lets nobody else in when a certificate is required', async () => {
    const port = await serve(await TlsContexts.load({ ...FILES, ca: path('ca.pem'), clientAuth: 'required' }));
    expect((await talk(port, client)).said).toBe('you are sensor-7');
    for (const options of [{}, stranger]) {
      const said = await talk(port, options).then(
        (answer) => answer.said,
        () => '',
      );
      expect(said).toBe('');
    }
  });

  // Java does, on every connection but its first.
  it.each(['TLSv1.2', 'TLSv1.3'] as const)('knows a client that resumes its session in %s', async (maxVersion) => {
    const port = await serve(await TlsContexts.load({ ...FILES, ca: path('ca.pem'), clientAuth: 'requested' }));
    for (const options of [client, {}]) {
      const first = await talk(port, { ...options, maxVersion });
      const second = await talk(port, { ...options, maxVersion, session: first.session! });
      expect([second.said, second.resumed]).toEqual([first.said, true]);
    }
  });

  it('speaks nothing older than TLS 1.2', async () => {
    const port = await serve(await TlsContexts.load(FILES));
    await expect(talk(port, { maxVersion: 'TLSv1.1' })).rejects.toThrow();
  });

  it('shows new connections the new certificate after a reload, and keeps the old one when the new is bad', async () => {
    const files = { ...FILES, certificate: join(directory, 'c.pem'), key: join(directory, 'k.pem') };
    const install = (name: string) => {
      copyFileSync(path(`${name}.pem`), files.certificate);
      copyFileSync(path(`${name}.key`), files.key);
    };
    install('server');
    const contexts = await TlsContexts.load(files);
    const port = await serve(contexts);
    const before = (await talk(port)).serial;
    install('server2');
    await contexts.reload();
    const after = (await talk(port)).serial;
    expect(after).not.toBe(before);
    copyFileSync(path('server.key'), files.key);
    await expect(contexts.reload()).rejects.toThrow(
      `ssl.key.file: ${files.key} is not the key of ${files.certificate}`,
    );
    expect((await talk(port)).serial).toBe(after);
  });

  it('names the file that is wrong', async () => {
    const none = join(directory, 'none.pem');
    await expect(TlsContexts.load({ ...FILES, key: none })).rejects.toThrow(`ssl.key.file: ${none} does not exist`);
    const text = join(directory, 'text.pem');
    writeFileSync(text, 'not a certificate');
    await expect(TlsContexts.load({ ...FILES, certificate: text })).rejects.toThrow('holds no PEM certificate');
    await expect(TlsContexts.load({ ...FILES, key: text })).rejects.toThrow(`ssl.key.file: ${text} cannot be used`);
  });

  it('tells when its certificate ends', async () => {
    expect((await TlsContexts.load(FILES)).validTo).toBeGreaterThan(Date.parse('2100-01-01'));
  });
});
