/**
 * Serial frames: a body, its CRC-32C, COBS, a zero byte (PROTOCOL.md, section 1). Both directions are coded here, so that tests
 * can play either side; the C side is device/src/hw_frame.c. All integers are little-endian.
 */
import { crc32c } from './crc32c.ts';

export const PROTOCOL_VERSION = 1;
/** The longest body: with its CRC it is one COBS group. */
export const MAX_BODY = 250;
/** The longest reading that fits a DATA frame. */
export const MAX_RECORD = MAX_BODY - 14;

/** When a reading was taken: which boot of the device, and its ticks since that boot (48 bits). */
export type Stamp = { readonly boot: number; readonly ticks: number };

export type Hello = {
  readonly type: 'hello';
  readonly version: number;
  readonly epoch: number;
  readonly acked: number;
  readonly next: number;
  readonly now: Stamp;
  readonly ticksPerSecond: number;
  readonly maxCommand: number;
  readonly id: string;
  readonly kind: string;
};
export type Data = {
  readonly type: 'data';
  /** Distance to the reading before it; 0: the device holds none before it. */
  readonly back: number;
  readonly sequence: number;
  readonly stamp: Stamp;
  readonly record: Uint8Array;
};
export type Result = { readonly type: 'result'; readonly id: number; readonly status: number };
export type Pong = { readonly type: 'pong'; readonly token: number; readonly now: Stamp };
export type Welcome = {
  readonly type: 'welcome';
  /** 0: no version in common. */
  readonly version: number;
  readonly epoch: number;
  readonly last: number;
  readonly window: number;
  /** UTC in ms, 0 when it is not known. */
  readonly time: number;
};
export type Ack = {
  readonly type: 'ack' | 'nack';
  readonly epoch: number;
  readonly acked: number;
  readonly received: number;
  readonly window: number;
};
export type Who = { readonly type: 'who'; readonly version: number };
export type Ping = { readonly type: 'ping'; readonly token: number };
export type Command = { readonly type: 'command'; readonly id: number; readonly payload: Uint8Array };
export type UpFrame = Hello | Data | Result | Pong;
export type DownFrame = Welcome | Ack | Who | Ping | Command;
export type Frame = UpFrame | DownFrame;

const CODES = {
  hello: 0x01,
  data: 0x02,
  result: 0x03,
  pong: 0x04,
  welcome: 0x81,
  ack: 0x82,
  nack: 0x83,
  who: 0x84,
  ping: 0x85,
  command: 0x86,
} as const satisfies Record<Frame['type'], number>;

const readStamp = (body: Buffer, at: number): Stamp => ({
  ticks: body.readUIntLE(at, 6),
  boot: body.readUInt16LE(at + 6),
});
function writeStamp(body: Buffer, stamp: Stamp, at: number): void {
  body.writeUIntLE(stamp.ticks, at, 6);
  body.writeUInt16LE(stamp.boot, at + 6);
}

const NAME = /^[A-Za-z0-9._-]{1,64}$/;

function readHello(body: Buffer): Hello | undefined {
  if (body.length < 29) return undefined;
  const idEnd = 28 + body[27]!;
  const kindEnd = idEnd + 1 + (body[idEnd] ?? 0);
  if (kindEnd > body.length) return undefined;
  const id = body.toString('latin1', 28, idEnd);
  const kind = body.toString('latin1', idEnd + 1, kindEnd);
  if (!NAME.test(id) || (kind !== '' && !NAME.test(kind))) return undefined;
  const ticksPerSecond = body.readUInt32LE(22);
  if (ticksPerSecond === 0) return undefined;
  return {
    type: 'hello',
    version: body[1]!,
    epoch: body.readUInt32LE(2),
    acked: body.readUInt32LE(6),
    next: body.readUInt32LE(10),
    now: readStamp(body, 14),
    ticksPerSecond,
    maxCommand: body[26]!,
    id,
    kind,
  };
}

/** A body as a frame; undefined for a type or a form this version does not know. `record` and `payload` are views. */
export function decodeBody(bytes: Uint8Array): Frame | undefined {
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const least = (size: number): boolean => body.length >= size;
  switch (body[0]) {
    case CODES.hello:
      return readHello(body);
    case CODES.data:
      if (!least(15)) return undefined;
      return {
        type: 'data',
        back: body[1]!,
        sequence: body.readUInt32LE(2),
        stamp: readStamp(body, 6),
        record: body.subarray(14),
      };
    case CODES.result:
      return least(6) ? { type: 'result', id: body.readUInt32LE(1), status: body[5]! } : undefined;
    case CODES.pong:
      return least(13) ? { type: 'pong', token: body.readUInt32LE(1), now: readStamp(body, 5) } : undefined;
    case CODES.welcome:
      if (!least(19)) return undefined;
      return {
        type: 'welcome',
        version: body[1]!,
        epoch: body.readUInt32LE(2),
        last: body.readUInt32LE(6),
        window: body[10]!,
        time: Number(body.readBigUInt64LE(11)),
      };
    case CODES.ack:
    case CODES.nack:
      if (!least(14)) return undefined;
      return {
        type: body[0] === CODES.ack ? 'ack' : 'nack',
        epoch: body.readUInt32LE(1),
        acked: body.readUInt32LE(5),
        received: body.readUInt32LE(9),
        window: body[13]!,
      };
    case CODES.who:
      return least(2) ? { type: 'who', version: body[1]! } : undefined;
    case CODES.ping:
      return least(5) ? { type: 'ping', token: body.readUInt32LE(1) } : undefined;
    case CODES.command:
      return least(5) ? { type: 'command', id: body.readUInt32LE(1), payload: body.subarray(5) } : undefined;
    default:
      return undefined;
  }
}

