import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { LinkAccess } from '../../src/links/access.ts';
import type { LinkSettings } from '../../src/links/settings.ts';

async function settings(more: string): Promise<LinkSettings> {
  const text = `links: { up: { type: kafka, bootstrap.servers: "h:1", topics: a, security.protocol: SASL_SSL, ${more} } }\n`;
  return (await loadConfig({ text, hostname: 'edge' })).links.get('up') as unknown as LinkSettings;
}

describe('the credentials of a link', () => {
  const files = new Map<string, string>();
  const readFile = async (path: string) => {
    const text = files.get(path);
    if (text === undefined) throw new Error(`ENOENT: ${path}`);
    return Buffer.from(text);
  };

  it('are read again by a reload, count from the next connection on, and stay when a file cannot be read', async () => {
    files.set('/p', 'old\nnot the password').set('/ca', 'one');
    const before = await settings('username: u, password.file: /p, ssl.ca.file: /ca');
    const access = await LinkAccess.open('up', before, { broker: 'edge', readFile });
    const { credentials, clientId } = access.cluster();
    const old = {
      tls: { ca: Buffer.from('one') },
      sasl: { mechanism: 'SCRAM-SHA-512', username: 'u', password: 'old' },
    };
    expect(clientId).toBe('headwater-edge-up');
    expect(credentials?.()).toEqual(old);

    files.set('/p', 'new\r\n').set('/ca', 'two');
    const use = await access.prepare(await settings('username: v, password.file: /p, ssl.ca.file: /ca'));
    expect(credentials?.()).toEqual(old);
    use();
    const now = { ...old, tls: { ca: Buffer.from('two') }, sasl: { ...old.sasl, username: 'v', password: 'new' } };
    expect(credentials?.()).toEqual(now);

    files.delete('/ca');
    await expect(access.prepare(before)).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: 'links.up.ssl.ca.file: ENOENT: /ca',
    });
    expect(credentials?.()).toEqual(now);
  });
});
