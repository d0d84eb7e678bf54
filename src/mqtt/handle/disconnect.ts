/** DISCONNECT from a client (3.14). */
import type { ReasonPacket } from '../../wire/mqtt/packets.ts';
import { protocolError, REASON } from '../../wire/mqtt/reason.ts';
import type { Connection } from '../connection.ts';

export function handleDisconnect(connection: Connection, packet: ReasonPacket): void {
  const session = connection.session!;
  const expiry = packet.properties.sessionExpiryInterval;
  if (expiry !== undefined) {
    // [MQTT-3.14.2-2]
    if (session.expirySeconds === 0 && expiry > 0) throw protocolError('a session expiry that was 0 cannot be raised');
    session.expirySeconds = Math.min(expiry, connection.context.settings.maxSessionExpiry);
  }
  // [MQTT-3.14.4-3] The will is discarded, unless the client asks for it or tells of an error.
  connection.destroy('client', packet.reason === REASON.DISCONNECT_WITH_WILL || packet.reason >= 0x80);
}
