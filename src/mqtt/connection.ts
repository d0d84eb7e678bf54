/**
 * One network connection: bytes in, packets to their handlers, acknowledgements out in order. It reads only while there
 * is room: for appends that wait (its own and the log's) and for output that the peer does not take.
 */
import type { Duplex } from 'node:stream';
import { asHeadwaterError, type HeadwaterError } from '../errors.ts';
import {
  APPEND_QUEUE_MAX_BYTES,
  MQTT_CONNECT_TIMEOUT_MS,
  MQTT_PACKET_TIMEOUT_MS,
  SOCKET_OUTPUT_HIGH_WATER_BYTES,
} from '../limits.ts';
import { type Packet, TYPE, type Version } from '../wire/mqtt/packets.ts';
import { PacketParser } from '../wire/mqtt/parser.ts';
import { NO_PROPERTIES, type Properties } from '../wire/mqtt/properties.ts';
import { MqttError, protocolError, REASON } from '../wire/mqtt/reason.ts';
import { writePacket } from '../wire/mqtt/write.ts';
import type { Principal } from './access.ts';
import type { PublishRate } from './client-limits.ts';
import type { MqttContext } from './context.ts';
import type { Link } from './delivery.ts';
import { handleAuth } from './handle/auth.ts';
import { handleConnect } from './handle/connect.ts';
import { handleDisconnect } from './handle/disconnect.ts';
import { handlePingreq } from './handle/pingreq.ts';
import { handlePuback } from './handle/puback.ts';
import { handlePubcomp } from './handle/pubcomp.ts';
import { handlePublish } from './handle/publish.ts';
import { handlePubrec } from './handle/pubrec.ts';
import { handlePubrel } from './handle/pubrel.ts';
import { handleSubscribe } from './handle/subscribe.ts';
import { handleUnsubscribe } from './handle/unsubscribe.ts';
import { Output } from './output.ts';
import type { Publication } from './publication.ts';
import type { Session } from './session.ts';

/** A 3.1.1 client that goes on after this many refused publishes, which it cannot be told of, is disconnected. */
const REFUSALS_MAX = 10;
/** How coarse `context.tick` is. */
export const TICK_MS = 1_000;
const LOG_HIGH_WATER_BYTES = APPEND_QUEUE_MAX_BYTES * 0.5;

/** `new`: CONNECT is due; `connecting`: it is being answered; `open`; `closed`: for good. */
export type ConnectionState = 'new' | 'connecting' | 'open' | 'closed';

export class Connection implements Link {
  readonly context: MqttContext;
  readonly output: Output;
  readonly remoteAddress: string;
  /** Subject of the verified client certificate, or null. */
  readonly certificate: string | null;
  version: Version = 4;
  clientId = '';
  session: Session | null = null;
  principal: Principal = { name: 'anonymous' };
  /** What the client can take. */
  receiveMaximum = 0xffff;
  maxPacketBytes = Number.MAX_SAFE_INTEGER;
  aliasMaximum = 0;
  readonly aliases = new Map<string, number>();
  /** Topic aliases that the client set. */
  readonly clientAliases = new Map<number, string>();
  wantsProblemInformation = true;
  /** Milliseconds without a packet after which the connection is closed; 0: never. */
  keepAliveMs = 0;
  /** Publishes at QoS 1 and 2 whose acknowledgement is due (Receive Maximum counts them, and QoS 2 until PUBREL). */
  unacknowledged = 0;
  /** CONNACK said Session Present: the client may repeat what an earlier connection left without an answer. */
  resumed = false;
  /** The last topic that `authorize` allowed. */
  allowedTopic = '';
  readonly connectedAt: number;
  #state: ConnectionState = 'new';
  readonly #stream: Duplex;
  readonly #parser: PacketParser;
  #lastPacketAt: number;
  #partialSince = -1;
  #processing = false;
  #paused = false;
  #waitsForLog = false;
  /** null: how fast it publishes is not bounded. */
  readonly #rate: PublishRate | null;
  #waitsForRate = false;
  #pendingBytes = 0;
  #firstDue: Publication | null = null;
  #lastDue: Publication | null = null;
  #refusals = 0;

