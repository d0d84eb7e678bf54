/**
 * A message as the edge handles it, and how it becomes a record and back. Record headers (all values UTF-8 text unless
 * said otherwise):
 *
 *   mqtt.topic           the MQTT topic, only when the key is not the topic
 *   mqtt.qos             `0` or `2`; without it 1
 *   mqtt.retain          `1` when RETAIN was set
 *   mqtt.expiry          Message Expiry Interval, seconds from the record's timestamp
 *   mqtt.payload.format  `1`: the payload is UTF-8
 *   mqtt.content.type, mqtt.response.topic
 *   mqtt.correlation     Correlation Data, bytes
 *   mqtt.client          client id of the publisher, when one of its own subscriptions has No Local
 *   mqtt.exchange        identifies a QoS 2 exchange of a persistent session (8 bytes)
 *   (any other)          a user property of that name; a user property whose name begins with `mqtt.` gets the prefix
 *                        `mqtt.user.`
 */
import { isUtf8 } from 'node:buffer';
import type { LogRecord, RecordHeader } from '../log/types.ts';
import type { QoS } from '../wire/mqtt/packets.ts';
import { NO_PROPERTIES, type Properties } from '../wire/mqtt/properties.ts';
import type { RouteTable } from './routes.ts';

export interface Message {
  readonly topic: string;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly payload: Uint8Array;
  /** Only those that are forwarded (3.3.2.3). */
  readonly properties: Readonly<Properties>;
  /** Milliseconds since 1970, when the broker received it. */
  readonly timestamp: number;
  /** Client id of the publisher, where it matters (No Local). */
  readonly publisher: string | null;
}

export const EMPTY = Buffer.alloc(0);
const NO_HEADERS: readonly RecordHeader[] = [];
const QOS_VALUES = [Buffer.from('0'), Buffer.from('1'), Buffer.from('2')];
const ONE = Buffer.from('1');

/** The properties of a PUBLISH or will that go on to subscribers and into the record. */
export function forwarded(properties: Readonly<Properties>): Readonly<Properties> {
  if (properties === NO_PROPERTIES) return NO_PROPERTIES;
  const out: Properties = {};
  if (properties.payloadFormatIndicator !== undefined) out.payloadFormatIndicator = properties.payloadFormatIndicator;
  if (properties.messageExpiryInterval !== undefined) out.messageExpiryInterval = properties.messageExpiryInterval;
  if (properties.contentType !== undefined) out.contentType = properties.contentType;
  if (properties.responseTopic !== undefined) out.responseTopic = properties.responseTopic;
  if (properties.correlationData !== undefined) out.correlationData = properties.correlationData;
  if (properties.userProperty !== undefined) out.userProperty = properties.userProperty;
  return out;
}

/** `client`: publisher to name in the record; `exchange`: mark of a QoS 2 exchange. */
export function headersOf(
  topic: string,
  qos: QoS,
  retain: boolean,
  properties: Readonly<Properties>,
  keyIsTopic: boolean,
  client: string | null,
  exchange: Uint8Array | null,
): readonly RecordHeader[] {
  if (keyIsTopic && qos === 1 && !retain && properties === NO_PROPERTIES && client === null) return NO_HEADERS;
  const headers: RecordHeader[] = [];
  const text = (key: string, value: string) => headers.push({ key, value: Buffer.from(value) });
  if (!keyIsTopic) text('mqtt.topic', topic);
  if (qos !== 1) headers.push({ key: 'mqtt.qos', value: QOS_VALUES[qos]! });
  if (retain) headers.push({ key: 'mqtt.retain', value: ONE });
  if (client !== null) text('mqtt.client', client);
  if (exchange !== null) headers.push({ key: 'mqtt.exchange', value: exchange });
  if (properties === NO_PROPERTIES) return headers;
  if (properties.messageExpiryInterval !== undefined) text('mqtt.expiry', String(properties.messageExpiryInterval));
  if (properties.payloadFormatIndicator === 1) headers.push({ key: 'mqtt.payload.format', value: ONE });
  if (properties.contentType !== undefined) text('mqtt.content.type', properties.contentType);
  if (properties.responseTopic !== undefined) text('mqtt.response.topic', properties.responseTopic);
  if (properties.correlationData !== undefined) {
    headers.push({ key: 'mqtt.correlation', value: properties.correlationData });
  }
  for (const [name, value] of properties.userProperty ?? []) {
    text(name.startsWith('mqtt.') ? `mqtt.user.${name}` : name, value);
  }
  return headers;
}

