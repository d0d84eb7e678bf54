/** UNSUBSCRIBE (3.10). */
import type { UnsubscribePacket } from '../../wire/mqtt/packets.ts';
import { NO_PROPERTIES } from '../../wire/mqtt/properties.ts';
import { REASON } from '../../wire/mqtt/reason.ts';
import type { Connection } from '../connection.ts';
import { parseSubscription } from '../topic-filter.ts';

export function handleUnsubscribe(connection: Connection, packet: UnsubscribePacket): void {
  const { context } = connection;
  const session = connection.session!;
  for (const filter of packet.filters) parseSubscription(filter);
  const reasons = packet.filters.map((filter) =>
    context.subscriptions.unsubscribe(session, filter) ? REASON.SUCCESS : REASON.NO_SUBSCRIPTION_EXISTED,
  );
  const answer = () => {
    if (connection.isClosed) return;
    connection.send({ type: 11, packetId: packet.packetId, reasons, properties: NO_PROPERTIES });
  };
  // What UNSUBACK says must hold after a crash.
  if (session.persistent) context.sessions.saveSubscriptions(session).then(answer, (error) => connection.fail(error));
  else answer();
}
