/** Topic names and topic filters (section 4.7): validation, matching, and how two filters relate. Pure. */
import { MQTT_TOPIC_LEVELS_MAX } from '../limits.ts';
import { MqttError, REASON } from '../wire/mqtt/reason.ts';

export type Levels = readonly string[];

function levelsOf(text: string, reason: number): string[] {
  const levels = text.split('/');
  if (levels.length > MQTT_TOPIC_LEVELS_MAX) {
    throw new MqttError(reason, `a topic of ${levels.length} levels; at most ${MQTT_TOPIC_LEVELS_MAX} are allowed`);
  }
  return levels;
}

/** Levels of a topic name. Throws TOPIC_NAME_INVALID. */
export function parseTopicName(name: string): string[] {
  if (name.length === 0) throw new MqttError(REASON.TOPIC_NAME_INVALID, 'an empty topic name'); // [MQTT-4.7.3-1]
  if (name.includes('+') || name.includes('#') || name.includes('\0')) {
    throw new MqttError(REASON.TOPIC_NAME_INVALID, `topic name ${JSON.stringify(name)} contains +, # or U+0000`); // [MQTT-3.3.2-2]
  }
  return levelsOf(name, REASON.TOPIC_NAME_INVALID);
}

/** Levels of a topic filter, without a `$share/...` prefix. Throws TOPIC_FILTER_INVALID. */
export function parseFilter(filter: string): string[] {
  const bad = (why: string) =>
    new MqttError(REASON.TOPIC_FILTER_INVALID, `topic filter ${JSON.stringify(filter.slice(0, 200))}: ${why}`);
  if (filter.length === 0) throw bad('it is empty'); // [MQTT-4.7.3-1]
  if (filter.includes('\0')) throw bad('it contains U+0000'); // [MQTT-4.7.3-2]
  const levels = levelsOf(filter, REASON.TOPIC_FILTER_INVALID);
  levels.forEach((level, i) => {
    if (level.includes('#') && (level !== '#' || i !== levels.length - 1)) {
      throw bad('# must be the whole last level'); // [MQTT-4.7.1-1]
    }
    if (level.includes('+') && level !== '+') throw bad('+ must be a whole level'); // [MQTT-4.7.1-2]
  });
  return levels;
}

export interface ParsedSubscription {
  /** Share name, or null for an ordinary subscription. */
  readonly share: string | null;
  readonly filter: string;
  readonly levels: Levels;
}

/** `$share/{name}/{filter}` (4.8.2) or a filter. Throws TOPIC_FILTER_INVALID. */
export function parseSubscription(text: string): ParsedSubscription {
  if (!text.startsWith('$share/')) return { share: null, filter: text, levels: parseFilter(text) };
  const end = text.indexOf('/', 7);
  const share = end < 0 ? text.slice(7) : text.slice(7, end);
  // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
  if (end < 0 || share.length === 0 || share.includes('+') || share.includes('#')) {
    throw new MqttError(
      REASON.TOPIC_FILTER_INVALID,
      `shared subscription ${JSON.stringify(text.slice(0, 200))}: it must be $share/{name}/{filter}, the name without + and #`,
    );
  }
  const filter = text.slice(end + 1);
  return { share, filter, levels: parseFilter(filter) };
}

/** Does the filter match the name? Wildcards in the first level do not match names that begin with $ [MQTT-4.7.2-1]. */
export function matches(filter: Levels, name: Levels): boolean {
  const first = filter[0]!;
  if (name[0]!.startsWith('$') && (first === '+' || first === '#')) return false;
  for (let i = 0; i < filter.length; i++) {
    const level = filter[i]!;
    if (level === '#') return true; // it includes the parent level
    if (i >= name.length) return false;
    if (level !== '+' && level !== name[i]) return false;
  }
  return filter.length === name.length;
}

/** Is there a topic name that both filters match? */
export function overlaps(a: Levels, b: Levels): boolean {
  for (let i = 0; ; i++) {
    const left = a[i];
    const right = b[i];
    if (left === '#' || right === '#') return true;
    if (left === undefined || right === undefined) {
      if (left === right) return true;
      // `sport` and `sport/#`
      return (left ?? right) === '#';
    }
    if (left !== right && left !== '+' && right !== '+') return false;
  }
}

/** Does `outer` match every topic name that `inner` matches? */
export function covers(outer: Levels, inner: Levels): boolean {
  for (let i = 0; ; i++) {
    const left = outer[i];
    const right = inner[i];
    if (left === '#') return true;
    if (left === undefined || right === undefined) return left === right;
    if (right === '#') return false;
    if (left !== '+' && left !== right) return false;
  }
}
