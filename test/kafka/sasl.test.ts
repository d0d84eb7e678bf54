import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel, type SASLOptions } from 'kafkajs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { Security } from '../../src/security/security.ts';
import { createUser, formatUsers } from '../../src/security/users.ts';
import { metadata } from '../../src/wire/kafka/api/03-metadata.ts';
import { saslHandshake } from '../../src/wire/kafka/api/17-sasl-handshake.ts';
import { apiVersions } from '../../src/wire/kafka/api/18-api-versions.ts';
import { saslAuthenticate } from '../../src/wire/kafka/api/36-sasl-authenticate.ts';
import { KAFKA_ERROR } from '../../src/wire/kafka/errors.ts';
import { RawClient, type StartedEdge, startEdge } from './start-edge.ts';

let directory: string;
let usersFile: string;
let started: StartedEdge;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'headwater-sasl-'));
  usersFile = join(directory, 'users');
  writeFileSync(usersFile, formatUsers([await createUser('sensor', 'correct horse')]));
});

afterAll(() => rmSync(directory, { recursive: true }));

beforeEach(async () => {
  const sasl = await Security.load(
    {
      usersFile,
      aclFile: null,
      superUsers: [],
      allowAnonymous: false,
      saslMechanisms: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
      tls: null,
    },
    { env: systemEnv, logger: silentLogger, metrics: new Metrics() },
  );
  started = await startEdge({
    listeners: [{ name: 'SASL', host: '127.0.0.1', port: 0, advertised: null, secure: null, sasl }],
  });
});

afterEach(() => started.edge.stop());

async function listTopics(mechanism: string, password: string): Promise<string[]> {
  const kafka = new Kafka({
    brokers: [`127.0.0.1:${started.port}`],
    logLevel: logLevel.NOTHING,
    retry: { retries: 0 },
    sasl: { mechanism, username: 'sensor', password } as SASLOptions,
  });
  const admin = kafka.admin();
  await admin.connect();
  const topics = await admin.listTopics();
  await admin.disconnect();
  return topics;
}

describe.each(['plain', 'scram-sha-256', 'scram-sha-512'])('kafkajs with %s', (mechanism) => {
  test('the right password gets in', async () => {
    expect(await listTopics(mechanism, 'correct horse')).toEqual([]);
  });

  test('a wrong one does not', async () => {
    await expect(listTopics(mechanism, 'wrong horse')).rejects.toThrow(/SASL|authentication/i);
    expect(started.metric('headwater_kafka_authentication_failures_total')).toBe(1);
  });
});

const plain = (password: string): Buffer => Buffer.from(`\0sensor\0${password}`);

test('before authentication only ApiVersions and SASL are served', async () => {
  const client = await RawClient.connect(started.port);
  expect((await client.request(apiVersions, 0, {})).errorCode).toBe(0);
  client.send(metadata, 1, { topics: null });
  expect(await client.frame()).toBeNull();
  expect(started.metric('headwater_kafka_closed_connections_total', 'not authenticated')).toBe(1);
});

test('after authentication everything is served', async () => {
  const client = await RawClient.connect(started.port);
  expect(await client.request(saslHandshake, 1, { mechanism: 'PLAIN' })).toMatchObject({
    errorCode: 0,
    mechanisms: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
  });
  const done = await client.request(saslAuthenticate, 2, { authBytes: plain('correct horse') });
  expect(done).toMatchObject({ errorCode: 0, sessionLifetimeMs: 0 });
  expect((await client.request(metadata, 1, { topics: null })).topics).toEqual([]);
  expect((await client.request(saslHandshake, 1, { mechanism: 'PLAIN' })).errorCode).toBe(
    KAFKA_ERROR.ILLEGAL_SASL_STATE,
  );
  client.close();
});

test('a failure is answered and then the connection is closed', async () => {
  const client = await RawClient.connect(started.port);
  await client.request(saslHandshake, 1, { mechanism: 'PLAIN' });
  const { errorCode, errorMessage } = await client.request(saslAuthenticate, 1, { authBytes: plain('nonsense') });
  expect(errorCode).toBe(KAFKA_ERROR.SASL_AUTHENTICATION_FAILED);
  expect(errorMessage).not.toContain('nonsense');
  expect(await client.frame()).toBeNull();
});

