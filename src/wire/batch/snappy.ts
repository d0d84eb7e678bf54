/** Snappy as Kafka clients write it: xerial's framing (Java) or one raw block (others); both are read, xerial is written. */
import { HeadwaterError } from '../../errors.ts';

/** \x82SNAPPY\0, then version 1 and compatible version 1. */
const XERIAL_HEADER = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
const XERIAL_MAGIC_BYTES = 8;
const XERIAL_BLOCK_BYTES = 32_768;

/** The shape of the package `snappyjs`. */
export interface SnappyBlocks {
  compress(bytes: Uint8Array): Uint8Array;
  uncompress(bytes: Uint8Array, maxLength?: number): Uint8Array;
}

function corrupt(what: string, cause?: unknown): never {
  throw new HeadwaterError('CORRUPT_BATCH', `snappy: ${what}`, { cause });
}

function decompressBlock(blocks: SnappyBlocks, bytes: Uint8Array, maxBytes: number): Uint8Array {
  try {
    return blocks.uncompress(bytes, maxBytes);
  } catch (error) {
    return corrupt(error instanceof Error ? error.message : String(error), error);
  }
}

export function decompressSnappy(blocks: SnappyBlocks, input: Uint8Array, maxBytes: number): Uint8Array {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
  const xerial =
    bytes.length >= XERIAL_HEADER.length &&
    bytes.compare(XERIAL_HEADER, 0, XERIAL_MAGIC_BYTES, 0, XERIAL_MAGIC_BYTES) === 0;
  if (!xerial) return decompressBlock(blocks, bytes, maxBytes);
  const parts: Uint8Array[] = [];
  let total = 0;
  for (let at = XERIAL_HEADER.length; at < bytes.length; ) {
    if (at + 4 > bytes.length) corrupt('a block length is cut off');
    const size = bytes.readInt32BE(at);
    at += 4;
    if (size < 0 || at + size > bytes.length) corrupt(`a block of ${size} bytes, ${bytes.length - at} are there`);
    const part = decompressBlock(blocks, bytes.subarray(at, at + size), maxBytes - total);
    parts.push(part);
    total += part.length;
    at += size;
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, total);
}

export function compressSnappy(blocks: SnappyBlocks, input: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [XERIAL_HEADER];
  for (let from = 0; from < input.length; from += XERIAL_BLOCK_BYTES) {
    const packed = blocks.compress(input.subarray(from, from + XERIAL_BLOCK_BYTES));
    const length = Buffer.alloc(4);
    length.writeInt32BE(packed.length);
    parts.push(length, packed);
  }
  return Buffer.concat(parts);
}
