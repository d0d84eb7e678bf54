/** SASL and TLS with real clients, users made by kafka-configs, and a broker behind a port forward. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Kafka, logLevel, type SASLOptions } from 'kafkajs';
import { connectAsync } from 'mqtt';
import { beforeAll, describe, expect, it } from 'vitest';
import { createUser, formatUsers } from '../../src/security/users.ts';
import { haveKafka, kafkaTool, mustTool, startJavaSource } from '../support/apache-kafka.ts';
import { TestBroker } from '../support/broker.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun, run } from '../support/process.ts';
import { tempDir } from '../support/scope.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const TESTS = 'SASL and TLS with real clients';
const LOGINS = join(fileURLToPath(new URL('.', import.meta.url)), 'kafka/Logins.java');
const MECHANISMS = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;
const SECRET = 'correct horse battery';

type Properties = Readonly<Record<string, string>>;

describe.runIf(havePeers(TESTS, 'openssl', 'kcat', 'javac') && haveKafka(TESTS))(TESTS, () => {
  let dir: string;
  let pem: Certificates;
  /** With users; its TLS listener asks for certificates and is reached through the proxy only, as behind NAT. */
  let broker: TestBroker;
  let proxy: TcpProxy;
  /** Without users: TLS alone. */
  let open: TestBroker;
  let strict: TestBroker;

  beforeAll(async () => {
    dir = tempDir('kafka-security');
    pem = await makeCertificates('device-7');
    const users = join(dir, 'users');
    writeFileSync(users, formatUsers([await createUser('admin', SECRET), await createUser('sensor', SECRET)]), {
      mode: 0o600,
    });
    writeFileSync(
      join(dir, 'acl'),
      ['sensor', 'fresh', 'device-7'].map((user) => `user ${user}\n  topic all secure\n  mqtt all #\n`).join(''),
    );
    const tls = `ssl.certificate.file: ${pem.server}\nssl.key.file: ${pem.serverKey}\nssl.ca.file: ${pem.ca}\n`;
    const topics = 'topics:\n  secure:\n    partitions: 1\n';
    const kafkas = 'listeners:\n  kafkas: 127.0.0.1:0\n';
    proxy = await TcpProxy.start();
    const config = [
      `users.file: ${users}\nacl.file: ${join(dir, 'acl')}\nsuper.users: [admin]\nssl.client.auth: requested\n`,
      `advertised.listeners:\n  kafkas: localhost:${proxy.port}\n`,
    ];
    [broker, open, strict] = await Promise.all([
      TestBroker.start({ config: config.join('') + tls + topics + kafkas }),
      TestBroker.start({ config: tls + topics + kafkas }),
      TestBroker.start({ config: `ssl.client.auth: required\n${tls}${topics}${kafkas}` }),
    ]);
    proxy.target = broker.ports.kafkas;
  });

  const sasl = (mechanism: string, username: string, password: string): Properties => ({
    'sasl.mechanism': mechanism,
    'sasl.jaas.config': `${mechanism === 'PLAIN' ? 'org.apache.kafka.common.security.plain.PlainLoginModule' : 'org.apache.kafka.common.security.scram.ScramLoginModule'} required username="${username}" password="${password}";`,
  });
  const trust = (): Properties => ({ 'ssl.truststore.type': 'PEM', 'ssl.truststore.location': pem.ca });
  const certificate = (store: string): Properties => ({ 'ssl.keystore.type': 'PEM', 'ssl.keystore.location': store });
  const plainText = (): Properties => ({
    'bootstrap.servers': broker.bootstrap,
    'security.protocol': 'SASL_PLAINTEXT',
  });
  const overTls = (): Properties => ({
    'bootstrap.servers': `localhost:${proxy.port}`,
    'security.protocol': 'SASL_SSL',
    ...trust(),
  });
  const tlsAlone = (port: number): Properties => ({
    'bootstrap.servers': `localhost:${port}`,
    'security.protocol': 'SSL',
    ...trust(),
  });
  const file = (name: string, properties: Properties) => {
    const path = join(dir, `${name}.properties`);
    writeFileSync(
      path,
      Object.entries(properties)
        .map(([key, value]) => `${key}=${value}\n`)
        .join(''),
    );
    return path;
  };
  /** What each login of the Java client came to. */
  async function javaLogins(cases: Readonly<Record<string, Properties>>): Promise<Record<string, string>> {
    const files = Object.entries(cases).map(([name, properties]) => file(name, properties));
    const { stdout } = await startJavaSource(LOGINS, files).finished;
    return Object.fromEntries(
      stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => line.split(': ') as [string, string]),
    );
  }

  it('the Java client logs in every way', async () => {
    const cases: Record<string, Properties> = {};
    for (const mechanism of MECHANISMS) {
      cases[`${mechanism} plain text`] = { ...plainText(), ...sasl(mechanism, 'sensor', SECRET) };
      cases[`${mechanism} over TLS`] = { ...overTls(), ...sasl(mechanism, 'sensor', SECRET) };
    }
    cases['TLS alone'] = tlsAlone(open.ports.kafkas);
    cases['certificate as the user'] = { ...tlsAlone(proxy.port), ...certificate(pem.clientStore) };
    cases['certificate required'] = { ...tlsAlone(strict.ports.kafkas), ...certificate(pem.clientStore) };
    expect(await javaLogins(cases)).toEqual(Object.fromEntries(Object.keys(cases).map((name) => [name, 'ok'])));
  });

  const kcat = (properties: Properties, ...args: string[]) => [
    ...Object.entries(properties).flatMap(([name, value]) => ['-X', `${name}=${value}`]),
    ...args,
  ];
  const kcatSasl = (mechanism: string, username: string, password: string): Properties => ({
    'sasl.mechanism': mechanism,
    'sasl.username': username,
    'sasl.password': password,
  });
  const kcatTls = (bootstrap: string, protocol: string): Properties => ({
    'bootstrap.servers': bootstrap,
    'security.protocol': protocol,
    'ssl.ca.location': pem.ca,
  });
  const kcatCertificate = (): Properties => ({
    'ssl.certificate.location': pem.client,
    'ssl.key.location': pem.clientKey,
  });

  it.each([
    ...MECHANISMS.flatMap((mechanism) => [
      [`${mechanism} in plain text`, () => ({ ...plainText(), ...kcatSasl(mechanism, 'sensor', SECRET) })] as const,
      [
        `${mechanism} over TLS`,
        () => ({ ...kcatTls(`localhost:${proxy.port}`, 'SASL_SSL'), ...kcatSasl(mechanism, 'sensor', SECRET) }),
      ] as const,
    ]),
    ['TLS alone', () => kcatTls(`localhost:${open.ports.kafkas}`, 'SSL')] as const,
    ['a certificate', () => ({ ...kcatTls(`localhost:${proxy.port}`, 'SSL'), ...kcatCertificate() })] as const,
  ])('kcat writes and reads with %s', async (name, properties) => {
    await mustRun('kcat', kcat(properties(), '-P', '-t', 'secure', '-p', '0'), { input: `kcat ${name}\n` });
    const read = await mustRun('kcat', kcat(properties(), '-C', '-t', 'secure', '-p', '0', '-o', '-1', '-e', '-q'));
    expect(read).toBe(`kcat ${name}\n`);
  });

  it.each(MECHANISMS)('kafkajs writes and reads with %s over TLS', async (mechanism) => {
    const kafka = new Kafka({
      brokers: [`localhost:${proxy.port}`],
      logLevel: logLevel.NOTHING,
      retry: { retries: 0 },
      ssl: { ca: readFileSync(pem.ca), servername: 'localhost' },
      sasl: { mechanism: mechanism.toLowerCase(), username: 'sensor', password: SECRET } as SASLOptions,
    });
    const producer = kafka.producer();
    await producer.connect();
    const [sent] = await producer.send({ topic: 'secure', messages: [{ value: mechanism, partition: 0 }] });
    expect(sent!.errorCode).toBe(0);
    await producer.disconnect();
  });

  it('behind a port forward every client is sent to the forwarded address, and others to theirs', async () => {
    const seen = async (properties: Properties) =>
      (JSON.parse(await mustRun('kcat', kcat(properties, '-L', '-J'))) as { brokers: { name: string }[] }).brokers;
    const login = kcatSasl('PLAIN', 'sensor', SECRET);
    expect(await seen({ ...kcatTls(`localhost:${proxy.port}`, 'SASL_SSL'), ...login })).toMatchObject([
      { name: `localhost:${proxy.port}` },
    ]);
    expect(await seen({ ...plainText(), ...login })).toMatchObject([{ name: broker.bootstrap }]);
  });

  it('kafka-configs makes, shows and removes a user, who logs in at once, over MQTT as well', async () => {
    const admin = file('admin', { ...overTls(), ...sasl('SCRAM-SHA-512', 'admin', SECRET) });
    const configs = (...args: string[]) =>
      mustTool('kafka-configs', [
        ...['--bootstrap-server', `localhost:${proxy.port}`, '--command-config', admin, ...args],
        ...['--entity-type', 'users', '--entity-name', 'fresh'],
      ]);
    await configs('--alter', '--add-config', 'SCRAM-SHA-256=[iterations=4096,password=made-by-kafka]');
    expect(await configs('--describe')).toMatch(
      /SCRAM credential configs for user-principal 'fresh' are SCRAM-SHA-256=iterations=4096/,
    );
    const fresh = (mechanism: string) => ({ ...plainText(), ...kcatSasl(mechanism, 'fresh', 'made-by-kafka') });
    for (const mechanism of ['SCRAM-SHA-256', 'PLAIN']) await mustRun('kcat', kcat(fresh(mechanism), '-L'));
    const device = await connectAsync(broker.mqttUrl, { username: 'fresh', password: 'made-by-kafka' });
    await device.publishAsync('secure', 'from a device', { qos: 1 });
    await device.endAsync();
    await configs('--alter', '--delete-config', 'SCRAM-SHA-256');
    expect(readFileSync(join(dir, 'users'), 'utf8')).not.toContain('fresh');
    expect((await run('kcat', kcat(fresh('SCRAM-SHA-256'), '-L', '-m', '2'))).code).not.toBe(0);
    const sensor = file('sensor', { ...overTls(), ...sasl('SCRAM-SHA-512', 'sensor', SECRET) });
    const refused = await kafkaTool('kafka-configs', [
      ...['--bootstrap-server', `localhost:${proxy.port}`, '--command-config', sensor, '--alter', '--add-config'],
      ...['SCRAM-SHA-256=[password=made-by-kafka]', '--entity-type', 'users', '--entity-name', 'fresh'],
    ]);
    expect(refused.stdout + refused.stderr).toMatch(/ClusterAuthorizationException/);
  });

  // Last: after some guesses this address has to wait.
  it('a wrong secret and a wrong certificate are refused by name', async () => {
    const wrong = (mechanism: string) => ({ ...plainText(), ...kcatSasl(mechanism, 'kcat-guess', 'not the secret') });
    for (const mechanism of ['PLAIN', 'SCRAM-SHA-512']) {
      const { code, stderr } = await run('kcat', kcat(wrong(mechanism), '-L', '-m', '2'));
      expect(code).not.toBe(0);
      expect(stderr).toMatch(/SASL authentication error|Authentication failed/i);
    }
    for (const mechanism of MECHANISMS) {
      const kafka = new Kafka({
        brokers: [broker.bootstrap],
        logLevel: logLevel.NOTHING,
        retry: { retries: 0 },
        sasl: { mechanism: mechanism.toLowerCase(), username: 'js-guess', password: 'not the secret' } as SASLOptions,
      });
      await expect(kafka.admin().connect()).rejects.toThrow(/SASL|authentication/i);
    }
    const authority = { 'ssl.truststore.location': pem.strangerStore.replace('.store', '') };
    const outcomes = await javaLogins({
      'PLAIN wrong': { ...plainText(), ...sasl('PLAIN', 'java-guess', 'not the secret') },
      'SCRAM-SHA-256 wrong': { ...plainText(), ...sasl('SCRAM-SHA-256', 'java-guess', 'not the secret') },
      'SCRAM-SHA-512 wrong': { ...overTls(), ...sasl('SCRAM-SHA-512', 'java-guess', 'not the secret') },
      'certificate missing': tlsAlone(strict.ports.kafkas),
      'certificate of a stranger': { ...tlsAlone(strict.ports.kafkas), ...certificate(pem.strangerStore) },
      'authority unknown': { ...tlsAlone(open.ports.kafkas), ...authority },
    });
    expect(outcomes).toEqual({
      'PLAIN wrong': 'SaslAuthenticationException',
      'SCRAM-SHA-256 wrong': 'SaslAuthenticationException',
      'SCRAM-SHA-512 wrong': 'SaslAuthenticationException',
      'certificate missing': 'SslAuthenticationException',
      'certificate of a stranger': 'SslAuthenticationException',
      'authority unknown': 'SslAuthenticationException',
    });
  });
});
