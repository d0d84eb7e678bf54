import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/config.ts';
import { type ConfigSources, environmentName, loadConfig } from '../../src/config/load.ts';

const DESIGN_EXAMPLE = `
broker.id: edge-1
data.dir: /var/lib/headwater
listeners: { mqtt: 127.0.0.1:1883, kafka: 127.0.0.1:9092, http: 127.0.0.1:8080 }
log.retention.hours: 168
log.retention.total.bytes: 4GiB
topics:
  alarms: { partitions: 1, retention.ms: -1, acks: all, priority: 9 }
  temperature: { partitions: 4, compression.type: zstd, retention.bytes: 512MiB }
routes:
  - { mqtt: "plant/+/alarm/#", topic: alarms }
  - { mqtt: "plant/+/temp", topic: temperature, key: "{1}" }
links:
  cloud:
    type: kafka
    bootstrap.servers: kafka-1:9093,kafka-2:9093
    topics: [alarms, temperature]
    acks: all
    replicas: async
    max.bytes.per.second: 64KiB
`;

const load = (text: string, more: ConfigSources = {}) =>
  loadConfig({ text, file: '/etc/headwater/config.yaml', ...more });

async function problemsOf(text: string, more: ConfigSources = {}): Promise<string[]> {
  const error = await load(text, more).then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ConfigError);
  expect((error as ConfigError).code).toBe('INVALID_CONFIG');
  return (error as ConfigError).message.replaceAll('/etc/headwater/config.yaml', 'f').split('\n');
}

