/** Links that show who they are: TLS, client certificates and SASL towards Apache Kafka and Mosquitto, and credentials put right by a reload. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { beforeAll, describe, expect, it } from 'vitest';
import { ApacheKafka, freePort, haveKafka } from '../support/apache-kafka.ts';
import { HEADWATER, TestBroker } from '../support/broker.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { havePeers } from '../support/peers.ts';
import { Child, mustRun, run } from '../support/process.ts';
import { readTopic } from '../support/readback.ts';
import { tempDir } from '../support/scope.ts';
import { eventually } from '../support/wait.ts';

const TESTS = 'links with TLS and logins';
const SECRET = 'kept upstream';
const WAIT_MS = 60_000;

interface Status {
  readonly name: string;
  readonly state: string;
  readonly lastError: string | null;
  readonly backlogRecords: number;
}

async function statuses(edge: TestBroker): Promise<Status[]> {
  const text = await mustRun(HEADWATER, ['links', '--json', '--http', `127.0.0.1:${edge.ports.http}`]);
  return JSON.parse(text) as Status[];
}

/** One link as `headwater links` shows it, once `is` holds. */
async function shown(edge: TestBroker, name: string, what: string, is: (link: Status) => boolean): Promise<Status> {
  let last: Status | undefined;
  try {
    return await eventually(`${name} ${what}`, WAIT_MS, async () => {
      last = (await statuses(edge)).find((link) => link.name === name);
      return last !== undefined && is(last) ? last : undefined;
    });
  } catch (cause) {
    throw new Error(`${name} is not ${what}: ${JSON.stringify(last)}`, { cause });
  }
}

const reload = (edge: TestBroker) => run(HEADWATER, ['reload', '--http', `127.0.0.1:${edge.ports.http}`]);

async function publish(edge: TestBroker, topic: string, values: readonly string[]): Promise<void> {
  const client = await connectAsync(edge.mqttUrl);
  for (const value of values) await client.publishAsync(topic, value, { qos: 1 });
  await client.endAsync();
}
const numbered = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `reading ${from + i}`);
const has = (link: Status, state: string, error: RegExp, backlog: number) =>
  link.state === state && error.test(link.lastError ?? '') && link.backlogRecords === backlog;

