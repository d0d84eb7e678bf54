/** Record bytes as text for people and programs. */

export const DECODINGS = ['text', 'json', 'cbor', 'hex', 'base64'] as const;
export type Decoding = (typeof DECODINGS)[number];

export type Decode = (bytes: Uint8Array) => unknown;

/** What `bytes` mean as plain JSON values; for bytes that are not what was said, a string that says so. */
export async function decoderOf(decoding: Decoding): Promise<Decode> {
  switch (decoding) {
    case 'text':
      return (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
    case 'hex':
    case 'base64':
      return (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(decoding);
    case 'json':
      return (bytes) => {
        const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
        try {
          return JSON.parse(text) as unknown;
        } catch {
          return `(not JSON) ${text}`;
        }
      };
    case 'cbor': {
      const { Decoder } = await import('cbor-x');
      const decoder = new Decoder({ mapsAsObjects: true, useRecords: false });
      return (bytes) => {
        try {
          return plain(decoder.decode(bytes));
        } catch {
          return `(not CBOR) ${Buffer.from(bytes).toString('hex')}`;
        }
      };
    }
  }
}

/** CBOR has more types than JSON: byte strings become hex, big integers and dates strings, undefined null. */
export function plain(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), plain(item)]));
  if (value instanceof Set) return [...value].map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}
