/**
 * `npm run demo`: the whole job in a terminal, in under 30 s. Two brokers, an edge and a hub, each a process of its own;
 * devices that publish this machine's vitals by MQTT; a Kafka client that reads them locally; a link that replicates them
 * with acks=all over an uplink that is cut and restored; and at the end the proof that nothing is missing, double or out
 * of order. Exit status 0 only when the proof holds.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { decode, encode } from 'cbor-x';
import mqtt, { type MqttClient } from 'mqtt';
import { BrokerProcess, type Listening } from './demo/broker-process.ts';
import { compare } from './demo/proof.ts';
import { Reader } from './demo/reader.ts';
import { Screen } from './demo/screen.ts';
import { Uplink } from './demo/uplink.ts';
import { type Device, presentDevices } from './demo/vitals.ts';
import { delay, systemEnv } from './env.ts';

const TOPIC = 'vitals';
const UPSTREAM_TOPIC = `edge.${TOPIC}`;
const LINK = 'hub';
const PARTITIONS = 3;
const { clock } = systemEnv;

// The story, in milliseconds from its beginning.
const CUT_AT = 5_000;
const RESTORE_AT = 11_000;
const DEVICES_STOP_AT = 16_000;
const DRAINED_BY = 25_000;
const PUBLISH_EVERY_MS = 20;
const WINDOW = 100;

interface Publisher {
  readonly device: Device;
  readonly topic: string;
  readonly client: MqttClient;
  /** Acknowledged and on their way, in the order of publishing. */
  readonly payloads: Uint8Array[];
  acknowledged: number;
  failure: unknown;
}

async function connect(device: Device, host: string, port: number): Promise<Publisher> {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, {
    clientId: `${host}-${device.name}`,
    protocolVersion: 5,
    connectTimeout: 5_000,
  });
  return { device, topic: `machines/${host}/${device.name}`, client, payloads: [], acknowledged: 0, failure: null };
}

function publishOne(publisher: Publisher): void {
  const { device, topic, client, payloads } = publisher;
  if (payloads.length - publisher.acknowledged >= WINDOW) return;
  const reading = { seq: payloads.length + 1, time: clock.now(), ...device.read() };
  const payload = device.format === 'cbor' ? encode(reading) : Buffer.from(JSON.stringify(reading));
  payloads.push(payload);
  const properties = { contentType: `application/${device.format}` };
  client.publishAsync(topic, payload, { qos: 1, properties }).then(
    () => {
      publisher.acknowledged++;
    },
    (error: unknown) => {
      publisher.failure = error;
    },
  );
}

/** Counts by second from counts over time. */
class Rate {
  #samples: { at: number; count: number }[] = [];

  perSecond(at: number, count: number): number {
    this.#samples.push({ at, count });
    while (this.#samples.length > 2 && at - this.#samples[0]!.at > 1_500) this.#samples.shift();
    const first = this.#samples[0]!;
    return at > first.at ? ((count - first.count) * 1_000) / (at - first.at) : 0;
  }
}

const MiB = 1024 * 1024;

class Demo {
  readonly #directory = mkdtempSync(join(tmpdir(), 'headwater-demo-'));
  readonly #screen = new Screen(process.stdout);
  readonly #uplink = new Uplink(systemEnv.net);
  readonly #brokers: BrokerProcess[] = [];
  readonly #publishers: Publisher[] = [];
  readonly #readers: Reader[] = [];
  readonly #rates = { devices: new Rate(), edge: new Rate(), reader: new Rate(), hub: new Rate() };
  readonly #latest = new Map<string, Uint8Array>();
  #read = 0;
  #failure: unknown = null;
  #began = clock.monotonic();
  #backlogAtRestore = 0;

  async run(): Promise<boolean> {
    const { devices, missing } = presentDevices();
    if (devices.length === 0) throw new Error('this machine tells none of its vitals: the demo needs Linux (/proc)');
    this.#screen.say(
      'Headwater demo: devices -> MQTT -> edge broker -> uplink -> hub broker, every record synced to disk',
    );
    if (missing.length > 0) this.#screen.say(`(this machine has no sensor for: ${missing.join(', ')})`);

