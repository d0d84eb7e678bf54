/** Record bytes as JSON values: what the admin page and the tools show. */
import type { MessageFormat } from './views.ts';

export interface Presented {
  readonly format: MessageFormat;
  readonly value: unknown;
}

/** Larger values are shown as their first bytes, base64. */
const PRESENT_MAX_BYTES = 64 * 1024;
const EXCERPT_BYTES = 1_024;

/** Finds out what bytes are: JSON, text, CBOR, else base64. */
export class Presenter {
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #cbor: ((bytes: Uint8Array) => unknown) | null = null;

  async present(bytes: Uint8Array | null): Promise<Presented> {
    if (bytes === null) return { format: 'null', value: null };
    if (bytes.length > PRESENT_MAX_BYTES) return base64(bytes.subarray(0, EXCERPT_BYTES));
    const text = this.#text(bytes);
    if (text !== null) {
      try {
        return { format: 'json', value: JSON.parse(text) as unknown };
      } catch {
        return { format: 'text', value: text };
      }
    }
    this.#cbor ??= await cborDecoder();
    try {
      return { format: 'cbor', value: plain(this.#cbor(bytes)) };
    } catch {
      return base64(bytes);
    }
  }

  #text(bytes: Uint8Array): string | null {
    try {
      const text = this.#utf8.decode(bytes);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: text has none but white space
      return /[\x00-\x08\x0e-\x1f]/.test(text) ? null : text;
    } catch {
      return null;
    }
  }
}

function base64(bytes: Uint8Array): Presented {
  return { format: 'base64', value: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64') };
}

/** Loaded when the first CBOR is met. Throws on bytes that are not one whole CBOR item. */
export async function cborDecoder(): Promise<(bytes: Uint8Array) => unknown> {
  const { Decoder } = await import('cbor-x');
  const decoder = new Decoder({ mapsAsObjects: true, useRecords: false });
  return (bytes) => decoder.decode(bytes) as unknown;
}

const DEPTH_MAX = 64;

/** CBOR has more types than JSON: byte strings become hex, big integers and dates strings, undefined null. */
export function plain(value: unknown, depth = 0): unknown {
  if (depth > DEPTH_MAX) throw new RangeError('nested too deeply');
  if (value === undefined) return null;
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  const inner = (item: unknown) => plain(item, depth + 1);
  if (Array.isArray(value)) return value.map(inner);
  if (value instanceof Set) return [...value].map(inner);
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(entries.map(([key, item]) => [String(key), inner(item)]));
}
