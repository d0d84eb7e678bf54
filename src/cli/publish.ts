/** `headwater publish`: MQTT messages from the shell, when no other MQTT client is installed. */
import type { IClientOptions, MqttClient } from 'mqtt';
import { formatAddress, parseAddress } from '../config/address.ts';
import { HeadwaterError } from '../errors.ts';
import { type Command, DEFAULT_MQTT, EXIT, fileOption, type Io, integerOption, parse, UsageError } from './command.ts';
import { linesOf } from './lines.ts';

export const usage = `Usage: headwater publish TOPIC [MESSAGE] [--mqtt HOST:PORT] [--qos 0|1|2] [--retain]

Publishes MESSAGE, or each line of standard input, and ends when the broker has acknowledged all of it (with QoS 1, the
default: stored and synced).

  --mqtt HOST:PORT   the broker (default 127.0.0.1:1883 or HEADWATER_MQTT)
  --qos N            0, 1 or 2 (default 1)
  --retain           kept for later subscribers
  --id CLIENT-ID     (default: chosen by the broker)
  --user NAME:SECRET (or HEADWATER_USER)
  --ca FILE          speak TLS and trust these authorities (PEM)
`;

const CONNECT_TIMEOUT_MS = 10_000;
/** Publishes that wait for their acknowledgement: enough to fill the broker's commits. */
const INFLIGHT_MAX = 100;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    mqtt: { type: 'string' },
    qos: { type: 'string' },
    retain: { type: 'boolean', default: false },
    id: { type: 'string' },
    user: { type: 'string' },
    ca: { type: 'string' },
  });
  const [topic, message, ...more] = positionals;
  if (topic === undefined || topic === '') throw new UsageError('a topic is needed');
  if (/[+#]/.test(topic))
    throw new UsageError(`"${topic}" is a filter; messages are published to topics without + and #`);
  if (more.length > 0) throw new UsageError('one message; put quotes around it');
  const qos = (integerOption('qos', values.qos, 0, 2) ?? 1) as 0 | 1 | 2;
  const client = await connect(io, values);
  const ended = endOf(client);
  try {
    const options = { qos, retain: values.retain };
    const work =
      message !== undefined ? publish(client, topic, message, options) : publishLines(client, topic, io, options);
    await Promise.race([work, ended]);
    await client.endAsync();
  } finally {
    client.end(true);
  }
  return EXIT.ok;
};

interface ConnectFlags {
  readonly mqtt?: string | undefined;
  readonly id?: string | undefined;
  readonly user?: string | undefined;
  readonly ca?: string | undefined;
}

async function connect(io: Io, flags: ConnectFlags): Promise<MqttClient> {
  const text = flags.mqtt ?? io.env['HEADWATER_MQTT'] ?? DEFAULT_MQTT;
  const address = parseAddress(text);
  if (address === null) throw new UsageError(`--mqtt: "${text}" is not HOST:PORT`);
  const credentials = flags.user ?? io.env['HEADWATER_USER'];
  const colon = credentials?.indexOf(':') ?? -1;
  const options: IClientOptions = {
    host: address.host,
    port: address.port,
    protocol: flags.ca === undefined ? 'mqtt' : 'mqtts',
    protocolVersion: 5,
    clientId: flags.id ?? '',
    clean: true,
    reconnectPeriod: 0,
    connectTimeout: CONNECT_TIMEOUT_MS,
    ...(flags.ca === undefined ? {} : { ca: await fileOption('ca', flags.ca) }),
    ...(credentials === undefined || colon < 0
      ? {}
      : { username: credentials.slice(0, colon), password: credentials.slice(colon + 1) }),
  };
  const { connectAsync } = await import('mqtt');
  try {
    return await connectAsync(options);
  } catch (error) {
    if ((error as Error).message === 'connack timeout') {
      throw new HeadwaterError('REQUEST_TIMED_OUT', `${formatAddress(address)} did not answer within 10 s`, {
        cause: error,
      });
    }
    throw error;
  }
}

/**
 * Rejects when no acknowledgement can come any more. Without it a publish whose connection the broker has closed waits
 * for ever: the client would send it again on the next connection, and there is none.
 */
function endOf(client: MqttClient): Promise<never> {
  const ended = new Promise<never>((_, reject) => {
    const fail = (text: string) => reject(new HeadwaterError('CONNECTION_LOST', text));
    client.once('disconnect', ({ reasonCode, properties }) => {
      const reason = properties?.reasonString ?? `reason code 0x${(reasonCode ?? 0).toString(16)}`;
      fail(`the broker has closed the connection: ${reason}`);
    });
    client.once('error', reject);
    client.once('close', () => fail('the connection was closed before everything was acknowledged'));
  });
  // It may come when nobody waits any more.
  ended.catch(() => {});
  return ended;
}

type PublishOptions = { readonly qos: 0 | 1 | 2; readonly retain: boolean };

async function publish(
  client: MqttClient,
  topic: string,
  message: string | Buffer,
  options: PublishOptions,
): Promise<void> {
  await client.publishAsync(topic, message, options);
}

async function publishLines(client: MqttClient, topic: string, io: Io, options: PublishOptions): Promise<void> {
  const inflight = new Set<Promise<void>>();
  let failed: unknown = null;
  for await (const line of linesOf(io.stdin, io.stopping)) {
    if (failed !== null) throw failed;
    const one: Promise<void> = publish(client, topic, line, options).then(
      () => void inflight.delete(one),
      (error: unknown) => {
        inflight.delete(one);
        failed ??= error;
      },
    );
    inflight.add(one);
    if (inflight.size >= INFLIGHT_MAX) await Promise.race(inflight);
  }
  await Promise.all(inflight);
  if (failed !== null) throw failed;
}
