/** SUBSCRIBE (3.8), SUBACK (3.9), UNSUBSCRIBE (3.10), UNSUBACK (3.11). */
import type { Cursor } from './cursor.ts';
import type { QoS, SubackPacket, SubscribePacket, SubscriptionRequest, UnsubscribePacket, Version } from './packets.ts';
import { NO_PROPERTIES, readProperties, writeProperties } from './properties.ts';
import { malformed, protocolError } from './reason.ts';
import { Writer } from './writer.ts';

function readPacketId(cursor: Cursor, packet: string): number {
  const packetId = cursor.u16('the packet identifier');
  if (packetId === 0) throw protocolError(`${packet} with packet identifier 0`); // [MQTT-2.2.1-3]
  return packetId;
}

function readOptions(cursor: Cursor, filter: string, version: Version): SubscriptionRequest {
  const options = cursor.u8('the subscription options');
  const qos = options & 3;
  if (qos === 3) throw malformed('a subscription with QoS 3'); // [MQTT-3.8.3-4] of 3.1.1
  // [MQTT-3.8.3-5]: bits 6 and 7 are reserved in 5.0, bits 2 to 7 in 3.1.1.
  if ((options & (version === 5 ? 0xc0 : 0xfc)) !== 0) throw malformed('reserved subscription option bits are set');
  const retainHandling = (options >> 4) & 3;
  if (retainHandling === 3) throw protocolError('retain handling 3');
  return {
    filter,
    qos: qos as QoS,
    noLocal: (options & 4) !== 0,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

export function readSubscribe(cursor: Cursor, version: Version): SubscribePacket {
  const packetId = readPacketId(cursor, 'SUBSCRIBE');
  const properties = version === 5 ? readProperties(cursor, 8) : NO_PROPERTIES;
  const subscriptions: SubscriptionRequest[] = [];
  while (cursor.remaining > 0) {
    subscriptions.push(readOptions(cursor, cursor.string('a topic filter'), version));
  }
  if (subscriptions.length === 0) throw protocolError('SUBSCRIBE without a topic filter'); // [MQTT-3.8.3-2]
  return { type: 8, packetId, subscriptions, properties };
}

export function optionsByte(request: Omit<SubscriptionRequest, 'filter'>): number {
  return request.qos | (request.noLocal ? 4 : 0) | (request.retainAsPublished ? 8 : 0) | (request.retainHandling << 4);
}

export function writeSubscribe(packet: SubscribePacket, version: Version): Buffer {
  const writer = new Writer(64);
  writer.u16(packet.packetId);
  if (version === 5) writeProperties(writer, packet.properties);
  for (const request of packet.subscriptions) {
    writer.string(request.filter);
    writer.u8(version === 5 ? optionsByte(request) : request.qos);
  }
  return writer.packet(0x82);
}

export function readSuback(cursor: Cursor, type: SubackPacket['type'], version: Version): SubackPacket {
  const packetId = readPacketId(cursor, type === 9 ? 'SUBACK' : 'UNSUBACK');
  const properties = version === 5 ? readProperties(cursor, type) : NO_PROPERTIES;
  const reasons = type === 11 && version < 5 ? [] : [...cursor.rest()];
  cursor.mustEnd('SUBACK');
  return { type, packetId, reasons, properties };
}

export function writeSuback(packet: SubackPacket, version: Version): Buffer {
  const writer = new Writer(16 + packet.reasons.length);
  writer.u16(packet.packetId);
  if (version === 5) writeProperties(writer, packet.properties);
  if (packet.type === 9 || version === 5) for (const reason of packet.reasons) writer.u8(reason);
  return writer.packet(packet.type << 4);
}

export function readUnsubscribe(cursor: Cursor, version: Version): UnsubscribePacket {
  const packetId = readPacketId(cursor, 'UNSUBSCRIBE');
  const properties = version === 5 ? readProperties(cursor, 10) : NO_PROPERTIES;
  const filters: string[] = [];
  while (cursor.remaining > 0) filters.push(cursor.string('a topic filter'));
  if (filters.length === 0) throw protocolError('UNSUBSCRIBE without a topic filter'); // [MQTT-3.10.3-2]
  return { type: 10, packetId, filters, properties };
}

export function writeUnsubscribe(packet: UnsubscribePacket, version: Version): Buffer {
  const writer = new Writer(64);
  writer.u16(packet.packetId);
  if (version === 5) writeProperties(writer, packet.properties);
  for (const filter of packet.filters) writer.string(filter);
  return writer.packet(0xa2);
}
