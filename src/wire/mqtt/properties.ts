/**
 * MQTT 5 properties (2.2.2) as one table: identifier, name, type, the packets that may carry it, whether it may repeat.
 * Reading refuses unknown or misplaced identifiers (malformed packet) and duplicates or impossible values (protocol error).
 */
import type { Cursor } from './cursor.ts';
import { MqttError, malformed, protocolError, REASON } from './reason.ts';
import { Writer } from './writer.ts';

export interface Properties {
  payloadFormatIndicator?: number;
  /** Seconds. */
  messageExpiryInterval?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  /** In the order received; clients send at most one. */
  subscriptionIdentifier?: number[];
  /** Seconds; 0xFFFFFFFF: never. */
  sessionExpiryInterval?: number;
  assignedClientIdentifier?: string;
  /** Seconds. */
  serverKeepAlive?: number;
  authenticationMethod?: string;
  authenticationData?: Uint8Array;
  requestProblemInformation?: number;
  /** Seconds. */
  willDelayInterval?: number;
  requestResponseInformation?: number;
  responseInformation?: string;
  serverReference?: string;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  maximumQoS?: number;
  retainAvailable?: number;
  /** Pairs in the order received [MQTT-3.3.2-18]. */
  userProperty?: [string, string][];
  /** Bytes. */
  maximumPacketSize?: number;
  wildcardSubscriptionAvailable?: number;
  subscriptionIdentifierAvailable?: number;
  sharedSubscriptionAvailable?: number;
}

type Kind = 'byte' | 'bit' | 'u16' | 'u32' | 'varint' | 'string' | 'binary' | 'pair';

/** Where a property may stand: bit n is packet type n; bit 0 is the will in CONNECT. */
const WILL = 1 << 0;
const CONNECT = 1 << 1;
const CONNACK = 1 << 2;
const PUBLISH = 1 << 3;
const PUBACK = 1 << 4;
const PUBREC = 1 << 5;
const PUBREL = 1 << 6;
const PUBCOMP = 1 << 7;
const SUBSCRIBE = 1 << 8;
const SUBACK = 1 << 9;
const UNSUBSCRIBE = 1 << 10;
const UNSUBACK = 1 << 11;
const DISCONNECT = 1 << 14;
const AUTH = 1 << 15;
const ACKS = PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK;
const ALL = WILL | CONNECT | CONNACK | PUBLISH | ACKS | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH;

interface Row {
  readonly id: number;
  readonly name: keyof Properties;
  readonly kind: Kind;
  readonly packets: number;
  readonly zeroForbidden?: boolean;
}

export const PROPERTIES: readonly Row[] = [
  { id: 0x01, name: 'payloadFormatIndicator', kind: 'bit', packets: PUBLISH | WILL },
  { id: 0x02, name: 'messageExpiryInterval', kind: 'u32', packets: PUBLISH | WILL },
  { id: 0x03, name: 'contentType', kind: 'string', packets: PUBLISH | WILL },
  { id: 0x08, name: 'responseTopic', kind: 'string', packets: PUBLISH | WILL },
  { id: 0x09, name: 'correlationData', kind: 'binary', packets: PUBLISH | WILL },
  { id: 0x0b, name: 'subscriptionIdentifier', kind: 'varint', packets: PUBLISH | SUBSCRIBE, zeroForbidden: true },
  { id: 0x11, name: 'sessionExpiryInterval', kind: 'u32', packets: CONNECT | CONNACK | DISCONNECT },
  { id: 0x12, name: 'assignedClientIdentifier', kind: 'string', packets: CONNACK },
  { id: 0x13, name: 'serverKeepAlive', kind: 'u16', packets: CONNACK },
  { id: 0x15, name: 'authenticationMethod', kind: 'string', packets: CONNECT | CONNACK | AUTH },
  { id: 0x16, name: 'authenticationData', kind: 'binary', packets: CONNECT | CONNACK | AUTH },
  { id: 0x17, name: 'requestProblemInformation', kind: 'bit', packets: CONNECT },
  { id: 0x18, name: 'willDelayInterval', kind: 'u32', packets: WILL },
  { id: 0x19, name: 'requestResponseInformation', kind: 'bit', packets: CONNECT },
  { id: 0x1a, name: 'responseInformation', kind: 'string', packets: CONNACK },
  { id: 0x1c, name: 'serverReference', kind: 'string', packets: CONNACK | DISCONNECT },
  { id: 0x1f, name: 'reasonString', kind: 'string', packets: CONNACK | ACKS | DISCONNECT | AUTH },
  { id: 0x21, name: 'receiveMaximum', kind: 'u16', packets: CONNECT | CONNACK, zeroForbidden: true },
  { id: 0x22, name: 'topicAliasMaximum', kind: 'u16', packets: CONNECT | CONNACK },
  { id: 0x23, name: 'topicAlias', kind: 'u16', packets: PUBLISH },
  { id: 0x24, name: 'maximumQoS', kind: 'bit', packets: CONNACK },
  { id: 0x25, name: 'retainAvailable', kind: 'bit', packets: CONNACK },
  { id: 0x26, name: 'userProperty', kind: 'pair', packets: ALL },
  { id: 0x27, name: 'maximumPacketSize', kind: 'u32', packets: CONNECT | CONNACK, zeroForbidden: true },
  { id: 0x28, name: 'wildcardSubscriptionAvailable', kind: 'bit', packets: CONNACK },
  { id: 0x29, name: 'subscriptionIdentifierAvailable', kind: 'bit', packets: CONNACK },
  { id: 0x2a, name: 'sharedSubscriptionAvailable', kind: 'bit', packets: CONNACK },
];