function userPair(name: string, value: Uint8Array | null): [string, string] | null {
  if (value === null || value.length > 0xffff || name.length > 0x5555) return null;
  if (!isUtf8(value) || value.includes(0) || name.includes('\0')) return null;
  const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString();
  return [name, text];
}

/**
 * The message in a record, or null when it is not one (no key, a key that is no topic name, a topic without route). A
 * header that MQTT cannot carry as a user property (not UTF-8, U+0000, too long) is left out on delivery.
 */
export function messageOf(record: LogRecord, topicName: string, routes: RouteTable): Message | null {
  let topic: string | null = null;
  let qos: QoS = 1;
  let retain = false;
  let publisher: string | null = null;
  let properties: Properties | null = null;
  for (const { key, value } of record.headers) {
    const text = () => (value === null ? '' : Buffer.from(value).toString());
    if (key === 'mqtt.topic') topic = text();
    else if (key === 'mqtt.qos') qos = value?.[0] === 0x30 ? 0 : value?.[0] === 0x32 ? 2 : 1;
    else if (key === 'mqtt.retain') retain = value?.[0] === 0x31;
    else if (key === 'mqtt.client') publisher = text();
    else if (key === 'mqtt.exchange') continue;
    else {
      properties ??= {};
      if (key === 'mqtt.expiry') {
        const seconds = Number(text());
        if (Number.isInteger(seconds) && seconds >= 0 && seconds <= 0xffffffff)
          properties.messageExpiryInterval = seconds;
      } else if (key === 'mqtt.payload.format') properties.payloadFormatIndicator = 1;
      else if (key === 'mqtt.content.type') properties.contentType = text();
      else if (key === 'mqtt.response.topic') properties.responseTopic = text();
      else if (key === 'mqtt.correlation' && value !== null) properties.correlationData = value;
      else {
        const pair = userPair(key.startsWith('mqtt.user.') ? key.slice(10) : key, value);
        if (pair !== null) {
          properties.userProperty ??= [];
          properties.userProperty.push(pair);
        }
      }
    }
  }
  if (topic === null) {
    if (record.key === null || record.key.length > 0xffff || !isUtf8(record.key)) return null;
    const key = Buffer.from(record.key.buffer, record.key.byteOffset, record.key.byteLength).toString();
    topic = routes.topicOf(topicName, key);
    if (topic === null) return null;
  }
  return {
    topic,
    qos,
    retain,
    payload: record.value ?? EMPTY,
    properties: properties ?? NO_PROPERTIES,
    timestamp: record.timestamp,
    publisher,
  };
}

/** How long ago a timestamp was, ms, never negative; 0 when that cannot be known, as with a clock that is not trusted. */
export type AgeOf = (timestamp: number) => number;

/** Message expiry (3.3.2.3.3): the properties with the interval counted down, or null when the message has expired. */
export function countedDown(message: Message, ageOf: AgeOf): Readonly<Properties> | null {
  const seconds = message.properties.messageExpiryInterval;
  if (seconds === undefined) return message.properties;
  const waited = Math.floor(ageOf(message.timestamp) / 1000);
  if (waited <= 0) return message.properties;
  if (waited >= seconds) return null;
  return { ...message.properties, messageExpiryInterval: seconds - waited };
}