  constructor(context: MqttContext, stream: Duplex, remoteAddress: string, certificate: string | null) {
    this.context = context;
    this.#stream = stream;
    this.remoteAddress = remoteAddress;
    this.certificate = certificate;
    context.limits.accepted(remoteAddress, this);
    this.output = new Output(stream, context.flusher);
    this.#parser = new PacketParser(context.settings.maxPacketBytes);
    this.connectedAt = context.tick.now;
    this.#lastPacketAt = context.tick.now;
    this.#rate = context.limits.publishRate(context.env.clock.monotonic());
    stream.on('data', (chunk: Buffer) => {
      if (this.#state === 'closed') return;
      context.counters.bytesIn.value += chunk.length;
      // [MQTT-3.1.0-1] What does not begin as CONNECT is not waited for, however long it claims to be.
      if (this.#state === 'new' && this.#parser.pendingBytes === 0 && chunk[0]! >> 4 !== TYPE.CONNECT) {
        this.fail(protocolError('the first packet is not CONNECT'));
        return;
      }
      this.#parser.push(chunk);
      this.process();
    });
    stream.on('drain', () => {
      this.session?.delivery.hasRoomAgain();
      this.resume();
    });
    stream.on('error', () => this.destroy('socket_error'));
    stream.on('close', () => this.destroy('closed_by_peer'));
    stream.on('end', () => this.destroy('closed_by_peer'));
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  connecting(version: Version): void {
    this.#state = 'connecting';
    this.version = version;
    this.#parser.version = version;
  }

  opened(): void {
    if (this.#state === 'connecting') this.#state = 'open';
  }

  #mustWait(): boolean {
    return (
      this.#pendingBytes > this.context.settings.maxInflightBytes ||
      this.output.queuedBytes > SOCKET_OUTPUT_HIGH_WATER_BYTES ||
      this.context.log.queuedBytes > LOG_HIGH_WATER_BYTES ||
      (this.#rate !== null && this.#rate.wait(this.context.env.clock.monotonic()) !== null)
    );
  }

  /** Handles the packets that are there, while there is room. */
  process(): void {
    if (this.#processing || this.#paused) return;
    this.#processing = true;
    try {
      while (this.#state === 'open' || this.#state === 'new') {
        if (this.#mustWait()) {
          this.#pause();
          return;
        }
        const before = this.#parser.pendingBytes;
        const packet = this.#parser.next();
        if (packet === null) break;
        if (this.#rate !== null) {
          const messages = packet.type === TYPE.PUBLISH ? 1 : 0;
          this.#rate.received(before - this.#parser.pendingBytes, messages, this.context.env.clock.monotonic());
        }
        this.context.counters.packetsIn.value++;
        this.#lastPacketAt = this.context.tick.now;
        this.#handle(packet);
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.#processing = false;
    }
    this.#partialSince =
      this.#parser.pendingBytes === 0 ? -1 : this.#partialSince < 0 ? this.context.tick.now : this.#partialSince;
    // While CONNECT is answered the next packets may arrive: bounded by not reading on.
    if (this.#state === 'connecting') this.#stream.pause();
  }

  #pause(): void {
    this.#paused = true;
    this.context.counters.pauses.value++;
    this.#stream.pause();
    this.#waitForRoom();
  }

  #waitForRoom(): void {
    this.#waitForLog();
    this.#waitForRate();
  }

  #waitForRate(): void {
    const { clock } = this.context.env;
    const wait = this.#rate?.wait(clock.monotonic()) ?? null;
    if (wait === null || this.#waitsForRate) return;
    this.#waitsForRate = true;
    this.context.counters.throttled(wait.bound).value++;
    clock.after(wait.ms, () => {
      this.#waitsForRate = false;
      this.resume();
    });
  }

  /** Asks the log to call back, once, when its queue is the reason. */
  #waitForLog(): void {
    const { log } = this.context;
    if (this.#waitsForLog || log.queuedBytes <= LOG_HIGH_WATER_BYTES) return;
    this.#waitsForLog = true;
    log.whenDrained(() => {
      this.#waitsForLog = false;
      this.resume();
    });
  }

  /** Reads on, when it stopped and may. */
  resume(): void {
    if (this.#state === 'closed') return;
    if (this.#paused) {
      if (this.#pendingBytes > this.context.settings.maxInflightBytes / 2 || this.#mustWait()) {
        this.#waitForRoom();
        return;
      }
      this.#paused = false;
    }
    this.process();
    if (!this.#paused && this.#state === 'open') this.#stream.resume();
  }

  #handle(packet: Packet): void {
    if (this.#state === 'new') {
      // [MQTT-3.1.0-1]
      if (packet.type !== TYPE.CONNECT) throw protocolError('the first packet is not CONNECT');
      handleConnect(this, packet);
      return;
    }
    switch (packet.type) {
      case TYPE.PUBLISH:
        handlePublish(this, packet);
        break;
      case TYPE.PUBACK:
        handlePuback(this, packet);
        break;
      case TYPE.PUBREC:
        handlePubrec(this, packet);
        break;
      case TYPE.PUBREL:
        handlePubrel(this, packet);
        break;
      case TYPE.PUBCOMP:
        handlePubcomp(this, packet);
        break;
      case TYPE.SUBSCRIBE:
        handleSubscribe(this, packet);
        break;
      case TYPE.UNSUBSCRIBE:
        handleUnsubscribe(this, packet);
        break;
      case TYPE.PINGREQ:
        handlePingreq(this);
        break;
      case TYPE.DISCONNECT:
        handleDisconnect(this, packet);
        break;
      case TYPE.AUTH:
        handleAuth();
        break;
      case TYPE.CONNECT:
        throw protocolError('a second CONNECT'); // [MQTT-3.1.0-2]
      default:
        throw protocolError(`packet type ${packet.type} is the server's`);
    }
  }

  send(packet: Packet): void {
    if (this.#state === 'closed') return;
    const bytes = writePacket(packet, this.version);
    // [MQTT-3.1.2-24] A packet the client will not take is not sent.
    if (bytes.length > this.maxPacketBytes) return;
    this.context.counters.packetsOut.value++;
    this.output.write(bytes);
  }

  /** A place in the order of acknowledgements [MQTT-4.6.0-2] [MQTT-4.6.0-3]. */
  expect(publication: Publication): void {
    this.#pendingBytes += publication.byteLength;
    if (this.#lastDue === null) this.#firstDue = publication;
    else this.#lastDue.next = publication;
    this.#lastDue = publication;
  }

  /** `publication.reason` is decided: sends what is due, in the order received. */
  readonly settle = (): void => {
    let due = this.#firstDue;
    while (due !== null && due.reason >= 0) {
      this.#pendingBytes -= due.byteLength;
      if (due.qos > 0 && this.#state === 'open') this.#acknowledge(due);
      due = due.next;
    }
    this.#firstDue = due;
    if (due === null) this.#lastDue = null;
    if (this.#paused) this.resume();
  };

  #acknowledge(publication: Publication): void {
    const { reason, qos, packetId } = publication;
    if (qos === 1) this.unacknowledged--;
    if (reason < 0x80) {
      this.context.counters.packetsOut.value++;
      this.output.writeAck(qos === 1 ? 0x40 : 0x50, packetId);
      this.#refusals = 0;
      return;
    }
    if (qos === 2) this.unacknowledged--;
    if (this.version === 5) {
      this.send({ type: qos === 1 ? 4 : 5, packetId, reason: ackReason(reason), properties: NO_PROPERTIES });
      return;
    }
    // 3.1.1 has no word for a refusal: no acknowledgement, and past a bound the connection ends.
    this.#refusals++;
    if (this.#refusals > REFUSALS_MAX) this.destroy('publishes_refused');
  }

  /** A violation or an error of ours ends this connection, and no other. */
  fail(error: unknown): void {
    if (this.#state === 'closed') return;
    const known: HeadwaterError = asHeadwaterError(error);
    if (known.code === 'INTERNAL') {
      this.context.logger.error({ clientId: this.clientId, error }, 'a bug in the MQTT edge closed a connection');
    } else {
      this.context.logger.info(
        { clientId: this.clientId, address: this.remoteAddress, why: known.message },
        'MQTT connection refused',
      );
    }
    const reason = error instanceof MqttError ? error.reason : known.mqttReason;
    if (this.#state === 'open') this.disconnect(reason, known.message);
    else {
      if (reason === REASON.UNSUPPORTED_VERSION) this.output.write(Buffer.from([0x20, 2, 0, 1])); // [MQTT-3.1.2-2]
      this.context.counters.refused(`0x${reason.toString(16)}`).value++;
      this.destroy('refused');
    }
  }

  /** Ends the connection from our side; a 5.0 client is told why. The will is sent. */
  disconnect(reason: number, why: string | null = null): void {
    if (this.#state === 'open' && this.version === 5) {
      const properties: Properties =
        why !== null && this.wantsProblemInformation ? { reasonString: why.slice(0, 256) } : {};
      this.send({ type: 14, reason, properties });
    }
    this.destroy(`0x${reason.toString(16)}`);
  }

  takenOver(): void {
    this.disconnect(REASON.SESSION_TAKEN_OVER);
  }

  /** Called about once a second. */
  check(now: number): void {
    if (this.#state === 'new' || this.#state === 'connecting') {
      if (now - this.connectedAt > MQTT_CONNECT_TIMEOUT_MS) this.#timedOut('connect_timeout');
      return;
    }
    // The stamp of a packet may be a tick old: never before the 1.5 times are over.
    if (this.keepAliveMs > 0 && now - this.#lastPacketAt > this.keepAliveMs + TICK_MS && !this.#paused) {
      this.disconnect(REASON.KEEP_ALIVE_TIMEOUT); // [MQTT-3.1.2-22]
    } else if (this.#partialSince >= 0 && now - this.#partialSince > MQTT_PACKET_TIMEOUT_MS && !this.#paused) {
      this.#timedOut('packet_timeout');
    }
  }

  #timedOut(reason: string): void {
    this.context.counters.refused(reason).value++;
    this.destroy(reason);
  }

  /** Closes after what is written has gone out. `sendWill`: false only after a proper DISCONNECT. */
  destroy(reason: string, sendWill = true): void {
    if (this.#state === 'closed') return;
    this.output.flush();
    this.#state = 'closed';
    this.context.counters.disconnects(reason).value++;
    const stream = this.#stream;
    stream.end();
    stream.resume();
    // A peer that does not close its side is not waited for.
    this.context.env.clock.after(1_000, () => stream.destroy());
    this.#firstDue = null;
    this.#lastDue = null;
    if (this.session !== null) this.context.sessions.closed(this, this.session, sendWill);
    this.context.limits.closed(this, this.remoteAddress, this.principal.name);
    this.context.onClosed(this);
  }
}

/** Reason codes that PUBACK and PUBREC know (3.4.2.1); others are told as what they mean here. */
function ackReason(reason: number): number {
  if (reason === REASON.PACKET_TOO_LARGE) return REASON.QUOTA_EXCEEDED;
  if (reason === REASON.SERVER_SHUTTING_DOWN || reason === REASON.MALFORMED) return REASON.UNSPECIFIED;
  return reason;
}
