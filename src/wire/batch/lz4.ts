/**
 * LZ4 frames (lz4_Frame_format.md) as Kafka uses them. Written here because the pure JavaScript packages neither bound
 * their output nor survive damaged input. Content and block checksums are not verified: the batch's CRC covers them.
 */
import { HeadwaterError } from '../../errors.ts';

const MAGIC = 0x184d2204;
const VERSION_BITS = 0xc0;
const VERSION = 0x40;
const BLOCK_INDEPENDENT = 0x20;
const BLOCK_CHECKSUM = 0x10;
const CONTENT_SIZE = 0x08;
const CONTENT_CHECKSUM = 0x04;
const DICTIONARY_ID = 0x01;
const STORED = 0x80000000;
/** Block size ids 4 to 7. */
const BLOCK_BYTES = [65_536, 262_144, 1_048_576, 4_194_304];
/** The format ends every block with literals: no match starts in the last 12 bytes nor ends in the last 5. */
const MATCH_START_MARGIN = 12;
const MATCH_END_MARGIN = 5;
const MIN_MATCH = 4;
const HASH_BITS = 13;

const PRIME_1 = 0x9e3779b1;
const PRIME_2 = 0x85ebca77;
const PRIME_3 = 0xc2b2ae3d;
const PRIME_4 = 0x27d4eb2f;
const PRIME_5 = 0x165667b1;

function readUint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

const rotate = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));

/** xxHash32, seed 0, of fewer than 16 bytes: a frame descriptor has 2 to 14. */
function hashDescriptor(bytes: Uint8Array, start: number, end: number): number {
  let hash = (PRIME_5 + (end - start)) | 0;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    hash = Math.imul(rotate((hash + Math.imul(readUint32(bytes, at), PRIME_3)) | 0, 17), PRIME_4);
  }
  for (; at < end; at++) hash = Math.imul(rotate((hash + Math.imul(bytes[at]!, PRIME_5)) | 0, 11), PRIME_1);
  hash = Math.imul(hash ^ (hash >>> 15), PRIME_2);
  hash = Math.imul(hash ^ (hash >>> 13), PRIME_3);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function corrupt(what: string): never {
  throw new HeadwaterError('CORRUPT_BATCH', `LZ4 frame: ${what}`);
}

/** Decompresses one block into `output` at `start`; returns the end. Reads below `start` only back to `windowStart`. */
function decompressBlock(
  input: Uint8Array,
  from: number,
  to: number,
  output: Uint8Array,
  start: number,
  limit: number,
  windowStart: number,
): number {
  let at = from;
  let out = start;
  while (at < to) {
    const token = input[at++]!;
    let literals = token >>> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255) {
        if (at >= to) corrupt('a literal length without an end');
        more = input[at++]!;
        literals += more;
      }
    }
    if (at + literals > to || out + literals > limit) corrupt(`${literals} literals do not fit`);
    for (const end = at + literals; at < end; ) output[out++] = input[at++]!;
    if (at === to) return out;
    if (at + 2 > to) corrupt('a match without an offset');
    const distance = input[at]! | (input[at + 1]! << 8);
    at += 2;
    let length = (token & 15) + MIN_MATCH;
    if (length === 15 + MIN_MATCH) {
      let more = 255;
      while (more === 255) {
        if (at >= to) corrupt('a match length without an end');
        more = input[at++]!;
        length += more;
      }
    }
    if (distance === 0 || out - distance < windowStart) corrupt(`a match ${distance} bytes back`);
    if (out + length > limit) corrupt(`a match of ${length} bytes does not fit`);
    for (let source = out - distance, end = out + length; out < end; ) output[out++] = output[source++]!;
  }
  return out;
}

function grow(output: Uint8Array<ArrayBuffer>, used: number, wanted: number): Uint8Array<ArrayBuffer> {
  if (wanted <= output.length) return output;
  const bigger = new Uint8Array(wanted);
  bigger.set(output.subarray(0, used));
  return bigger;
}

