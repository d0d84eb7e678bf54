/** PUBLISH (3.3): the hot path. */
import type { Cursor } from './cursor.ts';
import type { PublishPacket, QoS, Version } from './packets.ts';
import { NO_PROPERTIES, type Properties, readProperties, writeProperties } from './properties.ts';
import { malformed, protocolError } from './reason.ts';
import { Writer } from './writer.ts';

export function readPublish(cursor: Cursor, flags: number, version: Version): PublishPacket {
  const qos = (flags >> 1) & 3;
  if (qos === 3) throw malformed('PUBLISH with QoS 3'); // [MQTT-3.3.1-4]
  const dup = (flags & 8) !== 0;
  if (dup && qos === 0) throw malformed('PUBLISH with DUP at QoS 0'); // [MQTT-3.3.1-2]
  const topic = cursor.string('the topic name');
  let packetId = 0;
  if (qos > 0) {
    packetId = cursor.u16('the packet identifier');
    if (packetId === 0) throw protocolError('packet identifier 0'); // [MQTT-2.2.1-3], [MQTT-2.3.1-1] of 3.1.1
  }
  const properties = version === 5 ? readProperties(cursor, 3) : NO_PROPERTIES;
  return {
    type: 3,
    dup,
    qos: qos as QoS,
    retain: (flags & 1) !== 0,
    topic,
    packetId,
    properties,
    payload: cursor.rest(),
  };
}

/** A PUBLISH whose bytes are shared by its receivers: only DUP and the packet identifier differ between them. */
export interface EncodedPublish {
  /** Fixed header to properties, and the payload when it is small. */
  readonly head: Buffer;
  /** Where the packet identifier is in `head`; 0 at QoS 0. */
  readonly idOffset: number;
  /** The payload, when it is too large to be worth a copy; else null. */
  readonly payload: Uint8Array | null;
  readonly byteLength: number;
}

/** Payloads up to here are copied behind the header: one small write is cheaper than two. */
const COPIED_PAYLOAD_MAX_BYTES = 4096;

export function encodePublish(
  topic: string,
  qos: QoS,
  retain: boolean,
  properties: Readonly<Properties>,
  payload: Uint8Array,
  version: Version,
): EncodedPublish {
  const copied = payload.length <= COPIED_PAYLOAD_MAX_BYTES;
  const writer = new Writer(topic.length + 32 + (copied ? payload.length : 0));
  writer.string(topic);
  const idAt = writer.length;
  if (qos > 0) writer.u16(0);
  if (version === 5) writeProperties(writer, properties);
  if (copied) writer.bytes(payload);
  const bodyBytes = writer.length;
  const head = writer.packet(0x30 | (qos << 1) | (retain ? 1 : 0), copied ? 0 : payload.length);
  return {
    head,
    idOffset: qos > 0 ? head.length - bodyBytes + idAt : 0,
    payload: copied ? null : payload,
    byteLength: head.length + (copied ? 0 : payload.length),
  };
}

/** Off the hot path: one packet in one buffer. */
export function writePublish(packet: PublishPacket, version: Version): Buffer {
  const { head, idOffset, payload } = encodePublish(
    packet.topic,
    packet.qos,
    packet.retain,
    packet.properties,
    packet.payload,
    version,
  );
  if (packet.dup) head[0]! |= 8;
  if (idOffset > 0) head.writeUInt16BE(packet.packetId, idOffset);
  return payload === null ? head : Buffer.concat([head, payload]);
}
