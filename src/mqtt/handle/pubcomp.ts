/** PUBCOMP from a subscriber (3.7): a QoS 2 delivery is over. */
import type { AckPacket } from '../../wire/mqtt/packets.ts';
import type { Connection } from '../connection.ts';

export function handlePubcomp(connection: Connection, packet: AckPacket): void {
  const { delivery } = connection.session!;
  const outgoing = delivery.outgoing.get(packet.packetId);
  if (outgoing?.qos === 2 && outgoing.state === 'released') delivery.finish(packet.packetId);
}
