/** PUBREL from a publisher (3.6): the identifier is free; that is stored before PUBCOMP lets the client use it again. */
import type { AckPacket } from '../../wire/mqtt/packets.ts';
import { NO_PROPERTIES } from '../../wire/mqtt/properties.ts';
import { REASON } from '../../wire/mqtt/reason.ts';
import type { Connection } from '../connection.ts';

const PUBCOMP = 0x70;

export function handlePubrel(connection: Connection, packet: AckPacket): void {
  const session = connection.session!;
  const { packetId } = packet;
  const inbound = session.inbound.get(packetId);
  if (inbound === undefined) {
    // Released before a crash or a cut took its PUBCOMP, and sent again: no error during recovery (3.7.2.1), and clients
    // take 0x92 for a publish that failed. Where nothing can be repeated, it says that client and broker disagree.
    if (connection.version === 5 && !connection.resumed) {
      connection.send({ type: 7, packetId, reason: REASON.PACKET_ID_NOT_FOUND, properties: NO_PROPERTIES });
    } else connection.output.writeAck(PUBCOMP, packetId); // [MQTT-4.3.3-2] of 3.1.1
    return;
  }
  // A release of what was not yet received: the client errs; nothing is forgotten before the append is decided.
  if (inbound.state !== 'received') return;
  session.inbound.delete(packetId);
  if (connection.unacknowledged > 0) connection.unacknowledged--;
  if (inbound.exchange === null) {
    connection.output.writeAck(PUBCOMP, packetId);
    return;
  }
  session.store((error) => {
    if (error != null) session.inbound.set(packetId, inbound);
    else if (session.connection === connection) connection.output.writeAck(PUBCOMP, packetId);
  });
}
