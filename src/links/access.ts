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

interface Credentials {
  readonly tls: TlsOptions;
  readonly mechanism: LinkSettings['sasl.mechanism'];
  readonly username: string | null;
  readonly password: string;
}

/** What a link shows upstream. It may be replaced while the link runs; it counts for the connections made from then on. */
export class LinkAccess {
  readonly #name: string;
  readonly #settings: LinkSettings;
  readonly #dependencies: AccessDependencies;
  #credentials: Credentials;

  private constructor(
    name: string,
    settings: LinkSettings,
    dependencies: AccessDependencies,
    credentials: Credentials,
  ) {
    this.#name = name;
    this.#settings = settings;
    this.#dependencies = dependencies;
    this.#credentials = credentials;
  }

  /** INVALID_CONFIG for a file that cannot be read. */
  static async open(name: string, settings: LinkSettings, dependencies: AccessDependencies): Promise<LinkAccess> {
    return new LinkAccess(name, settings, dependencies, await readCredentials(name, settings, dependencies));
  }

  /** Reads the files again. Nothing changes before what it resolves with is called; INVALID_CONFIG as `open`. */
  async prepare(settings: LinkSettings): Promise<() => void> {
    const credentials = await readCredentials(this.#name, settings, this.#dependencies);
    return () => {
      this.#credentials = credentials;
    };
  }

  get clientId(): string {
    return this.#settings['client.id'] ?? `headwater-${this.#dependencies.broker}-${this.#name}`;
  }

  /** Of a type kafka or standby. */
  cluster(): ClusterOptions {
    const settings = this.#settings;
    const protocol = settings['security.protocol'];
    return {
      bootstrap: settings['bootstrap.servers'].join(','),
      clientId: this.clientId,
      requestTimeoutMs: settings['request.timeout.ms'],
      connectTimeoutMs: Math.min(settings['request.timeout.ms'], 10_000),
      credentials: () => {
        const { tls, mechanism, username, password } = this.#credentials;
        return {
          tls: protocol.endsWith('SSL') ? tls : undefined,
          sasl: protocol.startsWith('SASL') ? { mechanism, username: username ?? '', password } : undefined,
        };
      },
    };
  }

  /** Of a type mqtt, as they are now. */
  mqtt(): { username: string | null; password: string | null; tls: TlsOptions } {
    const { tls, username, password } = this.#credentials;
    return { tls, username, password: username === null ? null : password };
  }
}

async function readCredentials(
  name: string,
  settings: LinkSettings,
  { readFile = readFileFromDisk }: AccessDependencies,
): Promise<Credentials> {
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
    mechanism: settings['sasl.mechanism'],
    username: settings.username,
    password: (await read('password.file'))?.toString('utf8').split(/\r?\n/, 1)[0] ?? settings.password ?? '',
  };
}
