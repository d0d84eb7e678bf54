/**
 * A checksum behind every value of the metadata database and every small file: LevelDB does not verify its own on the
 * read path that JavaScript reaches, and a flipped bit in a name or an offset must not be believed.
 * Layout: content | CRC-32 (zlib's) of the content, u32 big-endian.
 */
import { crc32 } from 'node:zlib';

export const CHECKSUM_BYTES = 4;

export function seal(content: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(content.byteLength + CHECKSUM_BYTES);
  sealed.set(content);
  sealed.writeUInt32BE(crc32(content), content.byteLength);
  return sealed;
}

/** The content; null when it is not what was sealed. */
export function unseal(sealed: Uint8Array): Uint8Array | null {
  const length = sealed.byteLength - CHECKSUM_BYTES;
  if (length < 0) return null;
  const content = sealed.subarray(0, length);
  const wanted = Buffer.from(sealed.buffer, sealed.byteOffset + length, CHECKSUM_BYTES).readUInt32BE();
  return crc32(content) === wanted ? content : null;
}
