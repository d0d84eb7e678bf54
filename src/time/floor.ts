/** The floor in the metadata database: key `boot "time"`, a CBOR array that begins with its format version. */
import { Encoder } from 'cbor-x';
import { metaKey } from '../store/keys.ts';
import type { Span } from './spans.ts';

const VERSION = 1;
const cbor = new Encoder({ useRecords: false });

export const FLOOR_KEY = metaKey('boot', 'time');

export interface StoredFloor {
  /** The latest time that was believed, ms since 1970. */
  readonly floor: number;
  /** The boot in which that was. */
  readonly bootId: string;
  /** And how long that boot was up, ms. */
  readonly uptime: number;
  readonly spans: readonly Span[];
}

export function encodeFloor({ floor, bootId, uptime, spans }: StoredFloor): Uint8Array {
  return cbor.encode([
    VERSION,
    floor,
    bootId,
    uptime,
    spans.map(({ from, to, by, bootId: boot }) => [from, to, by, boot]),
  ]);
}

/** null when it is not one that this version can read: then there is no floor. */
export function decodeFloor(bytes: Uint8Array): StoredFloor | null {
  let value: unknown;
  try {
    value = cbor.decode(bytes);
  } catch {
    return null;
  }
  if (!Array.isArray(value) || value[0] !== VERSION) return null;
  const [, floor, bootId, uptime, spans] = value as unknown[];
  if (typeof floor !== 'number' || !Number.isFinite(floor)) return null;
  if (typeof bootId !== 'string' || typeof uptime !== 'number') return null;
  return { floor, bootId, uptime, spans: Array.isArray(spans) ? spans.flatMap(decodeSpan) : [] };
}

function decodeSpan(value: unknown): Span[] {
  if (!Array.isArray(value)) return [];
  const [from, to, by, bootId] = value as unknown[];
  if (typeof from !== 'number' || typeof to !== 'number' || typeof by !== 'number') return [];
  return typeof bootId === 'string' ? [{ from, to, by, bootId }] : [];
}
