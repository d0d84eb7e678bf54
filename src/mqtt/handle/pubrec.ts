/** PUBREC from a subscriber (3.5): it has the message; the release is stored before PUBREL is sent. */
import type { AckPacket } from '../../wire/mqtt/packets.ts';
import { NO_PROPERTIES } from '../../wire/mqtt/properties.ts';
import { REASON } from '../../wire/mqtt/reason.ts';
import type { Connection } from '../connection.ts';

const PUBREL = 0x62;

export function handlePubrec(connection: Connection, packet: AckPacket): void {
  const session = connection.session!;
  const { packetId } = packet;
  const outgoing = session.delivery.outgoing.get(packetId);
  if (outgoing === undefined || outgoing.qos !== 2) {
    if (connection.version === 5 && packet.reason < 0x80) {
      connection.send({ type: 6, packetId, reason: REASON.PACKET_ID_NOT_FOUND, properties: NO_PROPERTIES });
    } else if (packet.reason < 0x80) connection.output.writeAck(PUBREL, packetId);
    return;
  }
  if (packet.reason >= 0x80) {
    session.delivery.finish(packetId); // 4.3.3: the identifier is free again
    return;
  }
  if (outgoing.state === 'released') {
    connection.output.writeAck(PUBREL, packetId);
    return;
  }
  if (outgoing.state === 'releasing') return;
  if (!session.persistent) {
    outgoing.state = 'released';
    connection.output.writeAck(PUBREL, packetId);
    return;
  }
  // Sent before it is stored, a crash would send the PUBLISH again to a client that has let go of the identifier.
  outgoing.state = 'releasing';
  session.store((error) => {
    if (outgoing.state !== 'releasing') return;
    if (error != null) {
      outgoing.state = 'sent';
      return;
    }
    outgoing.state = 'released';
    if (session.connection === connection) connection.output.writeAck(PUBREL, packetId);
  });
}