test('an unknown mechanism is named with those that are known; another try is allowed', async () => {
  const client = await RawClient.connect(started.port);
  const { errorCode, mechanisms } = await client.request(saslHandshake, 1, { mechanism: 'GSSAPI' });
  expect(errorCode).toBe(KAFKA_ERROR.UNSUPPORTED_SASL_MECHANISM);
  expect(mechanisms).toContain('PLAIN');
  expect((await client.request(saslHandshake, 1, { mechanism: 'PLAIN' })).errorCode).toBe(0);
  client.close();
});

test('SaslAuthenticate without a handshake is ILLEGAL_SASL_STATE', async () => {
  const client = await RawClient.connect(started.port);
  const { errorCode } = await client.request(saslAuthenticate, 1, { authBytes: plain('correct horse') });
  expect(errorCode).toBe(KAFKA_ERROR.ILLEGAL_SASL_STATE);
  client.close();
});

test('after SaslHandshake version 0 the messages come bare (KIP-43)', async () => {
  const client = await RawClient.connect(started.port);
  await client.request(saslHandshake, 0, { mechanism: 'PLAIN' });
  const message = plain('correct horse');
  const size = Buffer.alloc(4);
  size.writeInt32BE(message.length);
  client.socket.write(Buffer.concat([size, message]));
  expect(await client.frame()).toHaveLength(0);
  expect((await client.request(metadata, 1, { topics: null })).topics).toEqual([]);
  client.close();
});

test('guessing makes the address wait: the right password is refused as well for a while', async () => {
  for (let i = 0; i < 6; i++) {
    const client = await RawClient.connect(started.port);
    await client.request(saslHandshake, 1, { mechanism: 'PLAIN' });
    await client.request(saslAuthenticate, 1, { authBytes: plain(`guess ${i}`) });
    client.close();
  }
  await expect(listTopics('plain', 'correct horse')).rejects.toThrow();
});

test('who has not authenticated may not send large frames', async () => {
  const client = await RawClient.connect(started.port);
  const size = Buffer.alloc(4);
  size.writeInt32BE(64 * 1024 + 1);
  client.socket.write(size);
  expect(await client.frame()).toBeNull();
  expect(started.metric('headwater_kafka_malformed_requests_total')).toBe(1);
});

test('SCRAM takes the nonce of librdkafka before 2.6, which sends its own part twice; never one without ours', async () => {
  const bare = 'n=sensor,r=abc';
  const salted = (salt: Buffer, rounds: number) => pbkdf2Sync('correct horse', salt, rounds, 32, 'sha256');
  const login = async (nonceOf: (nonce: string) => string): Promise<number> => {
    const client = await RawClient.connect(started.port);
    await client.request(saslHandshake, 1, { mechanism: 'SCRAM-SHA-256' });
    const first = await client.request(saslAuthenticate, 1, { authBytes: Buffer.from(`n,,${bare}`) });
    const serverFirst = Buffer.from(first.authBytes).toString();
    const [nonce, salt, iterations] = serverFirst.split(',').map((part) => part.slice(2)) as [string, string, string];
    const withoutProof = `c=biws,r=${nonceOf(nonce)}`;
    const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest();
    const clientKey = hmac(salted(Buffer.from(salt, 'base64'), Number(iterations)), 'Client Key');
    const storedKey = createHash('sha256').update(clientKey).digest();
    const signature = hmac(storedKey, `${bare},${serverFirst},${withoutProof}`);
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ signature[i]!)).toString('base64');
    const last = await client.request(saslAuthenticate, 1, { authBytes: Buffer.from(`${withoutProof},p=${proof}`) });
    client.close();
    return last.errorCode;
  };
  expect(await login((nonce) => nonce)).toBe(0);
  expect(await login((nonce) => `abc${nonce}`)).toBe(0);
  expect(await login(() => 'abc')).toBe(KAFKA_ERROR.SASL_AUTHENTICATION_FAILED);
});
