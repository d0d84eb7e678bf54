/** CONNECT (3.1) and CONNACK (3.2). */
import type { Cursor } from './cursor.ts';
import type { ConnackPacket, ConnectPacket, QoS, Version, Will } from './packets.ts';
import { NO_PROPERTIES, readProperties, writeProperties } from './properties.ts';
import { MqttError, malformed, protocolError, REASON } from './reason.ts';
import { Writer } from './writer.ts';

const USERNAME = 0x80;
const PASSWORD = 0x40;
const WILL_RETAIN = 0x20;
const WILL = 0x04;
const CLEAN = 0x02;

function readVersion(cursor: Cursor): Version {
  const name = cursor.string('the protocol name');
  const level = cursor.u8('the protocol level');
  if (name === 'MQTT' && (level === 4 || level === 5)) return level;
  if (name === 'MQIsdp' && level === 3) return 3;
  // [MQTT-3.1.2-1] [MQTT-3.1.2-2]
  throw new MqttError(
    REASON.UNSUPPORTED_VERSION,
    `protocol ${JSON.stringify(name.slice(0, 16))} level ${level}; MQTT levels 4 (3.1.1) and 5 are served`,
  );
}

function readWill(cursor: Cursor, flags: number, version: Version): Will | null {
  const qos = (flags >> 3) & 3;
  if ((flags & WILL) === 0) {
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
    if (qos !== 0 || (flags & WILL_RETAIN) !== 0) throw malformed('will QoS or retain without the will flag');
    return null;
  }
  if (qos === 3) throw malformed('will QoS 3'); // [MQTT-3.1.2-12]
  const properties = version === 5 ? readProperties(cursor, 0) : NO_PROPERTIES;
  const topic = cursor.string('the will topic');
  const payload = cursor.binary('the will payload');
  return { topic, payload, qos: qos as QoS, retain: (flags & WILL_RETAIN) !== 0, properties };
}

export function readConnect(cursor: Cursor): ConnectPacket {
  const version = readVersion(cursor);
  const flags = cursor.u8('the connect flags');
  if ((flags & 1) !== 0) throw malformed('the reserved connect flag is set'); // [MQTT-3.1.2-3]
  // [MQTT-3.1.2-22] of 3.1.1; allowed in 5.0
  if (version < 5 && (flags & USERNAME) === 0 && (flags & PASSWORD) !== 0) throw malformed('a password without a user');
  const keepAlive = cursor.u16('the keep alive');
  const properties = version === 5 ? readProperties(cursor, 1) : NO_PROPERTIES;
  const clientId = cursor.string('the client identifier');
  const will = readWill(cursor, flags, version);
  const username = (flags & USERNAME) !== 0 ? cursor.string('the user name') : null;
  const password = (flags & PASSWORD) !== 0 ? cursor.binary('the password') : null;
  cursor.mustEnd('CONNECT');
  return { type: 1, version, clean: (flags & CLEAN) !== 0, keepAlive, clientId, will, username, password, properties };
}

export function writeConnect(packet: ConnectPacket): Buffer {
  const { will, username, password, version } = packet;
  const writer = new Writer(
    64 + packet.clientId.length + (will === null ? 0 : will.payload.length + will.topic.length),
  );
  writer.string(version === 3 ? 'MQIsdp' : 'MQTT');
  writer.u8(version);
  let flags = packet.clean ? CLEAN : 0;
  if (will !== null) flags |= WILL | (will.qos << 3) | (will.retain ? WILL_RETAIN : 0);
  if (username !== null) flags |= USERNAME;
  if (password !== null) flags |= PASSWORD;
  writer.u8(flags);
  writer.u16(packet.keepAlive);
  if (version === 5) writeProperties(writer, packet.properties);
  writer.string(packet.clientId);
  if (will !== null) {
    if (version === 5) writeProperties(writer, will.properties);
    writer.string(will.topic);
    writer.binary(will.payload);
  }
  if (username !== null) writer.string(username);
  if (password !== null) writer.binary(password);
  return writer.packet(0x10);
}

export function readConnack(cursor: Cursor, version: Version): ConnackPacket {
  const flags = cursor.u8('the acknowledge flags');
  if (flags > 1) throw malformed('reserved acknowledge flags are set');
  const reason = cursor.u8('the reason code');
  if (flags === 1 && reason !== 0) throw protocolError('session present in a refusing CONNACK');
  const properties = version === 5 ? readProperties(cursor, 2) : NO_PROPERTIES;
  cursor.mustEnd('CONNACK');
  return { type: 2, sessionPresent: flags === 1, reason, properties };
}

export function writeConnack(packet: ConnackPacket, version: Version): Buffer {
  const writer = new Writer(64);
  writer.u8(packet.sessionPresent ? 1 : 0);
  writer.u8(packet.reason);
  if (version === 5) writeProperties(writer, packet.properties);
  return writer.packet(0x20);
}
