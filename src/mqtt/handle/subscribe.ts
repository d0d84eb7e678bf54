/** SUBSCRIBE (3.8): each filter is granted or refused on its own; then SUBACK, then the retained messages. */
import type { SubscribePacket, SubscriptionRequest } from '../../wire/mqtt/packets.ts';
import { NO_PROPERTIES } from '../../wire/mqtt/properties.ts';
import { MqttError, protocolError, REASON } from '../../wire/mqtt/reason.ts';
import type { Connection } from '../connection.ts';
import type { RetainedDue } from '../delivery.ts';
import type { Feed } from '../feed.ts';
import { offsetOf, type StartPosition, startPosition, wantsPositions } from '../start-position.ts';
import { matchOf, type Subscription } from '../subscription-index.ts';
import { parseSubscription } from '../topic-filter.ts';

interface Wanted {
  readonly id: number;
  readonly positions: boolean;
  readonly start: StartPosition | null;
}

interface Granted {
  readonly subscription: Subscription;
  readonly sendRetained: boolean;
}

function grant(connection: Connection, request: SubscriptionRequest, wanted: Wanted): Granted {
  const { context } = connection;
  const { share, filter, levels } = parseSubscription(request.filter);
  if (share !== null && request.noLocal) throw protocolError('No Local on a shared subscription'); // [MQTT-3.8.3-4]
  if (!context.access.authorize(connection.principal, connection.clientId, 'subscribe', filter)) {
    throw new MqttError(REASON.NOT_AUTHORIZED, `${connection.principal.name} may not subscribe to ${filter}`);
  }
  const { qos, noLocal, retainAsPublished, retainHandling } = request;
  const { id, positions } = wanted;
  const subscription: Subscription = { text: request.filter, levels, qos, noLocal, retainAsPublished, id, positions };
  const isNew = context.subscriptions.subscribe(connection.session!, subscription);
  // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]; none for shared subscriptions (4.8.2)
  return { subscription, sendRetained: share === null && (retainHandling === 0 || (retainHandling === 1 && isNew)) };
}

function retainedFor(connection: Connection, granted: readonly Granted[]): RetainedDue[] {
  const { delivery } = connection.session!;
  const due: RetainedDue[] = [];
  for (const { subscription, sendRetained } of granted) {
    if (!sendRetained) continue;
    const match = matchOf(delivery, [subscription]);
    for (const { message, feed, offset } of connection.context.retained.matching(subscription.levels)) {
      const mine = delivery.withoutOwn(match, message);
      if (mine !== null) due.push({ match: mine, message, feed, offset });
    }
  }
  return due;
}

/** Where each partition begins for the subscriptions that ask for the past. */
async function rewind(connection: Connection, granted: readonly Granted[], start: StartPosition): Promise<void> {
  const { context, session } = connection;
  for (const { subscription } of granted) {
    if (subscription.text.startsWith('$share/')) continue;
    const offsets = new Map<Feed, number>();
    for (const feed of context.fanOut.feedsFor(subscription.levels)) offsets.set(feed, await offsetOf(start, feed));
    session!.delivery.rewind(subscription, offsets);
  }
}

export function handleSubscribe(connection: Connection, packet: SubscribePacket): void {
  const { context } = connection;
  const session = connection.session!;
  const { packetId } = packet;
  const wanted: Wanted = {
    id: packet.properties.subscriptionIdentifier?.[0] ?? 0,
    positions: wantsPositions(packet.properties),
    start: startPosition(packet.properties),
  };
  const granted: Granted[] = [];
  const reasons = packet.subscriptions.map((request) => {
    try {
      const one = grant(connection, request, wanted);
      granted.push(one);
      return one.subscription.qos as number;
    } catch (error) {
      if (!(error instanceof MqttError) || error.reason === REASON.PROTOCOL_ERROR) throw error;
      // 3.1.1 has one word for it [MQTT-3.9.3-2]; a filter that is not well-formed is a violation there.
      if (connection.version < 5 && error.reason === REASON.TOPIC_FILTER_INVALID) throw error;
      return connection.version === 5 ? error.reason : REASON.UNSPECIFIED;
    }
  });
  const answer = () => {
    if (connection.isClosed) return;
    connection.send({ type: 9, packetId, reasons, properties: NO_PROPERTIES });
    session.delivery.addRetained(retainedFor(connection, granted));
    session.delivery.pump();
  };
  // What SUBACK grants must hold after a crash.
  const { start } = wanted;
  if (!session.persistent && start === null) {
    answer();
    return;
  }
  const prepare = async () => {
    if (start !== null) await rewind(connection, granted, start);
    if (session.persistent) await context.sessions.saveSubscriptions(session);
  };
  prepare().then(answer, (error) => connection.fail(error));
}
