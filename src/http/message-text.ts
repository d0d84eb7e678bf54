/** Keys and values of records as the message viewer shows them. */
import type { MessageFormat } from './views.ts';

export interface MessageText {
  readonly format: MessageFormat;
  readonly content: unknown;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function textual(bytes: Uint8Array): MessageText | null {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return null;
  }
  // Control characters other than tab and line ends: these bytes were not meant as text.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\x00-\x08\x0b\x0c\x0e-\x1f]/.test(text)) return null;
  if (/^\s*[[{]/.test(text)) {
    try {
      return { format: 'json', content: JSON.parse(text) as unknown };
    } catch {
      // Looks like JSON, is not: text.
    }
  }
  return { format: 'text', content: text };
}

/** CBOR has more types than JSON: byte strings become hex, big integers strings, undefined null. */
function jsonable(_key: string, value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), item]));
  return value;
}

/** What the bytes most likely are: text, JSON, a CBOR map or array, or else base64. */
export async function textOf(bytes: Uint8Array | null): Promise<MessageText> {
  if (bytes === null) return { format: 'null', content: null };
  const text = textual(bytes);
  if (text !== null) return text;
  const major = bytes[0]! >> 5;
  // 4 array, 5 map, 6 tag: anything else is too likely to be CBOR by chance.
  if (major >= 4 && major <= 6) {
    const { Decoder } = await import('cbor-x');
    try {
      const value: unknown = new Decoder({ mapsAsObjects: true, useRecords: false }).decode(bytes);
      if (typeof value === 'object' && value !== null) {
        return { format: 'cbor', content: JSON.parse(JSON.stringify(value, jsonable)) as unknown };
      }
    } catch {
      // Not CBOR.
    }
  }
  return { format: 'base64', content: Buffer.from(bytes).toString('base64') };
}
