/**
 * What MQTT records can be found by in the log (log/key-filter.ts): a hash of the whole topic, and one of each of the
 * first eight levels with its place. A filter without wildcards wants the first; one with wildcards all that its
 * literal levels have. The hashes are stored (FORMAT.md): permanent.
 */
import type { LabelQuery, Labels } from '../log/types.ts';
import type { Levels } from './topic-filter.ts';

const LEVELS_MAX = 8;
/** A reader of more filters than this reads everything. */
const QUERIES_MAX = 64;

/** FNV-1a over UTF-16 code units, then murmur3's finaliser. */
function hash(text: string, seed: number): number {
  let value = 0x811c9dc5 ^ Math.imul(seed, 0x9e3779b1);
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

/** Of a topic name. */
export function labelsOf(topic: string, levels: Levels): Labels {
  const count = Math.min(levels.length, LEVELS_MAX);
  const labels = new Uint32Array(1 + count);
  labels[0] = hash(topic, 0);
  for (let i = 0; i < count; i++) labels[1 + i] = hash(levels[i]!, 1 + i);
  return labels;
}

function wantedBy(filter: Levels): Labels | null {
  if (!filter.includes('+') && !filter.includes('#')) return Uint32Array.of(hash(filter.join('/'), 0));
  const labels: number[] = [];
  for (let i = 0; i < Math.min(filter.length, LEVELS_MAX); i++) {
    if (filter[i] !== '+' && filter[i] !== '#') labels.push(hash(filter[i]!, 1 + i));
  }
  return labels.length === 0 ? null : Uint32Array.from(labels);
}

/** What the records that match one of the filters have; null: it cannot be said, all must be read. */
export function queryOf(filters: Iterable<Levels>): LabelQuery | null {
  const query: Labels[] = [];
  for (const filter of filters) {
    const labels = wantedBy(filter);
    if (labels === null || query.length === QUERIES_MAX) return null;
    query.push(labels);
  }
  return query.length === 0 ? null : query;
}
