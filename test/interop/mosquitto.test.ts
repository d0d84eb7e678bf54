import { beforeAll, describe, expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { havePeers } from '../support/peers.ts';
import { Child, mustRun } from '../support/process.ts';
import { readTopic } from '../support/readback.ts';
import { eventually } from '../support/wait.ts';

const lines = (text: string) => text.split('\n').filter((line) => line !== '');
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);
const VERSIONS = ['mqttv311', 'mqttv5'] as const;

describe.runIf(havePeers("Mosquitto's clients", 'mosquitto_pub', 'mosquitto_sub'))("Mosquitto's clients", () => {
  let broker: TestBroker;
  let at: string[];

  beforeAll(async () => {
    broker = await TestBroker.start({ brokerId: 'edge' });
    at = ['-h', '127.0.0.1', '-p', String(broker.ports.mqtt)];
  });

  const publish = (...args: string[]) => mustRun('mosquitto_pub', [...at, ...args]);
  const publishLines = (input: string[], ...args: string[]) =>
    mustRun('mosquitto_pub', [...at, '-l', ...args], { input: `${input.join('\n')}\n` });
  /** A subscriber that ends after `count` messages; ready when its SUBACK came. */
  async function subscribe(count: number, ...args: string[]): Promise<Child> {
    const child = new Child('stdbuf', ['-oL', 'mosquitto_sub', ...at, '-C', String(count), '-W', '30', '-d', ...args]);
    child.endInput();
    await child.until('SUBACK', 10_000, (stdout) => (/SUBACK|Subscribed/.test(stdout) ? true : undefined));
    return child;
  }
  const payloads = async (child: Child) =>
    lines((await child.finished).stdout).filter((line) => !/^(Client|Subscribed)/.test(line));

  describe.each(VERSIONS)('%s', (version) => {
    it.each(['0', '1', '2'])('publish and subscribe with QoS %s, in order', async (qos) => {
      const topic = `m/${version}/q${qos}`;
      const subscriber = await subscribe(200, '-V', version, '-q', qos, '-t', topic);
      await publishLines(numbered(200), '-V', version, '-q', qos, '-t', topic);
      expect(await payloads(subscriber)).toEqual(numbered(200));
    });

    it('every QoS 1 publish is a record of the catch-all topic, with the MQTT topic as its key', async () => {
      const topic = `m/${version}/stored`;
      await publishLines(numbered(50), '-V', version, '-q', '1', '-t', topic);
      const stored = (await readTopic(broker.bootstrap, 'mqtt')).filter(({ key }) => key === topic);
      expect(stored.map(({ value }) => value)).toEqual(numbered(50));
    });

    it('wildcards match levels', async () => {
      const base = `m/${version}/w`;
      const subscriber = await subscribe(
        3,
        '-V',
        version,
        '-q',
        '1',
        '-v',
        '-t',
        `${base}/+/temp`,
        '-t',
        `${base}/all/#`,
      );
      for (const level of ['a/temp', 'a/b/temp', 'b/temp', 'c', 'all/x/y']) {
        await publish('-V', version, '-q', '1', '-t', `${base}/${level}`, '-m', level);
      }
      expect(await payloads(subscriber)).toEqual(['a/temp', 'b/temp', 'all/x/y'].map((l) => `${base}/${l} ${l}`));
    });

    it('a retained message reaches a later subscriber, and an empty one removes it', async () => {
      const topic = `m/${version}/retained`;
      await publish('-V', version, '-q', '1', '-r', '-t', topic, '-m', 'kept');
      const read = await mustRun('mosquitto_sub', [
        ...at,
        '-V',
        version,
        '-t',
        topic,
        '-C',
        '1',
        '-W',
        '10',
        '-F',
        '%r %p',
      ]);
      expect(lines(read)).toEqual(['1 kept']);
      await publish('-V', version, '-q', '1', '-r', '-n', '-t', topic);
      const subscriber = await subscribe(1, '-V', version, '-q', '1', '-t', topic);
      await publish('-V', version, '-q', '1', '-t', topic, '-m', 'live');
      expect(await payloads(subscriber)).toEqual(['live']);
    });

    it('the will of a killed client is published', async () => {
      const will = await subscribe(1, '-V', version, '-q', '1', '-t', `m/${version}/will`);
      const victim = await subscribe(
        1,
        ...['-V', version, '-t', `m/${version}/nothing`, '--will-topic', `m/${version}/will`],
        ...['--will-payload', 'gone', '--will-qos', '1'],
      );
      // stdbuf has replaced itself by mosquitto_sub: this is its process.
      await victim.stop('SIGKILL');
      expect(await payloads(will)).toEqual(['gone']);
    });

    it('a session that was away gets what it missed, also after the broker was killed', async () => {
      const topic = `m/${version}/away`;
      const session = ['-V', version, '-q', '1', '-t', topic, '-i', `sleeper-${version}`, '-c'];
      if (version === 'mqttv5') session.push('-x', '3600');
      await mustRun('mosquitto_sub', [...at, ...session, '-E']);
      await publishLines(numbered(20), '-V', version, '-q', '1', '-t', topic);
      await broker.kill();
      await broker.start();
      const read = await mustRun('mosquitto_sub', [...at, ...session, '-C', '20', '-W', '20']);
      expect(lines(read)).toEqual(numbered(20));
    });
  });

  it('a message of 200 kB arrives byte for byte', async () => {
    const payload = Buffer.alloc(200_000, 0).map((_, i) => 32 + ((i * 7) % 90));
    const subscriber = await subscribe(1, '-q', '1', '-t', 'm/large', '-N');
    await mustRun('mosquitto_pub', [...at, '-q', '1', '-t', 'm/large', '-s'], { input: payload });
    const { stdout } = await subscriber.finished;
    expect(stdout.includes(payload.toString())).toBe(true);
  });

  it('user properties become headers', async () => {
    await publish('-V', 'mqttv5', '-q', '1', '-t', 'm/props', '-m', 'x', '-D', 'PUBLISH', 'user-property', 'unit', 'C');
    const { kafkaOf } = await import('../support/readback.ts');
    const consumer = kafkaOf(broker.bootstrap).consumer({ groupId: 'props' });
    await consumer.connect();
    await consumer.subscribe({ topic: 'mqtt', fromBeginning: true });
    let unit: string | undefined;
    await consumer.run({
      eachMessage: async ({ message }) => {
        if (message.key?.toString() === 'm/props') unit = message.headers?.['unit']?.toString();
      },
    });
    await eventually('the header', 20_000, () => unit);
    await consumer.disconnect();
    expect(unit).toBe('C');
  });

  it('two members of a shared subscription get each message once', async () => {
    const topic = '$share/team/m/shared/#';
    const [a, b] = [
      new Child('stdbuf', ['-oL', 'mosquitto_sub', ...at, '-V', 'mqttv5', '-q', '1', '-t', topic, '-d']),
      new Child('stdbuf', ['-oL', 'mosquitto_sub', ...at, '-V', 'mqttv5', '-q', '1', '-t', topic, '-d']),
    ];
    for (const child of [a, b]) {
      child.endInput();
      await child.until('SUBACK', 10_000, (stdout) => (/SUBACK|Subscribed/.test(stdout) ? true : undefined));
    }
    for (let i = 0; i < 4; i++) await publishLines(numbered(25, i * 25), '-q', '1', '-t', `m/shared/${i}`);
    const seen = () => `${a.stdout}\n${b.stdout}`.split('\n').filter((line) => /^line \d+$/.test(line));
    await eventually('100 messages', 20_000, () => seen().length >= 100 || undefined);
    await Promise.all([a.stop(), b.stop()]);
    expect(seen().sort()).toEqual(numbered(100).sort());
    for (const child of [a, b]) expect(child.stdout).toMatch(/^line \d+$/m);
  });
});