describe('a configuration file', () => {
  it('gives the example of the documentation as typed, frozen values', async () => {
    const config = await load(DESIGN_EXAMPLE);
    expect(config.settings['broker.id']).toBe('edge-1');
    expect(config.settings['log.retention.total.bytes']).toBe(4 * 1024 ** 3);
    expect(config.listeners.mqtt).toEqual({ host: '127.0.0.1', port: 1883 });
    expect(config.listeners.mqtts).toBeNull();
    expect(config.topics.get('alarms')).toEqual({
      name: 'alarms',
      partitions: 1,
      acks: 'all',
      priority: 9,
      'disk.full': 'drop-oldest',
      config: new Map([['retention.ms', '-1']]),
    });
    expect(config.topics.get('temperature')?.config.get('compression.type')).toBe('zstd');
    expect(config.routes).toEqual([
      { mqtt: 'plant/+/alarm/#', topic: 'alarms', key: '{topic}', acks: null, store: true },
      { mqtt: 'plant/+/temp', topic: 'temperature', key: '{1}', acks: null, store: true },
    ]);
    const cloud = config.links.get('cloud')!;
    expect(cloud['bootstrap.servers']).toEqual(['kafka-1:9093', 'kafka-2:9093']);
    expect(cloud['max.bytes.per.second']).toBe(65_536);
    expect(cloud.rename).toBe('{broker}.{topic}');
    for (const part of [config, config.settings, config.listeners, config.routes, config.routes[0], cloud]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
  });

  it('may be empty', async () => {
    const config = await load('# nothing yet\n', { hostname: 'pi at home.local' });
    expect(config.settings['broker.id']).toBe('pi-at-home.local');
    expect(config.listeners.kafka).toEqual({ host: '127.0.0.1', port: 9092 });
    expect(config.topicDefaults.get('retention.ms')).toBe('604800000');
  });

  it('takes relative paths from its own directory', async () => {
    expect((await load('data.dir: store\n')).settings['data.dir']).toBe('/etc/headwater/store');
  });

  it('ranks retention in ms over minutes over hours, as Kafka does', async () => {
    const retention = async (text: string) => (await load(text)).topicDefaults.get('retention.ms');
    expect(await retention('log.retention.hours: 2\n')).toBe('7200000');
    expect(await retention('log.retention.hours: 2\nlog.retention.minutes: 3\n')).toBe('180000');
    expect(await retention('log.retention.minutes: 3\nlog.retention.ms: 4s\n')).toBe('4000');
    expect(await retention('log.retention.hours: -1\n')).toBe('-1');
  });

  it('hands broker-wide topic defaults on under their topic names', async () => {
    const { topicDefaults } = await load('message.max.bytes: 64KiB\ncompression.type: gzip\n');
    expect(topicDefaults.get('max.message.bytes')).toBe('65536');
    expect(topicDefaults.get('compression.type')).toBe('gzip');
  });

  it('understands every way to write an address', async () => {
    const { listeners, advertised } = await load(
      'listeners: { mqtt: 1884, kafka: "[::1]:9093", http: off, ws: "*:8081" }\nallow.anonymous: true\nadvertised.listeners: { kafka: edge.example:9092 }\n',
    );
    expect(listeners.mqtt).toEqual({ host: '127.0.0.1', port: 1884 });
    expect(listeners.kafka).toEqual({ host: '::1', port: 9093 });
    expect(listeners.http).toBeNull();
    expect(listeners.ws).toEqual({ host: '0.0.0.0', port: 8081 });
    expect(advertised.kafka).toEqual({ host: 'edge.example', port: 9092 });
  });
});

describe('the environment and the command line', () => {
  it('win over the file, flags over both', async () => {
    const config = await load(
      'num.partitions: 2\nflush.ms: 5\nlinks:\n  up: { type: kafka, bootstrap.servers: "a:1", topics: x }\n',
      {
        env: {
          [environmentName('num.partitions')]: '3',
          HEADWATER_FLUSH_MS: '1s',
          HEADWATER_LISTENERS_MQTT: '127.0.0.1:1',
          HEADWATER_LINKS_UP_ACKS: '1',
        },
        flags: { 'num.partitions': '4', 'listeners.kafka': '127.0.0.1:0' },
      },
    );
    expect(config.settings['num.partitions']).toBe(4);
    expect(config.settings['flush.ms']).toBe(1_000);
    expect(config.listeners.mqtt?.port).toBe(1);
    expect(config.listeners.kafka?.port).toBe(0);
    expect(config.links.get('up')?.acks).toBe('1');
  });

  it('name their mistakes', async () => {
    expect(
      await problemsOf('', { env: { HEADWATER_FLUSH_MS: 'soon' }, flags: { 'listeners.mqtt': 'nowhere' } }),
    ).toEqual([
      'the environment: HEADWATER_FLUSH_MS: "soon" is not a whole number from 0 to 60000 ms (units: ms, s, m, h, d)',
      'the command line: listeners.mqtt: "nowhere" is not HOST:PORT (port 0 to 65535), a port, or off',
    ]);
  });

  it('warn of a variable with our prefix that is nothing, because it may be meant for something else', async () => {
    const warnings: string[] = [];
    await load('', {
      env: { HEADWATER_NUM_PARTITION: '3', HEADWATER_NODE: '/bin/node' },
      warn: (text) => warnings.push(text),
    });
    expect(warnings).toEqual([
      'HEADWATER_NUM_PARTITION in the environment is not a setting; did you mean HEADWATER_NUM_PARTITIONS?',
    ]);
  });
});

describe('a mistake names line, key, value and what is allowed', () => {
  const cases: readonly (readonly [string, string, string])[] = [
    [
      'an unknown key',
      'log.retention.hour: 1',
      'f:1: log.retention.hour: unknown setting; did you mean log.retention.hours?',
    ],
    ['a name from server.properties', 'log.dirs: /x', 'f:1: log.dirs: unknown setting; here it is called data.dir'],
    [
      'a nested name',
      'log: { retention: 1 }',
      'f:1: log: unknown setting; names are written whole, for example "log.retention.ms: ..."',
    ],
    ['a key that is like nothing', 'zzz: 1', 'f:1: zzz: unknown setting; all of them are in docs/settings.md'],
    ['a wrong type', '\nnum.partitions: many', 'f:2: num.partitions: "many" is not a whole number from 1 to 4096'],
    ['a fraction', 'num.partitions: 1.5', 'f:1: num.partitions: 1.5 is not a whole number from 1 to 4096'],
    ['a value out of range', 'node.id: -3', 'f:1: node.id: -3 is not a whole number from 0 to 2147483647'],
    [
      'a size where a time belongs',
      'flush.ms: 5KiB',
      'f:1: flush.ms: "5KiB" is not a whole number from 0 to 60000 ms (units: ms, s, m, h, d)',
    ],
    [
      'a map where a scalar belongs',
      'broker.id: { a: 1 }',
      'f:1: broker.id: a map is not a name of 1 to 64 letters, digits, ".", "_" and "-"',
    ],
    [
      'a choice that is none',
      'compression.type: brotli',
      'f:1: compression.type: "brotli" is not one of producer, uncompressed, gzip, snappy, lz4, zstd',
    ],
    [
      'a boolean that is none',
      'auto.create.topics.enable: yes please',
      'f:1: auto.create.topics.enable: "yes please" is not true or false',
    ],
    [
      'a key that is there twice',
      'node.id: 1\nnode.id: 2',
      'f:2: the key "node.id" is there twice; every key may be there once',
    ],
    ['a value left out', 'flush.ms:', 'f:1: flush.ms: has no value; remove the line for the default'],
    [
      'an unknown listener',
      'listeners: { mqqt: 1 }',
      'f:1: listeners.mqqt: unknown listener; did you mean mqtt? Allowed: mqtt, mqtts, ws, wss, kafka, kafkas, http, https',
    ],
    [
      'a port that is none',
      'listeners: { mqtt: "h:99999" }',
      'f:1: listeners.mqtt: "h:99999" is not HOST:PORT (port 0 to 65535), a port, or off',
    ],
    [
      'one port for two listeners',
      'listeners: { mqtt: 9092 }',
      'f:1: listeners.kafka: 127.0.0.1:9092 is taken by the listener mqtt; every listener needs a port of its own',
    ],
    [
      'an open door',
      'listeners: { mqtt: "0.0.0.0:1883" }',
      'f:1: listeners.mqtt: 0.0.0.0:1883 can be reached from other hosts, and nobody would have to log in; set users.file, or allow.anonymous: true where everybody is trusted, or listen on 127.0.0.1',
    ],
    [
      'TLS without a certificate',
      'listeners: { mqtts: 8883 }',
      'f:1: listeners.mqtts: a TLS listener needs ssl.certificate.file and ssl.key.file',
    ],
    [
      'an address nobody can dial',
      'advertised.listeners: { kafka: "0.0.0.0:9092" }',
      'f:1: advertised.listeners.kafka: "0.0.0.0:9092" is nothing a client could connect to; give the name or address clients use',
    ],
    [
      'a topic name Kafka does not allow',
      'topics: { "a/b": {} }',
      'f:1: topics.a/b: "a/b" is not a topic name: 1 to 249 letters, digits, ".", "_" and "-"',
    ],
    [
      'a topic setting that does not exist',
      'topics: { a: { retention.hours: 1 } }',
      'f:1: topics.a.retention.hours: unknown setting; did you mean retention.bytes?',
    ],
    [
      'a topic setting with an impossible value',
      'topics:\n  a:\n    min.insync.replicas: 99',
      'f:3: topics.a.min.insync.replicas: "99" is not a whole number from 1 to 16 replicas',
    ],
    [
      'a topic setting that is no time',
      'topics: { a: { retention.ms: soon } }',
      'f:1: topics.a.retention.ms: "soon" is not a whole number from -1 to 2^53-1 ms (units: ms, s, m, h, d)',
    ],
    [
      'a topic setting with a size where a time belongs',
      'topics: { a: { retention.ms: 5MiB } }',
      'f:1: topics.a.retention.ms: "5MiB" is not a whole number from -1 to 2^53-1 ms (units: ms, s, m, h, d)',
    ],
    [
      'a topic setting with a time where a size belongs',
      'topics: { a: { retention.bytes: 5m } }',
      'f:1: topics.a.retention.bytes: "5m" is not a whole number from -1 to 2^53-1 bytes (units: KiB, MiB, GiB, kB, MB, GB)',
    ],
    [
      'a time where a size belongs',
      'log.retention.bytes: 7d',
      'f:1: log.retention.bytes: "7d" is not a whole number from -1 to 2^53-1 bytes (units: KiB, MiB, GiB, kB, MB, GB)',
    ],
    ['routes that are no list', 'routes: { a: b }', 'f:1: routes: must be a list, in order of precedence'],
    ['a route without a topic', 'routes: [{ mqtt: a }]', 'f:1: routes[0].topic: is missing: The topic that stores it.'],
    [
      'a filter MQTT does not allow',
      'routes: [{ mqtt: "a/#/b", topic: x }]',
      'f:1: routes[0].mqtt: "a/#/b": "#" stands alone in the last level',
    ],
    [
      'a route behind its twin',
      'routes: [{ mqtt: "a", topic: x }, { mqtt: "a", topic: y }]',
      'f:1: routes[1].mqtt: "a" is what routes[0] has taken already',
    ],
    [
      'a template with a wildcard too many',
      'routes: [{ mqtt: "a/+", topic: x, key: "{2}" }]',
      'f:1: routes[0].key: "{2}" is not a template of {topic}, {client}, {1} and text',
    ],
    [
      'a link without a type',
      'links: { up: { topics: a } }',
      'f:1: links.up.type: is missing: The protocol upstream: Apache Kafka or another Headwater, or any MQTT broker.',
    ],
    [
      'a link without servers',
      'links: { up: { type: kafka, topics: a } }',
      'f:1: links.up.bootstrap.servers: is missing: one or more HOST:PORT',
    ],
    [
      'a link that has nothing to do',
      'links: { up: { type: mqtt, url: "mqtt://h" } }',
      'f:1: links.up.topics: is empty: the link would have nothing to do',
    ],
    [
      'a sync link over MQTT',
      'links: { up: { type: mqtt, url: "mqtt://h", topics: a, replicas: sync } }',
      'f:1: links.up.replicas: "sync" needs a link of type kafka: an MQTT broker is no replica',
    ],
    [
      'topics that would fall together',
      'links: { up: { type: kafka, bootstrap.servers: "h:1", topics: "a,b", rename: all } }',
      'f:1: links.up.rename: "all" gives several topics the same name; it needs {topic}',
    ],
    [
      'a source without its topic',
      'sources: { a: { paths: /x } }',
      'f:1: sources.a.topic: is missing: The topic that stores the records.',
    ],
    [
      'a relative path to tail',
      'sources: { a: { paths: log/x, topic: t } }',
      'f:1: sources.a.paths: "log/x" is not an absolute path',
    ],
    [
      'a pattern of paths that is not ours',
      'sources: { a: { paths: "/x/**", topic: t } }',
      'f:1: sources.a.paths: "/x/**": only "*" and "?" stand for other characters',
    ],
    [
      'a regular expression that is none',
      'sources: { a: { paths: /x, topic: t, multiline.start: "(" } }',
      'f:1: sources.a.multiline.start: Invalid regular expression',
    ],
    [
      'a key from a pattern that is not there',
      'sources: { a: { paths: /x, topic: t, key: "{1}" } }',
      'f:1: sources.a.key: "{1}" is not a template of {path}, {file}, {source} and text',
    ],
    [
      'a record longer than the bound',
      'sources: { a: { paths: /x, topic: t, record.max.bytes: 2MiB } }',
      'f:1: sources.a.record.max.bytes: "2MiB" is not a whole number from 64 to 1048576',
    ],
    ['text that is not YAML', 'a: [1', 'f:1: not valid YAML'],
    ['a list for a file', '- a\n- b', 'f:1: the file must hold settings, one `name: value` a line'],
  ];

  for (const [name, text, message] of cases) {
    it(name, async () => {
      const problems = await problemsOf(text);
      expect(
        problems.some((problem) => problem.startsWith(message)),
        problems.join('\n'),
      ).toBe(true);
    });
  }

  it('and all of them at once', async () => {
    expect(await problemsOf('num.partitions: 0\nflush.ms: -1\nbroker.id: a b\n')).toHaveLength(3);
  });

  it('but never a secret', async () => {
    const text = 'links: { up: { type: kafka, bootstrap.servers: "h:1", topics: a, password: [hunter2] } }';
    expect((await problemsOf(text)).join('\n')).not.toContain('hunter2');
  });

  it('a file that is not there', async () => {
    await expect(loadConfig({ file: '/nonexistent/c.yaml' })).rejects.toThrow(
      '/nonexistent/c.yaml: there is no such file',
    );
  });

  it('a file that is a directory', async () => {
    await expect(loadConfig({ file: '/' })).rejects.toThrow('/: it is a directory, not a file');
  });

  it('a file that a setting names and that cannot be read, where a broker would read it', async () => {
    const text = `users.file: /nope/users
acl.file: /
links:
  up: { type: kafka, bootstrap.servers: "h:1", topics: a, ssl.ca.file: absent.pem }
`;
    expect(await problemsOf(text, { files: true, env: { HEADWATER_ACL_FILE: '/nope/acl' } })).toEqual([
      'f:1: users.file: /nope/users: there is no such file',
      'the environment: acl.file: /nope/acl: there is no such file',
      'f:4: links.up.ssl.ca.file: /etc/headwater/absent.pem: there is no such file',
    ]);
    expect(await problemsOf(text, { files: true })).toContain('f:2: acl.file: /: it is a directory, not a file');
    // `headwater users add` makes the file that the configuration names.
    expect((await load(text)).settings['users.file']).toBe('/nope/users');
  });

  it('an alias bomb is refused, not unfolded', async () => {
    const levels = Array.from({ length: 12 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i}, `.repeat(9)}*l${i}]`);
    const problems = await problemsOf(`l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n${levels.join('\n')}\n`);
    expect(problems[0]).toContain('nested or repeated too deeply');
  });
});
