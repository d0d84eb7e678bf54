/** CONNECT (3.1): the order of the steps is the order that the specification demands. */

import { asHeadwaterError } from '../../errors.ts';
import { MQTT_TOPIC_ALIASES_MAX } from '../../limits.ts';
import type { ConnectPacket } from '../../wire/mqtt/packets.ts';
import { NO_PROPERTIES, type Properties } from '../../wire/mqtt/properties.ts';
import { MqttError, REASON } from '../../wire/mqtt/reason.ts';
import type { Connection } from '../connection.ts';
import { EMPTY, forwarded } from '../message.ts';
import { NEVER, type Session } from '../session.ts';
import { parseTopicName } from '../topic-filter.ts';
import type { PendingWill } from '../wills.ts';

interface Attempt {
  readonly connection: Connection;
  readonly packet: ConnectPacket;
  clientId: string;
  assigned: boolean;
  expirySeconds: number;
  keepAlive: number;
  will: PendingWill | null;
  session: Session | null;
  present: boolean;
}

type Step = (attempt: Attempt) => void | Promise<void>;

const steps: readonly Step[] = [
  refuseWhenStopping,
  refuseWhenOverloaded,
  refuseWhenFollowing,
  refuseExtendedAuthentication,
  chooseClientId,
  authenticate,
  checkLimits,
  negotiate,
  checkWill,
  openSession,
  answer,
  deliver,
];

function refuseWhenStopping({ connection }: Attempt): void {
  if (connection.context.stopping()) throw new MqttError(REASON.SERVER_SHUTTING_DOWN, 'the broker is stopping');
}

function refuseWhenOverloaded({ connection }: Attempt): void {
  if (!connection.context.overloaded()) return;
  throw new MqttError(REASON.SERVER_BUSY, 'the broker is above memory.budget and takes no new connections');
}

function refuseWhenFollowing({ connection }: Attempt): void {
  if (!connection.context.follows()) return;
  throw new MqttError(REASON.USE_ANOTHER_SERVER, 'this broker is the standby of another, which takes clients');
}

/** [MQTT-4.12.0-1] */
function refuseExtendedAuthentication({ packet }: Attempt): void {
  const method = packet.properties.authenticationMethod;
  if (method !== undefined) {
    throw new MqttError(
      REASON.BAD_AUTHENTICATION_METHOD,
      `authentication method ${JSON.stringify(method)} is not offered`,
    );
  }
}

function chooseClientId(attempt: Attempt): void {
  const { packet, connection } = attempt;
  attempt.clientId = packet.clientId;
  if (packet.clientId !== '') return;
  // [MQTT-3.1.3-8] of 3.1.1; 5.0 assigns one whatever Clean Start says [MQTT-3.1.3-6]
  if (packet.version < 5 && !packet.clean) {
    throw new MqttError(REASON.CLIENT_ID_NOT_VALID, 'an empty client identifier without clean session');
  }
  attempt.clientId = `auto-${Buffer.from(connection.context.env.random.bytes(12)).toString('hex')}`;
  attempt.assigned = true;
}

async function authenticate({ connection, packet, clientId }: Attempt): Promise<void> {
  const principal = await connection.context.access.authenticate({
    clientId,
    username: packet.username,
    password: packet.password,
    certificate: connection.certificate,
    remoteAddress: connection.remoteAddress,
  });
  if (principal === null) throw new MqttError(REASON.BAD_USER_OR_PASSWORD, 'unknown user or wrong password');
  connection.principal = principal;
}

function checkLimits({ connection, clientId }: Attempt): void {
  const { context, principal, remoteAddress } = connection;
  const bound = connection.isClosed ? null : context.limits.admit(connection, remoteAddress, principal.name, clientId);
  if (bound === null) return;
  context.counters.refused(bound).value++;
  throw new MqttError(
    REASON.QUOTA_EXCEEDED,
    bound === 'connections_per_user'
      ? `user ${principal.name} has as many connections as it may`
      : `${remoteAddress} has as many connections as it may`,
  );
}

function checkWill(attempt: Attempt): void {
  const { will } = attempt.packet;
  if (will === null) return;
  const { connection, clientId } = attempt;
  parseTopicName(will.topic);
  const { context, principal } = connection;
  if (will.topic.startsWith('$SYS/') || !context.access.authorize(principal, clientId, 'publish', will.topic)) {
    throw new MqttError(REASON.NOT_AUTHORIZED, `${principal.name} may not publish its will to ${will.topic}`);
  }
  attempt.will = {
    message: {
      topic: will.topic,
      qos: will.qos,
      retain: will.retain,
      payload: will.payload.length === 0 ? EMPTY : Buffer.from(will.payload),
      properties: forwarded(will.properties),
      timestamp: 0,
      publisher: clientId,
    },
    delay: Math.min(will.properties.willDelayInterval ?? 0, attempt.expirySeconds),
  };
  if (!context.wills.fits(clientId, attempt.will)) {
    throw new MqttError(REASON.QUOTA_EXCEEDED, 'no room for another will');
  }
}

