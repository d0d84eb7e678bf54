/** HOST:PORT as people write it. */
import type { Endpoint } from './config.ts';

/**
 * `127.0.0.1:1883`, `[::1]:1883`, `edge-1.local:1883`; `*:1883` and `:1883` are every address of the host; a bare `1883`
 * is loopback. null when it is none of these.
 */
export function parseAddress(text: string): Endpoint | null {
  const match = /^(?:(\[[0-9A-Fa-f:.%a-z]+\]|[^:\s[\]/]*):)?(\d{1,5})$/.exec(text.trim());
  if (match === null) return null;
  const port = Number(match[2]);
  if (port > 65_535) return null;
  const host = match[1];
  if (host === undefined) return { host: '127.0.0.1', port };
  if (host === '' || host === '*') return { host: '0.0.0.0', port };
  return { host: host.startsWith('[') ? host.slice(1, -1) : host, port };
}

export function formatAddress({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether only processes of this host can reach it. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host) || /^::ffff:127\./i.test(host);
}
