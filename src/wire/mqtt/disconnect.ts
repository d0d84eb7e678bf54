/** DISCONNECT (3.14) and AUTH (3.15): one shape. */
import type { Cursor } from './cursor.ts';
import { type ReasonPacket, TYPE_NAMES, type Version } from './packets.ts';
import { NO_PROPERTIES, readProperties, writeProperties } from './properties.ts';
import { malformed } from './reason.ts';
import { Writer } from './writer.ts';

const AUTH_REASONS: ReadonlySet<number> = new Set([0x00, 0x18, 0x19]);

export function readReason(cursor: Cursor, type: ReasonPacket['type'], version: Version): ReasonPacket {
  let reason = 0;
  let properties = NO_PROPERTIES;
  if (version === 5 && cursor.remaining > 0) {
    reason = cursor.u8('the reason code');
    const known = type === 15 ? AUTH_REASONS.has(reason) : reason === 0 || reason === 4 || reason >= 0x80;
    if (!known) throw malformed(`reason code ${reason} is not one of ${TYPE_NAMES[type]}`);
    if (cursor.remaining > 0) properties = readProperties(cursor, type);
  }
  cursor.mustEnd(TYPE_NAMES[type]);
  return { type, reason, properties };
}

export function writeReason(packet: ReasonPacket, version: Version): Buffer {
  const writer = new Writer(64);
  if (version === 5) {
    const bare = Object.keys(packet.properties).length === 0;
    if (packet.reason !== 0 || !bare) writer.u8(packet.reason);
    if (!bare) writeProperties(writer, packet.properties);
  }
  return writer.packet(packet.type << 4);
}
