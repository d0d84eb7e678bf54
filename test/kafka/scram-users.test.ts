/** KIP-554 over the users file: what Kafka's tools change is there for every edge at once. */
import { pbkdf2Sync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel, type SASLOptions } from 'kafkajs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { Security } from '../../src/security/security.ts';
import { createUser, formatUsers, parseUsers } from '../../src/security/users.ts';
import { saslHandshake } from '../../src/wire/kafka/api/17-sasl-handshake.ts';
import { saslAuthenticate } from '../../src/wire/kafka/api/36-sasl-authenticate.ts';
import { describeUserScramCredentials } from '../../src/wire/kafka/api/50-describe-user-scram-credentials.ts';
import { alterUserScramCredentials } from '../../src/wire/kafka/api/51-alter-user-scram-credentials.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

const SHA_256 = 1;
const SHA_512 = 2;
const admin = await createUser('admin', 'correct horse');

let directory: string;
let usersFile: string;
let security: Security;
let started: StartedEdge;
let client: RawClient;

async function start(text = formatUsers([admin]), allowAnonymous = false): Promise<void> {
  directory = mkdtempSync(join(tmpdir(), 'headwater-scram-users-'));
  usersFile = join(directory, 'users');
  writeFileSync(usersFile, text);
  security = await Security.load(
    {
      usersFile,
      aclFile: null,
      superUsers: [],
      allowAnonymous,
      saslMechanisms: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
      tls: null,
    },
    { env: systemEnv, logger: silentLogger, metrics: new Metrics() },
  );
  const listener = { name: 'SASL', host: '127.0.0.1', port: 0, advertised: null, secure: null, sasl: security };
  started = await startEdge({ listeners: [listener] }, { users: security, access: security });
  client = await RawClient.connect(started.port);
}

async function stop(): Promise<void> {
  client.close();
  await started.edge.stop();
  rmSync(directory, { recursive: true });
}

async function logIn(name = 'admin', secret = 'correct horse'): Promise<number> {
  await client.request(saslHandshake, 1, { mechanism: 'PLAIN' });
  return (await client.request(saslAuthenticate, 2, { authBytes: Buffer.from(`\0${name}\0${secret}`) })).errorCode;
}

const salt = Buffer.from('a salt of its own');
const upsertion = (name: string, secret: string, mechanism = SHA_256, more: object = {}) => ({
  name,
  mechanism,
  iterations: 4_096,
  salt,
  saltedPassword:
    mechanism === SHA_256
      ? pbkdf2Sync(secret, salt, 4_096, 32, 'sha256')
      : pbkdf2Sync(secret, salt, 4_096, 64, 'sha512'),
  ...more,
});

const alter = async (
  upsertions: ReturnType<typeof upsertion>[],
  deletions: { name: string; mechanism: number }[] = [],
) => (await client.request(alterUserScramCredentials, 0, { deletions, upsertions })).results;

const presented = (username: string, secret: string) => ({
  username,
  password: Buffer.from(secret),
  certificate: null,
  remoteAddress: '10.0.0.1',
});

async function kafkajsLogsIn(mechanism: string, username: string, password: string): Promise<void> {
  const sasl = { mechanism, username, password } as SASLOptions;
  const kafka = new Kafka({
    brokers: [`127.0.0.1:${started.port}`],
    logLevel: logLevel.NOTHING,
    retry: { retries: 0 },
    sasl,
  });
  const one = kafka.admin();
  await one.connect();
  await one.disconnect();
}

