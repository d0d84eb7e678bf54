/** From frames of a file to records of partitions. */
import type { LogRecord, RecordHeader } from '../log/types.ts';
import { partitionForKey } from '../wire/batch/murmur2.ts';
import type { Frame } from './framing.ts';
import type { Recipe } from './positions.ts';

/** Key and partition of a record. */
export type Keyed = (value: Uint8Array) => { readonly key: Uint8Array | null; readonly partition: number };

/** What `key.pattern` sees of a record. */
const PATTERN_BYTES = 4_096;
const EMPTY = Buffer.alloc(0);

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/**
 * `{file}`, `{path}`, `{source}`, and `{1}` ... for the groups of `key.pattern`. Without a key, and where the pattern does
 * not match, a record goes where all records of its file go.
 */
export function keyer({ key, keyPattern, partitions }: Recipe, source: string, path: string): Keyed {
  const ofFile = { key: null, partition: partitionForKey(Buffer.from(path), partitions) };
  if (key === null) return () => ofFile;
  const fixed = key.replaceAll('{file}', baseName(path)).replaceAll('{path}', path).replaceAll('{source}', source);
  if (keyPattern === null) {
    const bytes = Buffer.from(fixed);
    const same = { key: bytes, partition: partitionForKey(bytes, partitions) };
    return () => same;
  }
  const pattern = new RegExp(keyPattern);
  return (value) => {
    const head = Buffer.from(value.buffer, value.byteOffset, Math.min(value.length, PATTERN_BYTES)).toString('utf8');
    const match = pattern.exec(head);
    if (match === null) return ofFile;
    const bytes = Buffer.from(fixed.replace(/\{([1-9])\}/g, (_, group: string) => match[Number(group)] ?? ''));
    return { key: bytes, partition: partitionForKey(bytes, partitions) };
  };
}

export function recordsByPartition(
  frames: readonly Frame[],
  keyed: Keyed,
  headers: readonly string[],
  from: { readonly source: string; readonly path: string },
): Map<number, LogRecord[]> {
  const same: RecordHeader[] = [];
  if (headers.includes('source')) same.push({ key: 'source', value: Buffer.from(from.source) });
  if (headers.includes('file')) same.push({ key: 'file', value: Buffer.from(baseName(from.path)) });
  if (headers.includes('path')) same.push({ key: 'path', value: Buffer.from(from.path) });
  const withPosition = headers.includes('position');
  const groups = new Map<number, LogRecord[]>();
  for (const { start, value } of frames) {
    const { key, partition } = keyed(value);
    const own = withPosition ? [...same, { key: 'position', value: Buffer.from(String(start)) }] : same;
    // A record without bytes is no tombstone.
    const record = { key, value: value.length === 0 ? EMPTY : value, headers: own, timestamp: -1 };
    const group = groups.get(partition);
    if (group === undefined) groups.set(partition, [record]);
    else group.push(record);
  }
  return groups;
}