    const hubPort = await this.#uplink.open();
    const hub = this.#start('hub', `advertised.listeners: { kafka: 127.0.0.1:${hubPort} }\n`);
    const hubAt = await hub.started();
    this.#uplink.leadTo(hubAt.kafka);
    const edge = this.#start('edge', edgeConfig(hubPort));
    const edgeAt = await edge.started();

    const host = hostname();
    for (const device of devices) this.#publishers.push(await connect(device, host, edgeAt.mqtt));
    this.#began = clock.monotonic();
    const publishing = clock.every(PUBLISH_EVERY_MS, () => {
      for (const publisher of this.#publishers) publishOne(publisher);
    });
    this.#readLocally(edgeAt);

    await this.#show(edge, hub, CUT_AT, 'uplink open');
    this.#uplink.cut();
    this.#screen.say(
      `${this.#clock()}  the uplink is cut: devices and local readers go on, the backlog grows on disk`,
      'bad',
    );
    await this.#show(edge, hub, RESTORE_AT, 'UPLINK CUT');
    this.#uplink.restore();
    this.#screen.say(
      `${this.#clock()}  the uplink is back, ${this.#backlogAtRestore} records wait: they drain while new ones come`,
      'good',
    );
    await this.#show(edge, hub, DEVICES_STOP_AT, 'uplink restored');
    publishing.cancel();
    await this.#drain(edge, hub);
    this.#screen.keep();
    return this.#prove(edgeAt, hubAt);
  }

  /** Ends everything that was started and removes everything that was stored. Safe to call at any moment. */
  async cleanUp(): Promise<void> {
    for (const reader of this.#readers) await reader.close();
    for (const { client } of this.#publishers) await client.endAsync(true);
    this.#uplink.close();
    await Promise.all(this.#brokers.map((broker) => broker.stop()));
    rmSync(this.#directory, { recursive: true, force: true });
    this.#screen.close();
  }

  abandon(): void {
    for (const broker of this.#brokers) broker.kill();
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 3 });
    this.#screen.close();
  }

  #start(name: string, config: string): BrokerProcess {
    const broker = new BrokerProcess(name, this.#directory, config);
    this.#brokers.push(broker);
    return broker;
  }

  #readLocally(edgeAt: Listening): void {
    const reader = new Reader(systemEnv, edgeAt.kafka, TOPIC);
    this.#readers.push(reader);
    reader
      .follow((records) => {
        this.#read += records.length;
        for (const { key, value } of records) {
          if (key !== null && value !== null) this.#latest.set(Buffer.from(key).toString(), value);
        }
      })
      .catch((error: unknown) => {
        this.#failure = error;
      });
  }

  /** Draws until `until` ms of the story have passed. */
  async #show(edge: BrokerProcess, hub: BrokerProcess, until: number, phase: string): Promise<void> {
    while (clock.monotonic() - this.#began < until) {
      await this.#draw(edge, hub, phase);
      await delay(clock, this.#screen.live ? 200 : 1_000);
    }
  }

  async #draw(edge: BrokerProcess, hub: BrokerProcess, phase: string): Promise<{ atEdge: number; atHub: number }> {
    const failed = this.#failure ?? this.#publishers.find(({ failure }) => failure !== null)?.failure;
    if (failed) throw failed;
    const [here, there, link, edgeRss, hubRss] = await Promise.all([
      edge.topic(TOPIC),
      hub.topic(UPSTREAM_TOPIC),
      edge.link(LINK),
      edge.rssBytes(),
      hub.rssBytes(),
    ]);
    const now = clock.monotonic();
    const ends = (topic: typeof here) => (topic?.partitions ?? []).map(({ logEndOffset }) => logEndOffset);
    const sum = (numbers: readonly number[]) => numbers.reduce((total, value) => total + value, 0);
    const [atEdge, atHub] = [sum(ends(here)), sum(ends(there))];
    const acknowledged = sum(this.#publishers.map((publisher) => publisher.acknowledged));
    if (this.#uplink.isCut) this.#backlogAtRestore = atEdge - atHub;
    const oldest = link?.oldestUnsentAgeMs;
    const connections = `${this.#publishers.length} MQTT connections, QoS 1`;
    const stored = (topic: typeof here, rss: number) =>
      `offsets ${ends(topic).join(' ')}   ${Math.round(rss / MiB)} MB RSS`;
    this.#screen.show({
      seconds: (now - this.#began) / 1_000,
      phase,
      alarm: this.#uplink.isCut,
      rows: [
        {
          name: 'devices',
          records: acknowledged,
          perSecond: this.#rates.devices.perSecond(now, acknowledged),
          detail: connections,
        },
        {
          name: 'edge log',
          records: atEdge,
          perSecond: this.#rates.edge.perSecond(now, atEdge),
          detail: stored(here, edgeRss),
        },
        {
          name: 'local reader',
          records: this.#read,
          perSecond: this.#rates.reader.perSecond(now, this.#read),
          detail: 'Kafka client on the edge',
        },
        {
          name: 'hub log',
          records: atHub,
          perSecond: this.#rates.hub.perSecond(now, atHub),
          detail: stored(there, hubRss),
        },
        {
          name: 'backlog',
          records: atEdge - atHub,
          perSecond: null,
          detail: `link ${link?.state ?? 'starting'}, acks=all${oldest ? `, oldest ${(oldest / 1_000).toFixed(1)} s` : ''}`,
        },
      ],
      readings: this.#publishers.map((publisher) => this.#reading(publisher)),
    });
    return { atEdge, atHub };
  }

  #reading({ topic, device }: Publisher): string {
    const value = this.#latest.get(topic);
    if (value === undefined) return device.name;
    const reading = device.format === 'cbor' ? decode(value) : JSON.parse(Buffer.from(value).toString());
    const { seq, time: _, ...vitals } = reading as Record<string, unknown>;
    const text = Object.entries(vitals).map(([name, vital]) => `${name} ${vital}`);
    return `${device.name.padEnd(12)}${device.format}  #${seq}  ${text.join('  ')}`;
  }

  async #drain(edge: BrokerProcess, hub: BrokerProcess): Promise<void> {
    for (;;) {
      const { atEdge, atHub } = await this.#draw(edge, hub, 'devices silent');
      const sent = this.#publishers.reduce((total, { payloads }) => total + payloads.length, 0);
      if (atEdge === sent && atHub === sent && this.#read === sent) return;
      if (clock.monotonic() - this.#began > DRAINED_BY) {
        throw new Error(
          `not drained: ${sent} sent, ${atEdge} at the edge, ${this.#read} read there, ${atHub} at the hub`,
        );
      }
      await delay(clock, 200);
    }
  }

  async #prove(edgeAt: Listening, hubAt: Listening): Promise<boolean> {
    const sent = new Map(this.#publishers.map(({ topic, payloads }) => [topic, payloads]));
    const total = [...sent.values()].reduce((sum, { length }) => sum + length, 0);
    const problems: string[] = [];
    for (const [where, port, topic] of [
      ['edge', edgeAt.kafka, TOPIC],
      ['hub', hubAt.kafka, UPSTREAM_TOPIC],
    ] as const) {
      const reader = new Reader(systemEnv, port, topic);
      this.#readers.push(reader);
      problems.push(...compare(where, sent, await reader.toTheEnd()));
    }
    const seconds = ((clock.monotonic() - this.#began) / 1_000).toFixed(1);
    if (problems.length === 0) {
      const devices = this.#publishers.length;
      this.#screen.say(
        `PROVED: ${total} records of ${devices} devices are on the hub, each once, in order, byte for byte (${seconds} s)`,
        'good',
      );
      return true;
    }
    for (const problem of problems.slice(0, 10)) this.#screen.say(problem, 'bad');
    this.#screen.say(`NOT PROVED: ${problems.length} problems`, 'bad');
    return false;
  }

  #clock(): string {
    return `${((clock.monotonic() - this.#began) / 1_000).toFixed(1).padStart(5)} s`;
  }
}

function edgeConfig(hubPort: number): string {
  return `
topics:
  ${TOPIC}: { partitions: ${PARTITIONS} }
routes:
  - { mqtt: "machines/#", topic: ${TOPIC} }
links:
  ${LINK}:
    type: kafka
    bootstrap.servers: 127.0.0.1:${hubPort}
    topics: [${TOPIC}]
    acks: all
    retry.backoff.ms: 100
    retry.backoff.max.ms: 1000
`;
}

const demo = new Demo();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    demo.abandon();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  });
}
try {
  const proved = await demo.run();
  await demo.cleanUp();
  process.exit(proved ? 0 : 1);
} catch (error) {
  demo.abandon();
  process.stderr.write(`the demo failed: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