describe('with a login', () => {
  beforeEach(async () => {
    await start();
    expect(await logIn()).toBe(0);
  });
  afterEach(stop);

  test('a user who is made logs in at once by SCRAM, by PLAIN and over the other edges', async () => {
    expect(await alter([upsertion('sensor', 'made by kafka')])).toMatchObject([{ user: 'sensor', errorCode: 0 }]);
    await kafkajsLogsIn('scram-sha-256', 'sensor', 'made by kafka');
    await kafkajsLogsIn('plain', 'sensor', 'made by kafka');
    await expect(kafkajsLogsIn('scram-sha-512', 'sensor', 'made by kafka')).rejects.toThrow(/SASL|authentication/i);
    await expect(kafkajsLogsIn('scram-sha-256', 'sensor', 'made by other')).rejects.toThrow(/SASL|authentication/i);
    expect(await security.login('mqtt', presented('sensor', 'made by kafka'))).toBe('sensor');
    expect(await security.login('mqtt', presented('sensor', 'made by other'))).toBeNull();
  });

  test('the file holds them, and what was in it meanwhile', async () => {
    writeFileSync(usersFile, formatUsers([admin, await createUser('added', 'by an editor')]));
    await alter([upsertion('sensor', 'made by kafka'), upsertion('sensor', 'made by kafka', SHA_512)]);
    const users = parseUsers(readFileSync(usersFile, 'utf8'), 'f');
    expect([...users.keys()]).toEqual(['admin', 'added', 'sensor']);
    expect([...users.get('sensor')!.scram.keys()]).toEqual(['SCRAM-SHA-256', 'SCRAM-SHA-512']);
    expect(await security.login('mqtt', presented('added', 'by an editor'))).toBe('added');
  });

  test('a new secret ends the old one on every edge', async () => {
    expect(await security.login('mqtt', presented('admin', 'correct horse'))).toBe('admin');
    await alter([upsertion('admin', 'battery staple'), upsertion('admin', 'battery staple', SHA_512)]);
    expect(await security.login('mqtt', presented('admin', 'correct horse'))).toBeNull();
    expect(await security.login('mqtt', presented('admin', 'battery staple'))).toBe('admin');
  });

  test('Describe shows mechanisms and iterations of everybody, or of those asked for', async () => {
    await alter([upsertion('sensor', 'made by kafka')]);
    const all = await client.request(describeUserScramCredentials, 0, { users: null });
    expect(all.results).toMatchObject([
      {
        user: 'admin',
        credentialInfos: [
          { mechanism: 1, iterations: 8_192 },
          { mechanism: 2, iterations: 8_192 },
        ],
      },
      { user: 'sensor', credentialInfos: [{ mechanism: 1, iterations: 4_096 }] },
    ]);
    const some = await client.request(describeUserScramCredentials, 0, {
      users: [{ name: 'sensor' }, { name: 'nobody' }, { name: 'twice' }, { name: 'twice' }],
    });
    expect(some.results.map(({ user, errorCode }) => [user, errorCode])).toEqual([
      ['sensor', 0],
      ['nobody', KAFKA_ERROR.RESOURCE_NOT_FOUND],
      ['twice', KAFKA_ERROR.DUPLICATE_RESOURCE],
    ]);
  });

  test('the last credential takes the user with it; one who has a secret otherwise stays', async () => {
    await alter([upsertion('sensor', 'made by kafka')]);
    expect(
      await alter(
        [],
        [
          { name: 'sensor', mechanism: SHA_256 },
          { name: 'admin', mechanism: SHA_256 },
          { name: 'admin', mechanism: SHA_512 },
          { name: 'nobody', mechanism: SHA_512 },
        ],
      ),
    ).toMatchObject([
      { user: 'sensor', errorCode: 0 },
      { user: 'admin', errorCode: 0 },
      { user: 'nobody', errorCode: KAFKA_ERROR.RESOURCE_NOT_FOUND },
    ]);
    expect([...parseUsers(readFileSync(usersFile, 'utf8'), 'f').keys()]).toEqual(['admin']);
    expect(await security.login('mqtt', presented('admin', 'correct horse'))).toBe('admin');
  });

  test.each([
    ['a name that is not allowed', [upsertion('a/b', 'long enough')], KAFKA_ERROR.UNACCEPTABLE_CREDENTIAL],
    ['too few iterations', [upsertion('u', 'x', SHA_256, { iterations: 4_095 })], KAFKA_ERROR.UNACCEPTABLE_CREDENTIAL],
    ['too many', [upsertion('u', 'x', SHA_256, { iterations: 16_385 })], KAFKA_ERROR.UNACCEPTABLE_CREDENTIAL],
    ['a short salt', [upsertion('u', 'x', SHA_256, { salt: Buffer.alloc(7) })], KAFKA_ERROR.UNACCEPTABLE_CREDENTIAL],
    ['a huge salt', [upsertion('u', 'x', SHA_256, { salt: Buffer.alloc(129) })], KAFKA_ERROR.UNACCEPTABLE_CREDENTIAL],
    ['a key of the wrong size', [upsertion('u', 'x', SHA_512, { saltedPassword: Buffer.alloc(32) })], 93],
    ['an unknown mechanism', [upsertion('u', 'x', 3)], KAFKA_ERROR.UNSUPPORTED_SASL_MECHANISM],
    ['the same twice', [upsertion('u', 'x'), upsertion('u', 'y')], KAFKA_ERROR.DUPLICATE_RESOURCE],
  ])('%s is refused, and the others of the request are done', async (_, upsertions, code) => {
    const before = readFileSync(usersFile, 'utf8');
    const results = await alter([...upsertions, upsertion('good', 'made by kafka')]);
    expect(results[0]).toMatchObject({ errorCode: code });
    expect(results.find(({ user }) => user === 'good')).toMatchObject({ errorCode: 0 });
    const names = [...parseUsers(readFileSync(usersFile, 'utf8'), 'f').keys()];
    expect(names).toEqual(['admin', 'good']);
    expect(readFileSync(usersFile, 'utf8')).toContain(before.trim().split('\n').at(-1));
  });

  test('a file that is gone is named, and the users stay', async () => {
    rmSync(usersFile);
    const results = await alter([upsertion('sensor', 'made by kafka')]);
    expect(results[0]).toMatchObject({ errorCode: KAFKA_ERROR.INVALID_CONFIG });
    expect(results[0]!.errorMessage).toMatch(/users\.file cannot be changed by the broker: ENOENT/);
    expect(await security.login('mqtt', presented('admin', 'correct horse'))).toBe('admin');
  });

  test('changes that come together are all made', async () => {
    const clients = await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const one = await RawClient.connect(started.port);
        await one.request(saslHandshake, 1, { mechanism: 'PLAIN' });
        await one.request(saslAuthenticate, 2, { authBytes: Buffer.from('\0admin\0correct horse') });
        return { one, upsertions: [upsertion(`sensor-${i}`, 'made by kafka')] };
      }),
    );
    await Promise.all(
      clients.map(({ one, upsertions }) => one.request(alterUserScramCredentials, 0, { deletions: [], upsertions })),
    );
    for (const { one } of clients) one.close();
    expect(parseUsers(readFileSync(usersFile, 'utf8'), 'f').size).toBe(9);
  });
});

