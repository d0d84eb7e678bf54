/**
 * Socket chunks in, packets out, one at a time (`next`), so that the reader can stop between two packets. A packet that
 * lies whole in a chunk is read in place and its payload is a view; one that spans chunks is gathered in a buffer that
 * grows with what has arrived, never with what a header promises. Errors are final: the connection must be closed.
 */
import { readAck } from './acks.ts';
import { readConnack, readConnect } from './connect.ts';
import { Cursor } from './cursor.ts';
import { readReason } from './disconnect.ts';
import { type Packet, type PingPacket, TYPE, TYPE_NAMES, type Version } from './packets.ts';
import { readPublish } from './publish.ts';
import { MqttError, malformed, protocolError, REASON } from './reason.ts';
import { readSuback, readSubscribe, readUnsubscribe } from './subscribe.ts';

const EMPTY = Buffer.alloc(0);
const GATHER_MIN_BYTES = 512;
const PINGREQ: PingPacket = { type: 12 };
const PINGRESP: PingPacket = { type: 13 };

export class PacketParser {
  /** Set by the owner once CONNECT has told it; 4 until then. */
  version: Version = 4;
  /** Largest whole packet, bytes; larger: PACKET_TOO_LARGE before its body is taken in. */
  maxPacketBytes: number;
  /** Size of the packet that `next` returned last, with its fixed header. */
  lastPacketBytes = 0;

  #buffer: Buffer = EMPTY;
  #start = 0;
  #end = 0;
  /** `#buffer` was allocated here and has room behind `#end`. */
  #gathering = false;
  readonly #cursor = new Cursor(EMPTY, 0, 0);

  constructor(maxPacketBytes: number) {
    this.maxPacketBytes = maxPacketBytes;
  }

  /** Bytes held that are not yet part of a returned packet. */
  get pendingBytes(): number {
    return this.#end - this.#start;
  }

  push(chunk: Buffer): void {
    const pending = this.#end - this.#start;
    if (pending === 0) {
      this.#buffer = chunk;
      this.#start = 0;
      this.#end = chunk.length;
      this.#gathering = false;
      return;
    }
    const need = pending + chunk.length;
    if (!this.#gathering || this.#end + chunk.length > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(this.#gathering ? need * 2 : need, GATHER_MIN_BYTES));
      this.#buffer.copy(grown, 0, this.#start, this.#end);
      this.#buffer = grown;
      this.#start = 0;
      this.#end = pending;
      this.#gathering = true;
    }
    chunk.copy(this.#buffer, this.#end);
    this.#end += chunk.length;
  }

  /** The next whole packet, or null when more bytes are needed. Throws MqttError. */
  next(): Packet | null {
    const buffer = this.#buffer;
    const start = this.#start;
    const available = this.#end - start;
    if (available < 2) {
      if (available === 1) this.#checkFirstByte(buffer[start]!);
      return null;
    }
    const first = buffer[start]!;
    this.#checkFirstByte(first);
    let length = buffer[start + 1]!;
    let bodyAt = start + 2;
    if (length >= 0x80) {
      length &= 0x7f;
      for (let shift = 7; ; shift += 7) {
        if (shift === 28) throw malformed('a remaining length of more than 4 bytes');
        if (bodyAt >= this.#end) return null;
        const byte = buffer[bodyAt++]!;
        length |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
          if (byte === 0 && this.version === 5) throw malformed('the remaining length is not in the fewest bytes');
          break;
        }
      }
    }
    const end = bodyAt + length;
    const total = end - start;
    if (total > this.maxPacketBytes) {
      throw new MqttError(
        REASON.PACKET_TOO_LARGE,
        `${TYPE_NAMES[first >> 4]} of ${total} bytes; at most ${this.maxPacketBytes} are allowed`,
      );
    }
    if (end > this.#end) return null;
    this.#start = end;
    this.lastPacketBytes = total;
    if (end === this.#end) {
      // Views into the buffer live on with their packets; the parser lets go of it.
      this.#buffer = EMPTY;
      this.#start = 0;
      this.#end = 0;
    } else if (this.#gathering) {
      // A payload view must not be overwritten by what is pushed later: `push` copies before it appends.
      this.#gathering = false;
    }
    const cursor = this.#cursor;
    cursor.buffer = buffer;
    cursor.position = bodyAt;
    cursor.end = end;
    const packet = this.#read(cursor, first >> 4, first & 15);
    cursor.buffer = EMPTY;
    return packet;
  }

  #checkFirstByte(first: number): void {
    const type = first >> 4;
    if (type === 0) throw malformed('packet type 0');
    if (type === TYPE.PUBLISH) return;
    const wanted = type === TYPE.PUBREL || type === TYPE.SUBSCRIBE || type === TYPE.UNSUBSCRIBE ? 2 : 0;
    // [MQTT-2.1.3-1]
    if ((first & 15) !== wanted) throw malformed(`${TYPE_NAMES[type]} with flags ${first & 15} instead of ${wanted}`);
  }

  #read(cursor: Cursor, type: number, flags: number): Packet {
    const { version } = this;
    switch (type) {
      case TYPE.PUBLISH:
        return readPublish(cursor, flags, version);
      case TYPE.PUBACK:
      case TYPE.PUBREC:
      case TYPE.PUBREL:
      case TYPE.PUBCOMP:
        return readAck(cursor, type, version);
      case TYPE.CONNECT:
        return readConnect(cursor);
      case TYPE.CONNACK:
        return readConnack(cursor, version);
      case TYPE.SUBSCRIBE:
        return readSubscribe(cursor, version);
      case TYPE.UNSUBSCRIBE:
        return readUnsubscribe(cursor, version);
      case TYPE.SUBACK:
      case TYPE.UNSUBACK:
        return readSuback(cursor, type, version);
      case TYPE.PINGREQ:
        cursor.mustEnd('PINGREQ');
        return PINGREQ;
      case TYPE.PINGRESP:
        cursor.mustEnd('PINGRESP');
        return PINGRESP;
      case TYPE.DISCONNECT:
        return readReason(cursor, type, version);
      case TYPE.AUTH:
        if (version < 5) throw protocolError('AUTH is not a packet of MQTT 3.1.1');
        return readReason(cursor, type, version);
      default:
        throw malformed(`packet type ${type}`);
    }
  }
}