const scratch = Buffer.alloc(MAX_BODY + 256);

/** A frame's body, good until the next call. Throws a RangeError when it is longer than MAX_BODY. */
export function encodeBody(frame: Frame): Buffer {
  const body = scratch;
  body[0] = CODES[frame.type];
  let size: number;
  switch (frame.type) {
    case 'hello':
      body[1] = frame.version;
      body.writeUInt32LE(frame.epoch, 2);
      body.writeUInt32LE(frame.acked, 6);
      body.writeUInt32LE(frame.next, 10);
      writeStamp(body, frame.now, 14);
      body.writeUInt32LE(frame.ticksPerSecond, 22);
      body[26] = frame.maxCommand;
      size = 27;
      for (const name of [frame.id, frame.kind]) {
        body[size] = name.length;
        size += 1 + body.write(name, size + 1, 'latin1');
      }
      break;
    case 'data':
      body[1] = frame.back;
      body.writeUInt32LE(frame.sequence, 2);
      writeStamp(body, frame.stamp, 6);
      body.set(frame.record, 14);
      size = 14 + frame.record.length;
      break;
    case 'result':
      body.writeUInt32LE(frame.id, 1);
      body[5] = frame.status;
      size = 6;
      break;
    case 'pong':
      body.writeUInt32LE(frame.token, 1);
      writeStamp(body, frame.now, 5);
      size = 13;
      break;
    case 'welcome':
      body[1] = frame.version;
      body.writeUInt32LE(frame.epoch, 2);
      body.writeUInt32LE(frame.last, 6);
      body[10] = frame.window;
      body.writeBigUInt64LE(BigInt(frame.time), 11);
      size = 19;
      break;
    case 'ack':
    case 'nack':
      body.writeUInt32LE(frame.epoch, 1);
      body.writeUInt32LE(frame.acked, 5);
      body.writeUInt32LE(frame.received, 9);
      body[13] = frame.window;
      size = 14;
      break;
    case 'who':
      body[1] = frame.version;
      size = 2;
      break;
    case 'ping':
      body.writeUInt32LE(frame.token, 1);
      size = 5;
      break;
    case 'command':
      body.writeUInt32LE(frame.id, 1);
      body.set(frame.payload, 5);
      size = 5 + frame.payload.length;
      break;
  }
  if (size > MAX_BODY) throw new RangeError(`a ${frame.type} frame of ${size} bytes is longer than ${MAX_BODY}`);
  return body.subarray(0, size);
}

/** The bytes on the line: CRC and COBS around a body, a zero behind it. */
export function seal(body: Uint8Array): Buffer {
  const frame = Buffer.alloc(body.length + 6);
  frame.set(body, 1);
  frame.writeUInt32LE(crc32c(body), 1 + body.length);
  const end = frame.length - 1;
  let code = 0;
  for (let at = 1; at < end; at++) {
    if (frame[at] !== 0) continue;
    frame[code] = at - code;
    code = at;
  }
  frame[code] = end - code;
  return frame;
}

export const encodeFrame = (frame: Frame): Buffer => seal(encodeBody(frame));

/** What stood before a zero byte, opened in place; undefined when it is not a frame. */
export function open(frame: Uint8Array): Uint8Array | undefined {
  let from = 0;
  let to = 0;
  while (from < frame.length) {
    const run = frame[from]!;
    if (run === 0 || run > frame.length - from) return undefined;
    frame.copyWithin(to, from + 1, from + run);
    to += run - 1;
    from += run;
    if (from < frame.length) frame[to++] = 0;
  }
  if (to < 5) return undefined;
  const body = frame.subarray(0, to - 4);
  const crc = new DataView(frame.buffer, frame.byteOffset + to - 4, 4).getUint32(0, true);
  return crc32c(body) === crc ? body : undefined;
}

/** Cuts a stream of bytes into frames. A frame is a view that is good until the handler returns. */
export class FrameReader {
  /** Frames that did not open: noise on the line. */
  bad = 0;
  readonly #held = Buffer.alloc(MAX_BODY + 5);
  readonly #onFrame: (frame: Frame) => void;
  readonly #onBad: () => void;
  #size = 0;

  constructor(onFrame: (frame: Frame) => void, onBad: () => void = () => {}) {
    this.#onFrame = onFrame;
    this.#onBad = onBad;
  }

  push(bytes: Uint8Array): void {
    let from = 0;
    while (from < bytes.length) {
      const zero = bytes.indexOf(0, from);
      const end = zero === -1 ? bytes.length : zero;
      const room = this.#held.length - this.#size;
      // What is too long counts on as one byte too many, until its zero comes.
      if (end - from <= room) this.#held.set(bytes.subarray(from, end), this.#size);
      this.#size += Math.min(end - from, room + 1);
      if (zero !== -1) this.#close();
      from = end + 1;
    }
  }

  #close(): void {
    const size = this.#size;
    this.#size = 0;
    if (size === 0) return;
    const body = size > this.#held.length ? undefined : open(this.#held.subarray(0, size));
    if (body === undefined) {
      this.bad++;
      this.#onBad();
      return;
    }
    const frame = decodeBody(body);
    if (frame !== undefined) this.#onFrame(frame);
  }
}