test('who has not logged in may not make users, even where anonymous clients are let in', async () => {
  await start(formatUsers([admin]), true);
  expect(await alter([upsertion('sensor', 'made by kafka')])).toMatchObject([
    { user: 'sensor', errorCode: KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED },
  ]);
  expect(parseUsers(readFileSync(usersFile, 'utf8'), 'f').size).toBe(1);
  await stop();
});

test('a thousand users are the most that are made this way', async () => {
  const line = formatUsers([admin]).split('\n')[1]!;
  await start(Array.from({ length: 1_000 }, (_, i) => line.replace('admin', i === 0 ? 'admin' : `u${i}`)).join('\n'));
  expect(await logIn()).toBe(0);
  const results = await alter([upsertion('one-more', 'made by kafka'), upsertion('u7', 'made by kafka')]);
  expect(results).toMatchObject([
    { user: 'one-more', errorCode: KAFKA_ERROR.UNACCEPTABLE_CREDENTIAL },
    { user: 'u7', errorCode: 0 },
  ]);
  await stop();
});

test('a broker without a users file says so', async () => {
  const edge = await startEdge();
  const raw = await RawClient.connect(edge.port);
  const { results } = await raw.request(alterUserScramCredentials, 0, {
    deletions: [],
    upsertions: [upsertion('sensor', 'made by kafka')],
  });
  expect(results[0]).toMatchObject({ errorCode: KAFKA_ERROR.INVALID_CONFIG });
  expect(results[0]!.errorMessage).toContain('users.file');
  expect((await raw.request(describeUserScramCredentials, 0, { users: null })).results).toEqual([]);
  raw.close();
  await edge.edge.stop();
});
