/** Zigzag varints of record fields, written and measured without BigInt. */
const TWO_31 = 2_147_483_648;

/** Bytes of a zigzag varint of a 32-bit integer. */
export function varintSize(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  if (zigzag < 0x80) return 1;
  if (zigzag < 0x4000) return 2;
  if (zigzag < 0x200000) return 3;
  return zigzag < 0x10000000 ? 4 : 5;
}

/** Writes a zigzag varint of a 32-bit integer; returns the position after it. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let position = at;
  while (rest > 0x7f) {
    bytes[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[position++] = rest;
  return position;
}

/** Bytes of a zigzag varint of an integer up to 2^52 in magnitude. */
export function varlongSize(value: number): number {
  if (value >= -TWO_31 && value < TWO_31) return varintSize(value);
  let rest = value < 0 ? -2 * value - 1 : 2 * value;
  let size = 1;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
  return size;
}

/** Writes a zigzag varint of an integer up to 2^52 in magnitude; returns the position after it. */
export function writeVarlong(bytes: Uint8Array, at: number, value: number): number {
  if (value >= -TWO_31 && value < TWO_31) return writeVarint(bytes, at, value);
  let rest = value < 0 ? -2 * value - 1 : 2 * value;
  let position = at;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[position++] = (rest % 0x80) | 0x80;
  bytes[position++] = rest;
  return position;
}
