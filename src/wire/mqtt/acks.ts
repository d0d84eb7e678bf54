/** PUBACK (3.4), PUBREC (3.5), PUBREL (3.6), PUBCOMP (3.7): one shape. */
import type { Cursor } from './cursor.ts';
import { type AckPacket, TYPE, TYPE_NAMES, type Version } from './packets.ts';
import { NO_PROPERTIES, readProperties, writeProperties } from './properties.ts';
import { malformed, protocolError, REASON } from './reason.ts';
import { Writer } from './writer.ts';

const RECEIVED: ReadonlySet<number> = new Set([
  REASON.SUCCESS,
  REASON.NO_MATCHING_SUBSCRIBERS,
  REASON.UNSPECIFIED,
  REASON.IMPLEMENTATION_SPECIFIC,
  REASON.NOT_AUTHORIZED,
  REASON.TOPIC_NAME_INVALID,
  REASON.PACKET_ID_IN_USE,
  REASON.QUOTA_EXCEEDED,
  REASON.PAYLOAD_FORMAT_INVALID,
]);
const RELEASED: ReadonlySet<number> = new Set([REASON.SUCCESS, REASON.PACKET_ID_NOT_FOUND]);

export function readAck(cursor: Cursor, type: AckPacket['type'], version: Version): AckPacket {
  const packetId = cursor.u16('the packet identifier');
  if (packetId === 0) throw protocolError(`${TYPE_NAMES[type]} with packet identifier 0`);
  let reason: number = REASON.SUCCESS;
  let properties = NO_PROPERTIES;
  if (version === 5 && cursor.remaining > 0) {
    reason = cursor.u8('the reason code');
    const allowed = type === TYPE.PUBACK || type === TYPE.PUBREC ? RECEIVED : RELEASED;
    if (!allowed.has(reason)) throw malformed(`reason code ${reason} is not one of ${TYPE_NAMES[type]}`);
    if (cursor.remaining > 0) properties = readProperties(cursor, type);
  }
  cursor.mustEnd(TYPE_NAMES[type]);
  return { type, packetId, reason, properties };
}

/** Fixed header flags are 0, but 2 for PUBREL [MQTT-3.6.1-1]. */
export function ackFirstByte(type: AckPacket['type']): number {
  return (type << 4) | (type === TYPE.PUBREL ? 2 : 0);
}

export function writeAck(packet: AckPacket, version: Version): Buffer {
  const writer = new Writer(16);
  writer.u16(packet.packetId);
  const bare = packet.properties === NO_PROPERTIES || Object.keys(packet.properties).length === 0;
  if (version === 5 && (packet.reason !== 0 || !bare)) {
    writer.u8(packet.reason);
    if (!bare) writeProperties(writer, packet.properties);
  }
  return writer.packet(ackFirstByte(packet.type));
}
