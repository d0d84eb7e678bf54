/** The Kafka connection of the tools: where to, and who we are. */
import { Cluster } from '../client/cluster.ts';
import { parseAddress } from '../config/address.ts';
import { systemEnv } from '../env.ts';
import { DEFAULT_BOOTSTRAP, fileOption, type Io, UsageError } from './command.ts';

export const CONNECTION_OPTIONS = {
  bootstrap: { type: 'string' },
  user: { type: 'string' },
  sasl: { type: 'string' },
  ca: { type: 'string' },
} as const;

export const CONNECTION_USAGE = `  --bootstrap HOST:PORT[,...]  the broker (default 127.0.0.1:9092 or HEADWATER_BOOTSTRAP)
  --user NAME:SECRET           when the broker asks for a login (or HEADWATER_USER, which no process list shows)
  --sasl MECHANISM             PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (default SCRAM-SHA-512)
  --ca FILE                    speak TLS and trust these authorities (PEM)
`;

export interface ConnectionFlags {
  readonly bootstrap?: string | undefined;
  readonly user?: string | undefined;
  readonly sasl?: string | undefined;
  readonly ca?: string | undefined;
}

const MECHANISMS = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;

/** Runs `task` with a cluster that is closed afterwards, whatever happens. */
export async function withCluster<T>(
  io: Io,
  flags: ConnectionFlags,
  task: (cluster: Cluster) => Promise<T>,
): Promise<T> {
  const bootstrap = flags.bootstrap ?? io.env['HEADWATER_BOOTSTRAP'] ?? DEFAULT_BOOTSTRAP;
  for (const part of bootstrap.split(',')) {
    const address = parseAddress(part);
    if (address === null || address.port === 0) throw new UsageError(`--bootstrap: "${part}" is not HOST:PORT`);
  }
  const credentials = flags.user ?? io.env['HEADWATER_USER'];
  const colon = credentials?.indexOf(':') ?? -1;
  if (credentials !== undefined && colon < 1) throw new UsageError('--user: must be NAME:SECRET');
  const mechanism = MECHANISMS.find((name) => name === (flags.sasl ?? 'SCRAM-SHA-512'));
  if (mechanism === undefined) throw new UsageError(`--sasl: "${flags.sasl}" is not one of ${MECHANISMS.join(', ')}`);
  const cluster = new Cluster(systemEnv, {
    bootstrap,
    clientId: 'headwater-cli',
    ...(credentials === undefined
      ? {}
      : { sasl: { mechanism, username: credentials.slice(0, colon), password: credentials.slice(colon + 1) } }),
    ...(flags.ca === undefined ? {} : { tls: { ca: await fileOption('ca', flags.ca) } }),
  });
  try {
    return await task(cluster);
  } finally {
    cluster.close();
  }
}
