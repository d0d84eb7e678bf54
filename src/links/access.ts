/** How a link reaches its upstream: addresses, certificates, password. */
import { readFile as readFileFromDisk } from 'node:fs/promises';
import type { ClusterOptions } from '../client/cluster.ts';
import type { TlsOptions } from '../client/tls.ts';
import { HeadwaterError } from '../errors.ts';
import type { LinkSettings } from './settings.ts';

export interface AccessDependencies {
  /** `broker.id`. */
  readonly broker: string;
  readonly readFile?: (path: string) => Promise<Buffer>;
}

export async function clusterOptionsOf(
  name: string,
  settings: LinkSettings,
  dependencies: AccessDependencies,
): Promise<ClusterOptions> {
  const { tls, password, clientId } = await accessOf(name, settings, dependencies);
  const protocol = settings['security.protocol'];
  return {
    bootstrap: settings['bootstrap.servers'].join(','),
    clientId,
    requestTimeoutMs: settings['request.timeout.ms'],
    connectTimeoutMs: Math.min(settings['request.timeout.ms'], 10_000),
    tls: protocol.endsWith('SSL') ? tls : undefined,
    sasl: protocol.startsWith('SASL')
      ? { mechanism: settings['sasl.mechanism'], username: settings.username ?? '', password }
      : undefined,
  };
}

/** Certificates, password and client id. INVALID_CONFIG for a file that cannot be read. */
export async function accessOf(
  name: string,
  settings: LinkSettings,
  { broker, readFile = readFileFromDisk }: AccessDependencies,
): Promise<{ tls: TlsOptions; password: string; clientId: string }> {
  const read = async (setting: 'ssl.ca.file' | 'ssl.certificate.file' | 'ssl.key.file' | 'password.file') => {
    const path = settings[setting];
    if (path === null) return undefined;
    try {
      return await readFile(path);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new HeadwaterError('INVALID_CONFIG', `links.${name}.${setting}: ${reason}`, { cause });
    }
  };
  return {
    tls: {
      ca: await read('ssl.ca.file'),
      cert: await read('ssl.certificate.file'),
      key: await read('ssl.key.file'),
    },
    password: (await read('password.file'))?.toString('utf8').split(/\r?\n/, 1)[0] ?? settings.password ?? '',
    clientId: settings['client.id'] ?? `headwater-${broker}-${name}`,
  };
}
