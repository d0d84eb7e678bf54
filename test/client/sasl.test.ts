import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../../src/client/cluster.ts';
import type { SaslOptions } from '../../src/client/sasl.ts';
import { systemEnv } from '../../src/env.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { Security } from '../../src/security/security.ts';
import { createUser, formatUsers } from '../../src/security/users.ts';
import { type StartedEdge, startEdge } from '../kafka/start-edge.ts';

let directory: string;
let edge: StartedEdge;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'headwater-client-'));
  const usersFile = join(directory, 'users');
  writeFileSync(usersFile, formatUsers([await createUser('link', 'correct horse')]));
  const saslMechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;
  const sasl = await Security.load(
    { usersFile, aclFile: null, superUsers: [], allowAnonymous: false, saslMechanisms, tls: null },
    { env: systemEnv, logger: silentLogger, metrics: new Metrics() },
  );
  const listener = { name: 'SASL', host: '127.0.0.1', port: 0, advertised: null, secure: null, sasl };
  edge = await startEdge({ listeners: [listener] });
});
afterAll(async () => {
  await edge.edge.stop();
  rmSync(directory, { recursive: true });
});

function clusterWith(sasl: SaslOptions): Cluster {
  return new Cluster(systemEnv, { bootstrap: `127.0.0.1:${edge.port}`, sasl });
}

describe.each(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const)('a login with %s', (mechanism) => {
  it('works with the right password and fails by name with a wrong one', async () => {
    const good = clusterWith({ mechanism, username: 'link', password: 'correct horse' });
    expect((await good.metadata(null)).brokers).toHaveLength(1);
    good.close();
    const bad = clusterWith({ mechanism, username: 'link', password: 'wrong horse' });
    await expect(bad.metadata(null)).rejects.toMatchObject({ code: 'AUTHENTICATION_FAILED' });
    bad.close();
  });
});
