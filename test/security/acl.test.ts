import { describe, expect, it } from 'vitest';
import { parseAcl } from '../../src/security/acl.ts';

const RULES = `
# who may do what
user *
  mqtt publish devices/%u/#   # everything of its own
  mqtt subscribe devices/%c/commands/+
user dashboard
  mqtt subscribe plant/#, site/+/temp
  topic read temperature, plant-*
  group all dash-*
user writer
  topic write %u-data
  cluster create
user anonymous
  mqtt subscribe public/#
`;

describe('access rules', () => {
  const acl = parseAcl(RULES, 'acl');

  it('let a user publish under its own name only', () => {
    expect(acl.allowsMqtt('eve', 'c', 'publish', 'devices/eve/temp')).toBe(true);
    expect(acl.allowsMqtt('eve', 'c', 'publish', 'devices/eve')).toBe(true);
    expect(acl.allowsMqtt('eve', 'c', 'publish', 'devices/bob/temp')).toBe(false);
    expect(acl.allowsMqtt('eve', 'c', 'subscribe', 'devices/eve/temp')).toBe(false);
  });

  it('put the client id where %c stands, as a whole level', () => {
    expect(acl.allowsMqtt('eve', 'c1', 'subscribe', 'devices/c1/commands/reboot')).toBe(true);
    expect(acl.allowsMqtt('eve', 'c1', 'subscribe', 'devices/c1/commands/+')).toBe(true);
    expect(acl.allowsMqtt('eve', 'c1', 'subscribe', 'devices/c2/commands/reboot')).toBe(false);
  });

  it('are not widened by a client id or a user name with wildcards in it', () => {
    expect(acl.allowsMqtt('eve', '+', 'subscribe', 'devices/+/commands/x')).toBe(false);
    expect(acl.allowsMqtt('#', 'c', 'publish', 'devices/#/x')).toBe(false);
    expect(acl.allowsMqtt('a/b', 'c', 'publish', 'devices/a/b')).toBe(false);
  });

  it('must cover a subscription as a whole', () => {
    expect(acl.allowsMqtt('dashboard', 'c', 'subscribe', 'plant/+/x/#')).toBe(true);
    expect(acl.allowsMqtt('dashboard', 'c', 'subscribe', 'plant/#')).toBe(true);
    expect(acl.allowsMqtt('dashboard', 'c', 'subscribe', '#')).toBe(false);
    expect(acl.allowsMqtt('dashboard', 'c', 'subscribe', '+/7')).toBe(false);
    expect(acl.allowsMqtt('dashboard', 'c', 'subscribe', 'site/7/temp')).toBe(true);
    expect(acl.allowsMqtt('dashboard', 'c', 'subscribe', 'site/+/temp')).toBe(true);
    expect(acl.allowsMqtt('dashboard', 'c', 'subscribe', 'site/#')).toBe(false);
    expect(acl.allowsMqtt('dashboard', 'c', 'subscribe', 'site/+/+')).toBe(false);
  });

  it('give wildcards no hold on $ topics', () => {
    const all = parseAcl('user a\n mqtt all #\nuser b\n mqtt all $SYS/#\n', 'acl');
    expect(all.allowsMqtt('a', 'c', 'subscribe', 'x/y')).toBe(true);
    expect(all.allowsMqtt('a', 'c', 'subscribe', '$SYS/x')).toBe(false);
    expect(all.allowsMqtt('b', 'c', 'subscribe', '$SYS/x')).toBe(true);
  });

  it('cover Kafka topics by name and prefix, and reading implies describing', () => {
    expect(acl.allowsKafka('dashboard', 'read', 'topic', 'plant-7')).toBe(true);
    expect(acl.allowsKafka('dashboard', 'describe', 'topic', 'temperature')).toBe(true);
    expect(acl.allowsKafka('dashboard', 'write', 'topic', 'temperature')).toBe(false);
    expect(acl.allowsKafka('dashboard', 'read', 'topic', 'temperature2')).toBe(false);
    expect(acl.allowsKafka('dashboard', 'delete', 'group', 'dash-1')).toBe(true);
    expect(acl.allowsKafka('writer', 'write', 'topic', 'writer-data')).toBe(true);
    expect(acl.allowsKafka('writer', 'create', 'cluster', 'kafka-cluster')).toBe(true);
    expect(acl.allowsKafka('writer', 'alter', 'cluster', 'kafka-cluster')).toBe(false);
  });

  it('know no user * for who has not logged in', () => {
    expect(acl.allowsMqtt('anonymous', 'c', 'subscribe', 'public/x')).toBe(true);
    expect(acl.allowsMqtt('anonymous', 'c', 'publish', 'devices/anonymous/x')).toBe(false);
  });

  it('name every mistake with its line', () => {
    const text =
      'mqtt publish a\nuser\nuser a\nmqtt shout a\nmqtt publish a/#/b\ntopic eat x\ntopic read a*b\nfoo bar\ncluster all x\n';
    expect(() => parseAcl(text, 'f')).toThrow(
      [
        'f:1: a rule before the first "user" line',
        'f:2: "user" is followed by one name, or *',
        'f:4: "mqtt shout" is not mqtt publish, mqtt subscribe or mqtt all',
        'f:5: "a/#/b" is not an MQTT topic filter',
        'f:6: "topic eat": the operation is one of read, write, create, delete, alter, describe, all',
        'f:7: "a*b": "*" stands at the end only',
        'f:8: "foo" is not one of user, mqtt, topic, group, transaction, cluster',
        'f:9: "cluster" has no names: there is one',
      ].join('\n'),
    );
  });
});