const byId: (Row | undefined)[] = [];
for (const row of PROPERTIES) byId[row.id] = row;

/** Shared by every packet without properties; frozen, so that nobody adds to it. */
export const NO_PROPERTIES: Readonly<Properties> = Object.freeze({});

function readValue(cursor: Cursor, row: Row): number | string | Uint8Array | [string, string] {
  switch (row.kind) {
    case 'byte':
      return cursor.u8(row.name);
    case 'bit': {
      const value = cursor.u8(row.name);
      if (value > 1) throw protocolError(`${row.name} is ${value}; 0 or 1 is allowed`);
      return value;
    }
    case 'u16':
      return cursor.u16(row.name);
    case 'u32':
      return cursor.u32(row.name);
    case 'varint':
      return cursor.varint(row.name);
    case 'string':
      return cursor.string(row.name);
    case 'binary':
      return cursor.binary(row.name);
    case 'pair':
      return [cursor.string(row.name), cursor.string(row.name)];
  }
}

/** `place`: packet type, or 0 for the will's properties. */
export function readProperties(cursor: Cursor, place: number): Readonly<Properties> {
  const length = cursor.varint('the property length');
  if (length === 0) return NO_PROPERTIES;
  const packetEnd = cursor.end;
  const end = cursor.position + length;
  if (end > packetEnd) throw malformed('the properties are longer than the packet');
  cursor.end = end;
  const properties: Record<string, unknown> = {};
  while (cursor.position < end) {
    const id = cursor.varint('a property identifier');
    const row = byId[id];
    if (row === undefined) throw malformed(`property identifier ${id} is not known`);
    if ((row.packets & (1 << place)) === 0) throw malformed(`property ${row.name} is not allowed in this packet`);
    const value = readValue(cursor, row);
    if (row.zeroForbidden === true && value === 0) throw protocolError(`${row.name} must not be 0`);
    const old = properties[row.name];
    if (row.kind === 'pair' || (row.id === 0x0b && place === 3)) {
      if (old === undefined) properties[row.name] = [value];
      else (old as unknown[]).push(value);
    } else if (old !== undefined) {
      throw protocolError(`property ${row.name} appears more than once`);
    } else {
      // [MQTT-3.3.2-8] The reason code for this one is its own.
      if (row.id === 0x23 && value === 0) throw new MqttError(REASON.TOPIC_ALIAS_INVALID, 'topic alias 0');
      properties[row.name] = row.id === 0x0b ? [value] : value;
    }
  }
  cursor.end = packetEnd;
  if ('authenticationData' in properties && !('authenticationMethod' in properties)) {
    throw protocolError('authentication data without an authentication method');
  }
  return properties as Properties;
}

function writeValue(writer: Writer, row: Row, value: unknown): void {
  writer.u8(row.id);
  switch (row.kind) {
    case 'byte':
    case 'bit':
      writer.u8(value as number);
      break;
    case 'u16':
      writer.u16(value as number);
      break;
    case 'u32':
      writer.u32(value as number);
      break;
    case 'varint':
      writer.varint(value as number);
      break;
    case 'string':
      writer.string(value as string);
      break;
    case 'binary':
      writer.binary(value as Uint8Array);
      break;
    case 'pair':
      writer.string((value as [string, string])[0]);
      writer.string((value as [string, string])[1]);
      break;
  }
}

export function writeProperties(writer: Writer, properties: Readonly<Properties>): void {
  let body: Writer | null = null;
  for (const name in properties) {
    const row = byName.get(name);
    const value = properties[name as keyof Properties];
    if (row === undefined || value === undefined) continue;
    body ??= new Writer(128);
    if (Array.isArray(value)) for (const one of value) writeValue(body, row, one);
    else writeValue(body, row, value);
  }
  if (body === null) {
    writer.u8(0);
  } else {
    writer.varint(body.length);
    writer.bytes(body.body());
  }
}

const byName = new Map<string, Row>(PROPERTIES.map((row) => [row.name, row]));