describe.runIf(havePeers(TESTS, 'openssl', 'mosquitto') && haveKafka(TESTS))(TESTS, () => {
  let dir: string;
  let pem: Certificates;
  const file = (name: string) => join(dir, name);

  beforeAll(async () => {
    dir = tempDir('link-security');
    pem = await makeCertificates('edge');
  });

  describe('to Apache Kafka', () => {
    const ports = { tls: 0, mutual: 0, sasl: 0, saslTls: 0 };
    let kafka: ApacheKafka;

    beforeAll(async () => {
      for (const listener of Object.keys(ports) as (keyof typeof ports)[]) ports[listener] = await freePort();
      const store = (name: string, ...from: string[]) => {
        writeFileSync(file(name), from.map((path) => readFileSync(path, 'utf8')).join(''));
        return file(name);
      };
      const listeners = [
        ...[`TLS://127.0.0.1:${ports.tls}`, `MUTUAL://127.0.0.1:${ports.mutual}`],
        ...[`SASL://127.0.0.1:${ports.sasl}`, `SASLTLS://127.0.0.1:${ports.saslTls}`],
      ];
      const login = 'org.apache.kafka.common.security';
      const settings: Record<string, string> = {
        'listener.security.protocol.map':
          'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL',
        'ssl.keystore.type': 'PEM',
        'ssl.keystore.location': store('server.store.pem', pem.serverKey, pem.server),
        'ssl.truststore.type': 'PEM',
        'ssl.truststore.location': pem.ca,
        'listener.name.mutual.ssl.client.auth': 'required',
        'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
      };
      for (const listener of ['sasl', 'sasltls']) {
        settings[`listener.name.${listener}.plain.sasl.jaas.config`] =
          `${login}.plain.PlainLoginModule required user_edge="${SECRET}";`;
        for (const mechanism of ['scram-sha-256', 'scram-sha-512'])
          settings[`listener.name.${listener}.${mechanism}.sasl.jaas.config`] =
            `${login}.scram.ScramLoginModule required;`;
      }
      const scram = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].map((name) => `${name}=[name=edge,password=${SECRET}]`);
      kafka = await ApacheKafka.start('4.3.1', settings, 0, { listeners, scram });
    });

    const link = (name: string, port: number, protocol: string, ...more: string[]) =>
      [
        `  ${name}:`,
        '    type: kafka',
        `    bootstrap.servers: 127.0.0.1:${port}`,
        '    topics: [readings]',
        `    rename: "${name}.{topic}"`,
        `    security.protocol: ${protocol}`,
        '    retry.backoff.ms: 50',
        '    retry.backoff.max.ms: 500',
        ...more.map((line) => `    ${line}`),
        '',
      ].join('\n');
    const TOPIC =
      'memory.budget: 256MiB\ntopics:\n  readings: { partitions: 1 }\nroutes:\n  - { mqtt: "r", topic: readings }\nlinks:\n';
    const values = async (name: string) =>
      (await readTopic(kafka.bootstrap, `${name}.readings`)).map(({ value }) => value);

    it('carries records over TLS, with a client certificate, and with PLAIN and SCRAM on both', async () => {
      const ca = `ssl.ca.file: ${pem.ca}`;
      const login = (mechanism: string) => [`sasl.mechanism: ${mechanism}`, 'username: edge', `password: ${SECRET}`];
      const certificate = [`ssl.certificate.file: ${pem.client}`, `ssl.key.file: ${pem.clientKey}`];
      const links = [
        link('tls', ports.tls, 'SSL', ca),
        link('mutual', ports.mutual, 'SSL', ca, ...certificate),
        link('transactions', ports.mutual, 'SSL', ca, ...certificate, 'acks: all', 'transactional: true'),
        ...['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
          link(`open-${mechanism}`, ports.sasl, 'SASL_PLAINTEXT', ...login(mechanism)),
          link(`tls-${mechanism}`, ports.saslTls, 'SASL_SSL', ca, ...login(mechanism)),
        ]),
      ];
      const edge = await TestBroker.start({ brokerId: 'edge', config: TOPIC + links.join('') });
      await publish(edge, 'r', numbered(0, 50));
      const names = (await statuses(edge)).map(({ name }) => name);
      expect(names).toHaveLength(9);
      for (const name of names) await shown(edge, name, 'done', (l) => l.state === 'live' && l.backlogRecords === 0);
      for (const found of await Promise.all(names.map(values))) expect(found).toEqual(numbered(0, 50));
      await edge.stop();
    });

    it('a wrong authority, certificate or password blocks the link with its backlog until a reload puts it right', async () => {
      const stranger = pem.strangerStore.replace('.store', '');
      copyFileSync(stranger, file('ca.pem'));
      copyFileSync(stranger, file('client.pem'));
      copyFileSync(stranger.replace('.pem', '.key'), file('client.key'));
      writeFileSync(file('password'), 'guessed\n');
      const links = (user: string) =>
        [
          link('authority', ports.tls, 'SSL', `ssl.ca.file: ${file('ca.pem')}`),
          link(
            ...(['certificate', ports.mutual, 'SSL', `ssl.ca.file: ${pem.ca}`] as const),
            ...[`ssl.certificate.file: ${file('client.pem')}`, `ssl.key.file: ${file('client.key')}`],
          ),
          link('scram', ports.sasl, 'SASL_PLAINTEXT', 'username: edge', `password.file: ${file('password')}`),
          link(
            ...(['plain', ports.saslTls, 'SASL_SSL', `ssl.ca.file: ${pem.ca}`, 'sasl.mechanism: PLAIN'] as const),
            ...[`username: ${user}`, `password: ${SECRET}`],
          ),
          link(
            ...(['in-transactions', ports.sasl, 'SASL_PLAINTEXT', 'transactional: true', 'acks: all'] as const),
            ...['username: edge', `password.file: ${file('password')}`],
          ),
        ].join('');
      const edge = await TestBroker.start({ brokerId: 'edge-2', config: TOPIC + links('nobody') });
      await publish(edge, 'r', numbered(0, 20));
      const refusals = {
        authority: /TLS with 127\.0\.0\.1: .*(self-signed|unable to verify)/,
        certificate: /certificate/,
        scram: /Authentication failed/,
        plain: /Authentication failed/,
        'in-transactions': /Authentication failed/,
      };
      for (const [name, reason] of Object.entries(refusals))
        await shown(edge, name, `blocked by ${reason}`, (l) => has(l, 'blocked', reason, 20));

      // A reload that cannot read a file changes nothing and names it.
      edge.configure(TOPIC + links('edge').replace(file('password'), file('absent')));
      const failed = await reload(edge);
      expect(failed.code).not.toBe(0);
      expect(failed.stdout + failed.stderr).toMatch(/links\.scram\.password\.file: .*there is no such file/);
      for (const [name, reason] of Object.entries(refusals))
        await shown(edge, name, `blocked by ${reason}`, (l) => has(l, 'blocked', reason, 20));

      copyFileSync(pem.ca, file('ca.pem'));
      copyFileSync(pem.client, file('client.pem'));
      copyFileSync(pem.clientKey, file('client.key'));
      writeFileSync(file('password'), `${SECRET}\n`);
      edge.configure(TOPIC + links('edge'));
      const done = await reload(edge);
      expect(done.stdout).toContain('links.plain.username');
      for (const name of Object.keys(refusals))
        await shown(edge, name, 'done', (l) => l.state === 'live' && l.backlogRecords === 0 && l.lastError === null);
      await publish(edge, 'r', numbered(20, 30));
      for (const name of Object.keys(refusals)) await shown(edge, name, 'done', (l) => l.backlogRecords === 0);
      const found = await Promise.all(Object.keys(refusals).map(values));
      for (const records of found) expect(records).toEqual(numbered(0, 30));
      await edge.stop();
    });
  });

  describe('to Mosquitto', () => {
    const ports = { tls: 0, ws: 0 };
    let mosquitto: Child;

    beforeAll(async () => {
      for (const listener of Object.keys(ports) as (keyof typeof ports)[]) ports[listener] = await freePort();
      await mustRun('mosquitto_passwd', ['-b', '-c', file('mosquitto.users'), 'edge', SECRET]);
      const config = [
        ...['allow_anonymous false', `password_file ${file('mosquitto.users')}`, 'user root'],
        ...[`listener ${ports.tls} 127.0.0.1`, `cafile ${pem.ca}`, `certfile ${pem.server}`],
        ...[`keyfile ${pem.serverKey}`, 'require_certificate true'],
        ...[`listener ${ports.ws} 127.0.0.1`, 'protocol websockets', ''],
      ];
      writeFileSync(file('mosquitto.conf'), config.join('\n'));
      mosquitto = new Child('mosquitto', ['-v', '-c', file('mosquitto.conf')]);
      await mosquitto.until('start of mosquitto', 20_000, (out, err) => /running/.test(out + err) || undefined);
    });

    const HEAD = 'topics:\n  readings: { partitions: 1 }\nroutes:\n  - { mqtt: "r/#", topic: readings }\nlinks:\n';
    const link = (name: string, ...lines: string[]) =>
      [`  ${name}:`, 'type: mqtt', 'topics: [readings]', `rename: "${name}/{key}"`, 'username: edge', ...lines]
        .concat(`password.file: ${file('mqtt.password')}`, 'retry.backoff.ms: 50', 'retry.backoff.max.ms: 500\n')
        .join('\n    ');

    it('carries records over TLS with a client certificate and over WebSocket, after a reload put the password right', async () => {
      writeFileSync(file('mqtt.password'), 'guessed\n');
      const certificate = [`ssl.certificate.file: ${pem.client}`, `ssl.key.file: ${pem.clientKey}`];
      const links = [
        link('tls', `url: mqtts://localhost:${ports.tls}`, `ssl.ca.file: ${pem.ca}`, ...certificate),
        link('ws', `url: ws://127.0.0.1:${ports.ws}/mqtt`),
        link('stranger', `url: mqtts://localhost:${ports.tls}`, ...certificate),
      ];
      const edge = await TestBroker.start({ brokerId: 'edge-3', config: HEAD + links.join('') });
      await publish(edge, 'r/1', numbered(0, 20));
      for (const name of ['tls', 'ws'])
        await shown(edge, name, 'refused', (l) => has(l, 'backing-off', /Not authorized/i, 20));
      const seen = new Map<string, string[]>();
      const reader = await connectAsync(`mqtts://localhost:${ports.tls}`, {
        ...{ ca: readFileSync(pem.ca), cert: readFileSync(pem.client), key: readFileSync(pem.clientKey) },
        ...{ username: 'edge', password: SECRET },
      });
      reader.on('message', (topic, payload) => {
        seen.set(topic, [...(seen.get(topic) ?? []), payload.toString()]);
      });
      await reader.subscribeAsync('+/r/#', { qos: 1 });
      writeFileSync(file('mqtt.password'), `${SECRET}\n`);
      expect((await reload(edge)).code).toBe(0);
      for (const name of ['tls', 'ws']) {
        await shown(edge, name, 'done', (l) => l.state === 'live' && l.backlogRecords === 0 && l.lastError === null);
        await eventually(`${name} at the reader`, WAIT_MS, () => (seen.get(`${name}/r/1`)?.length ?? 0) >= 20);
        expect(seen.get(`${name}/r/1`)).toEqual(numbered(0, 20));
      }
      // Without the authority's certificate the server is a stranger, whatever the password.
      await shown(edge, 'stranger', 'refused', (l) => has(l, 'backing-off', /self-signed|unable to verify/, 20));
      await reader.endAsync();
      await edge.stop();
    });
  });
});
