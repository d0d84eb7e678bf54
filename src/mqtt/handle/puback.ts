/** PUBACK from a subscriber (3.4): a QoS 1 delivery is over, whatever its reason code. */
import type { AckPacket } from '../../wire/mqtt/packets.ts';
import type { Connection } from '../connection.ts';

export function handlePuback(connection: Connection, packet: AckPacket): void {
  const { delivery } = connection.session!;
  if (delivery.outgoing.get(packet.packetId)?.qos === 1) delivery.finish(packet.packetId);
}