function negotiate(attempt: Attempt): void {
  const { connection, packet } = attempt;
  const { settings } = connection.context;
  const { properties } = packet;
  const asked = packet.version === 5 ? (properties.sessionExpiryInterval ?? 0) : packet.clean ? 0 : NEVER;
  attempt.expirySeconds = Math.min(asked, settings.maxSessionExpiry);
  attempt.keepAlive = packet.keepAlive;
  const { maxKeepAlive } = settings;
  if (packet.version === 5 && maxKeepAlive > 0 && (packet.keepAlive === 0 || packet.keepAlive > maxKeepAlive)) {
    attempt.keepAlive = maxKeepAlive;
  }
  connection.keepAliveMs = attempt.keepAlive * 1500;
  connection.receiveMaximum = properties.receiveMaximum ?? 0xffff;
  connection.maxPacketBytes = properties.maximumPacketSize ?? Number.MAX_SAFE_INTEGER;
  connection.aliasMaximum = Math.min(properties.topicAliasMaximum ?? 0, MQTT_TOPIC_ALIASES_MAX);
  connection.wantsProblemInformation = properties.requestProblemInformation !== 0;
}

async function openSession(attempt: Attempt): Promise<void> {
  const { connection, packet, clientId } = attempt;
  connection.clientId = clientId;
  const { session, present } = await connection.context.sessions.open(
    connection,
    clientId,
    packet.clean,
    attempt.expirySeconds,
    attempt.will,
  );
  attempt.session = session;
  attempt.present = present;
  connection.session = session;
  connection.resumed = present;
  // 4.9: what an earlier connection left between PUBREC and PUBREL counts against Receive Maximum.
  connection.unacknowledged = session.inbound.size;
}

function answer(attempt: Attempt): void {
  const { connection, packet, present } = attempt;
  if (connection.isClosed) {
    // It closed after the session was given to it, and before the session knew.
    connection.context.sessions.closed(connection, attempt.session!, true);
    throw new MqttError(REASON.UNSPECIFIED, 'the connection closed during CONNECT');
  }
  const { settings } = connection.context;
  const properties: Properties = {};
  if (packet.version === 5) {
    if (attempt.expirySeconds !== (packet.properties.sessionExpiryInterval ?? 0)) {
      properties.sessionExpiryInterval = attempt.expirySeconds;
    }
    if (attempt.assigned) properties.assignedClientIdentifier = attempt.clientId; // [MQTT-3.1.3-7]
    if (attempt.keepAlive !== packet.keepAlive) properties.serverKeepAlive = attempt.keepAlive;
    properties.receiveMaximum = settings.receiveMaximum;
    properties.maximumPacketSize = settings.maxPacketBytes;
    properties.topicAliasMaximum = settings.topicAliasMaximum;
  }
  connection.opened();
  connection.send({ type: 2, sessionPresent: present, reason: REASON.SUCCESS, properties });
}

function deliver({ connection, session }: Attempt): void {
  session!.delivery.attach(connection);
  connection.resume();
}

/** 3.2.2.3 of 3.1.1: return codes 1 to 5; other refusals close the connection without a CONNACK. */
const RETURN_CODES: Readonly<Record<number, number>> = {
  [REASON.UNSUPPORTED_VERSION]: 1,
  [REASON.CLIENT_ID_NOT_VALID]: 2,
  [REASON.SERVER_UNAVAILABLE]: 3,
  [REASON.SERVER_BUSY]: 3,
  [REASON.SERVER_SHUTTING_DOWN]: 3,
  [REASON.USE_ANOTHER_SERVER]: 3,
  [REASON.QUOTA_EXCEEDED]: 3,
  [REASON.BAD_USER_OR_PASSWORD]: 4,
  [REASON.NOT_AUTHORIZED]: 5,
};

function refuse(connection: Connection, error: unknown): void {
  if (connection.isClosed) return;
  const known = asHeadwaterError(error);
  const reason = error instanceof MqttError ? error.reason : known.mqttReason;
  if (connection.version === 5) {
    const properties: Properties = connection.wantsProblemInformation
      ? { reasonString: known.message.slice(0, 256) }
      : NO_PROPERTIES;
    connection.send({ type: 2, sessionPresent: false, reason, properties });
  } else {
    const code = RETURN_CODES[reason];
    if (code !== undefined) {
      connection.send({ type: 2, sessionPresent: false, reason: code, properties: NO_PROPERTIES });
    }
  }
  connection.fail(error);
}

export function handleConnect(connection: Connection, packet: ConnectPacket): void {
  connection.connecting(packet.version);
  const attempt: Attempt = {
    connection,
    packet,
    clientId: '',
    assigned: false,
    expirySeconds: 0,
    keepAlive: 0,
    will: null,
    session: null,
    present: false,
  };
  const run = async () => {
    for (const step of steps) {
      const done = step(attempt);
      if (done !== undefined) await done;
    }
  };
  run().catch((error: unknown) => refuse(connection, error));
}