/** Throws CORRUPT_BATCH for damage and for more than `maxBytes` of output; takes no more memory than that. */
export function decompressLz4(input: Uint8Array, maxBytes: number): Uint8Array {
  if (input.length < 7 || readUint32(input, 0) !== MAGIC) corrupt('no magic number');
  const flags = input[4]!;
  if ((flags & VERSION_BITS) !== VERSION) corrupt(`version ${flags >>> 6}`);
  if ((flags & DICTIONARY_ID) !== 0) corrupt('a dictionary is needed');
  const blockBytes = BLOCK_BYTES[((input[5]! >>> 4) & 7) - 4] ?? corrupt(`block size id ${(input[5]! >>> 4) & 7}`);
  let at = 6 + ((flags & CONTENT_SIZE) === 0 ? 0 : 8);
  if (at >= input.length) corrupt('the descriptor is cut off');
  if (((hashDescriptor(input, 4, at) >>> 8) & 0xff) !== input[at]) corrupt('wrong checksum of the descriptor');
  at++;
  let output = new Uint8Array(Math.min(maxBytes, Math.max(input.length * 4, 1024)));
  let out = 0;
  for (;;) {
    if (at + 4 > input.length) corrupt('the end mark is missing');
    const word = readUint32(input, at);
    at += 4;
    if (word === 0) break;
    const size = word & ~STORED;
    if (size > blockBytes || at + size > input.length) corrupt(`a block of ${size} bytes`);
    if (word >= STORED) {
      if (out + size > maxBytes) corrupt(`more than ${maxBytes} bytes`);
      output = grow(output, out, Math.max(out + size, Math.min(output.length * 2, maxBytes)));
      output.set(input.subarray(at, at + size), out);
      out += size;
    } else {
      // A block is first tried in the room there is; a full one gets its room at once.
      const limit = Math.min(out + blockBytes, maxBytes);
      if (limit > output.length) output = grow(output, out, Math.min(maxBytes, Math.max(limit, output.length * 2)));
      const windowStart = (flags & BLOCK_INDEPENDENT) === 0 ? Math.max(0, out - 65_535) : out;
      out = decompressBlock(input, at, at + size, output, out, limit, windowStart);
    }
    at += size + ((flags & BLOCK_CHECKSUM) === 0 ? 0 : 4);
  }
  if (at + ((flags & CONTENT_CHECKSUM) === 0 ? 0 : 4) > input.length) corrupt('the checksum is missing');
  return output.subarray(0, out);
}

function writeLength(output: Uint8Array, at: number, length: number): number {
  let position = at;
  let rest = length;
  for (; rest >= 255; rest -= 255) output[position++] = 255;
  output[position++] = rest;
  return position;
}

/** Compresses `input[from, to)`; returns the end in `output`, or -1 when it would not be smaller than its input. */
function compressBlock(
  input: Uint8Array,
  from: number,
  to: number,
  output: Uint8Array,
  start: number,
  table: Int32Array,
): number {
  table.fill(-1);
  const outputLimit = start + (to - from);
  const lastMatchStart = to - MATCH_START_MARGIN;
  const lastMatchEnd = to - MATCH_END_MARGIN;
  let out = start;
  let anchor = from;
  let at = from;
  let misses = 0;
  while (at <= lastMatchStart) {
    const word = readUint32(input, at);
    const slot = Math.imul(word, PRIME_1) >>> (32 - HASH_BITS);
    let candidate = table[slot]!;
    table[slot] = at;
    if (candidate < 0 || at - candidate > 65_535 || readUint32(input, candidate) !== word) {
      // Data that does not compress is passed in growing strides.
      at += 1 + (misses++ >>> 6);
      continue;
    }
    misses = 0;
    const distance = at - candidate;
    let end = at + MIN_MATCH;
    candidate += MIN_MATCH;
    while (end < lastMatchEnd && input[end] === input[candidate]) {
      end++;
      candidate++;
    }
    const literals = at - anchor;
    const length = end - at - MIN_MATCH;
    // Token, both lengths and the offset take at most this.
    if (out + literals + literals / 255 + length / 255 + 8 > outputLimit) return -1;
    output[out++] = (Math.min(literals, 15) << 4) | Math.min(length, 15);
    if (literals >= 15) out = writeLength(output, out, literals - 15);
    while (anchor < at) output[out++] = input[anchor++]!;
    output[out++] = distance;
    output[out++] = distance >>> 8;
    if (length >= 15) out = writeLength(output, out, length - 15);
    at = end;
    anchor = end;
  }
  const literals = to - anchor;
  if (out + literals + literals / 255 + 2 > outputLimit) return -1;
  output[out++] = Math.min(literals, 15) << 4;
  if (literals >= 15) out = writeLength(output, out, literals - 15);
  while (anchor < to) output[out++] = input[anchor++]!;
  return out;
}

/** One frame of independent 64-KiB blocks without checksums, as Kafka's Java client writes it. */
export function compressLz4(input: Uint8Array): Uint8Array {
  const blockBytes = BLOCK_BYTES[0]!;
  const blocks = Math.ceil(input.length / blockBytes);
  const output = new Uint8Array(7 + input.length + 4 * blocks + 4);
  writeUint32(output, 0, MAGIC);
  output[4] = VERSION | BLOCK_INDEPENDENT;
  output[5] = 4 << 4;
  output[6] = hashDescriptor(output, 4, 6) >>> 8;
  const table = new Int32Array(1 << HASH_BITS);
  let out = 7;
  for (let from = 0; from < input.length; from += blockBytes) {
    const to = Math.min(from + blockBytes, input.length);
    const end = compressBlock(input, from, to, output, out + 4, table);
    if (end < 0) {
      writeUint32(output, out, (STORED | (to - from)) >>> 0);
      output.set(input.subarray(from, to), out + 4);
      out += 4 + to - from;
    } else {
      writeUint32(output, out, end - out - 4);
      out = end;
    }
  }
  writeUint32(output, out, 0);
  return output.subarray(0, out + 4);
}
