/** Which topics a link takes and what they are called upstream. */
import { HeadwaterError } from '../errors.ts';
import { murmur2 } from '../wire/batch/murmur2.ts';

/** `*` any characters, `?` one. */
function globOf(pattern: string): RegExp {
  const source = pattern.replace(/[.*+?^${}()|[\]\\]/g, (char) => {
    if (char === '*') return '.*';
    return char === '?' ? '.' : `\\${char}`;
  });
  return new RegExp(`^${source}$`);
}

/** Names and globs; `!` excludes, whatever its place. No positive pattern at all means every topic. */
export function topicSelector(patterns: readonly string[]): (topic: string) => boolean {
  const wanted = patterns.filter((pattern) => !pattern.startsWith('!')).map(globOf);
  const excluded = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => globOf(pattern.slice(1)));
  return (topic) =>
    (wanted.length === 0 || wanted.some((glob) => glob.test(topic))) && !excluded.some((glob) => glob.test(topic));
}

const LEGAL_TOPIC = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/;

/** Fills `{broker}`, `{topic}` (and what else is given). INVALID_CONFIG for an unknown placeholder. */
export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{([^{}]*)\}/g, (_, name: string) => {
    const value = values[name];
    if (value !== undefined) return value;
    const known = Object.keys(values).map((key) => `{${key}}`);
    throw new HeadwaterError('INVALID_CONFIG', `"${template}": {${name}} is not known; known are ${known.join(', ')}`);
  });
}

/** The name upstream. INVALID_CONFIG when Kafka would not allow it. */
export function upstreamTopicName(template: string, broker: string, topic: string): string {
  const name = fillTemplate(template, { broker, topic });
  if (LEGAL_TOPIC.test(name)) return name;
  throw new HeadwaterError('INVALID_CONFIG', `"${template}" makes "${name}" of topic ${topic}: not a legal topic name`);
}

/** Several edges in one topic: an edge's partition always goes to the same one upstream, so its order holds. */
export function hashedPartition(broker: string, topic: string, partition: number, partitions: number): number {
  return (murmur2(Buffer.from(`${broker}/${topic}/${partition}`)) & 0x7fffffff) % partitions;
}
