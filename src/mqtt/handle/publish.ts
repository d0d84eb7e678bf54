/** PUBLISH from a client (3.3, 4.3): the acknowledgement is sent in the completion of the append, in order. */
import type { PublishPacket } from '../../wire/mqtt/packets.ts';
import { MqttError, protocolError, REASON } from '../../wire/mqtt/reason.ts';
import type { Connection } from '../connection.ts';
import type { Publication } from '../publication.ts';
import type { Inbound, Session } from '../session.ts';
import { parseTopicName } from '../topic-filter.ts';

const EXCHANGE_BYTES = 8;

function topicOf(connection: Connection, packet: PublishPacket): string {
  const alias = packet.properties.topicAlias;
  if (alias === undefined) {
    if (packet.topic === '') throw protocolError('PUBLISH with an empty topic and no alias');
    return packet.topic;
  }
  // [MQTT-3.3.2-9]
  if (alias > connection.context.settings.topicAliasMaximum) {
    throw new MqttError(REASON.TOPIC_ALIAS_INVALID, `topic alias ${alias} is above the maximum`);
  }
  if (packet.topic !== '') {
    parseTopicName(packet.topic);
    connection.clientAliases.set(alias, packet.topic);
    return packet.topic;
  }
  const topic = connection.clientAliases.get(alias);
  if (topic === undefined) throw protocolError(`topic alias ${alias} was not set`);
  return topic;
}

function isAllowed(connection: Connection, topic: string): boolean {
  if (topic === connection.allowedTopic) return true;
  // Clients do not publish for the broker.
  if (topic.startsWith('$SYS/')) return false;
  if (!connection.context.access.authorize(connection.principal, connection.clientId, 'publish', topic)) return false;
  connection.allowedTopic = topic;
  return true;
}

function checkProperties(packet: PublishPacket): void {
  const { properties } = packet;
  if (properties.subscriptionIdentifier !== undefined) {
    throw protocolError('a client sent a subscription identifier'); // [MQTT-3.3.4-6]
  }
  const { responseTopic } = properties;
  if (responseTopic !== undefined && (responseTopic === '' || /[+#]/.test(responseTopic))) {
    throw protocolError('a response topic that is empty or has wildcards'); // [MQTT-3.3.2-14]
  }
}

export function handlePublish(connection: Connection, packet: PublishPacket): void {
  const { context } = connection;
  const session = connection.session!;
  context.counters.publishesIn.value++;
  if (connection.version === 5) checkProperties(packet);
  const topic = topicOf(connection, packet);
  if (packet.qos === 2 && isRepeated(connection, session, packet.packetId)) return;
  if (packet.qos > 0) {
    connection.unacknowledged++;
    // [MQTT-3.3.4-9]
    if (connection.version === 5 && connection.unacknowledged > context.settings.receiveMaximum) {
      throw new MqttError(REASON.RECEIVE_MAXIMUM_EXCEEDED, `more than ${context.settings.receiveMaximum} in flight`);
    }
  }
  const allowed = isAllowed(connection, topic);
  const marked = packet.qos === 2 && session.persistent && allowed;
  const exchange = marked ? context.env.random.bytes(EXCHANGE_BYTES) : null;
  const { clientId } = connection;
  const publication = context.publisher.prepare(topic, packet, clientId, packet.packetId, session.hasNoLocal, exchange);
  connection.expect(publication);
  if (!allowed) {
    context.counters.publishRefused.value++;
    publication.reason = REASON.NOT_AUTHORIZED;
    connection.settle();
  } else if (packet.qos === 2) submitExactlyOnce(connection, session, publication, exchange);
  else {
    // acks: 0 is decided on receipt; a QoS 0 publish holds its place until it is stored, for back-pressure.
    if (publication.entry.route.acks === 0 && packet.qos === 1) {
      publication.reason = REASON.SUCCESS;
      context.publisher.submit(publication, () => undefined);
      connection.settle();
    } else context.publisher.submit(publication, connection.settle);
  }
}

/** [MQTT-4.3.3-10] A PUBLISH whose identifier has not been released is the same message again. */
function isRepeated(connection: Connection, session: Session, packetId: number): boolean {
  const inbound = session.inbound.get(packetId);
  if (inbound === undefined) return false;
  const answer = () => connection.output.writeAck(0x50, packetId);
  if (inbound.state === 'received') answer();
  else inbound.onReceived = answer;
  return true;
}

/**
 * QoS 2 in: the identifier is remembered until PUBREL. For a session that outlives a crash the intent is stored before
 * the append, and the record bears its mark: afterwards the log itself tells whether the message was received.
 */
function submitExactlyOnce(
  connection: Connection,
  session: Session,
  publication: Publication,
  exchange: Uint8Array | null,
): void {
  const { context } = connection;
  const { packetId, entry } = publication;
  const partition = entry.partition;
  const feed = partition === null ? null : context.fanOut.feedOf(partition);
  const inbound: Inbound = {
    state: 'intending',
    feed,
    from: partition?.logEndOffset ?? 0,
    exchange,
    pending: true,
    onReceived: null,
  };
  session.inbound.set(packetId, inbound);
  const append = () =>
    context.publisher.submit(publication, (settled) => {
      inbound.pending = false;
      if (settled.reason < 0x80) {
        inbound.state = 'received';
        inbound.onReceived?.();
      } else session.inbound.delete(packetId);
      session.delivery.dirty = true;
      connection.settle();
    });
  if (exchange === null || feed === null) {
    append();
    return;
  }
  session.store((error) => {
    if (error == null) {
      append();
      return;
    }
    session.inbound.delete(packetId);
    publication.reason = REASON.QUOTA_EXCEEDED;
    connection.settle();
  });
}
