/**
 * Zstandard with bounded memory. A frame says how much memory its window takes: that is checked against the bound before
 * a decoder sees it (RFC 8878 section 3.1.1); the output is counted as it comes.
 */
import { HeadwaterError } from '../../errors.ts';

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
/** RFC 8878, 3.1.1.2.3: no block regenerates more. */
const BLOCK_MAX_BYTES = 131_072;

/** The streaming decoder of the package `fzstd`. */
export interface ZstdStream {
  push(chunk: Uint8Array, final?: boolean): void;
}

function corrupt(what: string, cause?: unknown): never {
  throw new HeadwaterError('CORRUPT_BATCH', `zstd: ${what}`, { cause });
}

function readLittleEndian(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let index = size - 1; index >= 0; index--) value = value * 256 + bytes[at + index]!;
  return value;
}

/** Checks one frame header; returns where its blocks start and whether a checksum follows them. */
function checkHeader(bytes: Uint8Array, at: number, maxBytes: number): { start: number; checksum: boolean } {
  if (at + 6 > bytes.length) corrupt('the frame header is cut off');
  const descriptor = bytes[at + 4]!;
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >>> 6;
  const contentSizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << sizeFlag;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  let position = at + 5;
  let window = 0;
  if (!singleSegment) {
    const byte = bytes[position++]!;
    const base = 2 ** (10 + (byte >>> 3));
    window = base + (base / 8) * (byte & 7);
  }
  position += dictionaryBytes;
  if (position + contentSizeBytes > bytes.length) corrupt('the frame header is cut off');
  let contentSize = readLittleEndian(bytes, position, contentSizeBytes);
  if (contentSizeBytes === 2) contentSize += 256;
  if (contentSize > maxBytes) corrupt(`${contentSize} bytes of content, at most ${maxBytes} are allowed`);
  // An encoder that does not know the size beforehand names a generous window; 8 MiB must work (RFC 8878, 3.1.1.1.2).
  if (window > Math.max(maxBytes, 8 * 1024 * 1024)) corrupt(`a window of ${window} bytes`);
  return { start: position + contentSizeBytes, checksum: (descriptor & 4) !== 0 };
}

/** Walks all frames without decoding: every size that a decoder would trust is within bounds. */
function checkFrames(bytes: Uint8Array, maxBytes: number): void {
  for (let at = 0; at < bytes.length; ) {
    if (at + 8 > bytes.length) corrupt('the frame header is cut off');
    const magic = readLittleEndian(bytes, at, 4);
    if (magic >= SKIPPABLE_MAGIC && magic <= SKIPPABLE_MAGIC + 15) {
      at += 8 + readLittleEndian(bytes, at + 4, 4);
      continue;
    }
    if (magic !== MAGIC) corrupt('no magic number');
    const frame = checkHeader(bytes, at, maxBytes);
    at = frame.start;
    for (let last = false; !last; ) {
      if (at + 3 > bytes.length) corrupt('a block header is cut off');
      const header = readLittleEndian(bytes, at, 3);
      last = (header & 1) === 1;
      const type = (header >>> 1) & 3;
      const size = header >>> 3;
      if (type === 3 || size > BLOCK_MAX_BYTES) corrupt(`a block of type ${type} and ${size} bytes`);
      at += 3 + (type === 1 ? 1 : size);
    }
    if (frame.checksum) at += 4;
    if (at > bytes.length) corrupt('a block is cut off');
  }
}

/** Throws CORRUPT_BATCH for damage and for more than `maxBytes` of output. */
export function decompressZstd(
  open: (onData: (chunk: Uint8Array, final?: boolean) => void) => ZstdStream,
  input: Uint8Array,
  maxBytes: number,
): Uint8Array {
  checkFrames(input, maxBytes);
  const parts: Uint8Array[] = [];
  let total = 0;
  const stream = open((chunk) => {
    total += chunk.length;
    if (total > maxBytes) corrupt(`more than ${maxBytes} bytes`);
    if (chunk.length > 0) parts.push(chunk);
  });
  try {
    stream.push(input, true);
  } catch (error) {
    if (error instanceof HeadwaterError) throw error;
    corrupt(error instanceof Error ? error.message : String(error), error);
  }
  return Buffer.concat(parts, total);
}
