/** Record bytes as text for people and programs. */
import { cborDecoder, plain } from '../http/present.ts';

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
      const decode = await cborDecoder();
      return (bytes) => {
        try {
          return plain(decode(bytes));
        } catch {
          return `(not CBOR) ${Buffer.from(bytes).toString('hex')}`;
        }
      };
    }
  }
}
