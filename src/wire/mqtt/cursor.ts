/** Reads MQTT's primitive types (1.5) from the bytes of one packet; running past its end is a malformed packet. */
import { isUtf8 } from 'node:buffer';
import { malformed } from './reason.ts';

export class Cursor {
  buffer: Buffer;
  position: number;
  end: number;

  constructor(buffer: Buffer, position: number, end: number) {
    this.buffer = buffer;
    this.position = position;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.position;
  }

  u8(what: string): number {
    if (this.position >= this.end) throw malformed(`the packet ends before ${what}`);
    return this.buffer[this.position++]!;
  }

  u16(what: string): number {
    const at = this.position;
    if (at + 2 > this.end) throw malformed(`the packet ends before ${what}`);
    this.position = at + 2;
    return (this.buffer[at]! << 8) | this.buffer[at + 1]!;
  }

  u32(what: string): number {
    const at = this.position;
    if (at + 4 > this.end) throw malformed(`the packet ends before ${what}`);
    this.position = at + 4;
    return this.buffer.readUInt32BE(at);
  }

  /** Variable byte integer, 0 to 268,435,455, in the fewest bytes [MQTT-1.5.5-1]. */
  varint(what: string): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8(what);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (byte === 0 && shift > 0) throw malformed(`${what} is not encoded in the fewest bytes`);
        return value;
      }
    }
    throw malformed(`${what} is a variable byte integer of more than 4 bytes`);
  }

  /** A view into the packet, not a copy. */
  binary(what: string): Buffer {
    const length = this.u16(what);
    const from = this.position;
    if (from + length > this.end) throw malformed(`${what} is longer than the packet`);
    this.position = from + length;
    return this.buffer.subarray(from, from + length);
  }

  /**
   * UTF-8 string: no ill-formed sequences or surrogates [MQTT-1.5.4-1], no U+0000 [MQTT-1.5.4-2]; a byte order mark is
   * kept [MQTT-1.5.4-3]. Control characters and non-characters are accepted.
   */
  string(what: string): string {
    const length = this.u16(what);
    const from = this.position;
    const to = from + length;
    if (to > this.end) throw malformed(`${what} is longer than the packet`);
    this.position = to;
    if (length === 0) return '';
    const { buffer } = this;
    let ascii = true;
    for (let i = from; i < to; i++) {
      const byte = buffer[i]!;
      if (byte === 0) throw malformed(`${what} contains U+0000`);
      if (byte >= 0x80) ascii = false;
    }
    if (ascii) return buffer.toString('latin1', from, to);
    if (!isUtf8(buffer.subarray(from, to))) throw malformed(`${what} is not well-formed UTF-8`);
    return buffer.toString('utf8', from, to);
  }

  rest(): Buffer {
    const from = this.position;
    this.position = this.end;
    return this.buffer.subarray(from, this.end);
  }

  /** What is left over in a packet that should have ended is a malformed packet. */
  mustEnd(packet: string): void {
    if (this.position !== this.end) throw malformed(`${packet} has ${this.remaining} bytes too many`);
  }
}
