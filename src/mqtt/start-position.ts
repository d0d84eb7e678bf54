/**
 * User properties of SUBSCRIBE that MQTT does not have and a log can serve (5.0 only):
 *
 *   headwater-start      `earliest`, an ISO 8601 time, milliseconds since 1970, or `offset:<n>` (the same in every partition):
 *                        the subscription begins there instead of now. Not for shared subscriptions.
 *   headwater-position   `true`: deliveries bear the user properties headwater-topic, headwater-partition, headwater-offset
 */
import type { Properties } from '../wire/mqtt/properties.ts';
import { MqttError, REASON } from '../wire/mqtt/reason.ts';
import type { Feed } from './feed.ts';

export type StartPosition =
  | { readonly kind: 'earliest' }
  | { readonly kind: 'time'; readonly timestamp: number }
  | { readonly kind: 'offset'; readonly offset: number };

const START = 'headwater-start';
const POSITION = 'headwater-position';

function userValue(properties: Readonly<Properties>, name: string): string | null {
  return properties.userProperty?.find(([key]) => key === name)?.[1] ?? null;
}

export function wantsPositions(properties: Readonly<Properties>): boolean {
  return userValue(properties, POSITION) === 'true';
}

/** Null: from now on. Throws IMPLEMENTATION_SPECIFIC for what is none of the forms. */
export function startPosition(properties: Readonly<Properties>): StartPosition | null {
  const text = userValue(properties, START);
  if (text === null) return null;
  if (text === 'earliest') return { kind: 'earliest' };
  const offset = /^offset:(\d{1,15})$/.exec(text);
  if (offset !== null) return { kind: 'offset', offset: Number(offset[1]) };
  if (/^\d{1,15}$/.test(text)) return { kind: 'time', timestamp: Number(text) };
  const timestamp = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(timestamp)) return { kind: 'time', timestamp };
  throw new MqttError(
    REASON.IMPLEMENTATION_SPECIFIC,
    `${START} ${JSON.stringify(text.slice(0, 100))} is not earliest, an ISO 8601 time, milliseconds since 1970 or offset:<n>`,
  );
}

/** The first offset wanted of a partition. */
export async function offsetOf(position: StartPosition, feed: Feed): Promise<number> {
  const { partition } = feed;
  if (position.kind === 'earliest') return partition.logStartOffset;
  if (position.kind === 'offset') return Math.max(position.offset, partition.logStartOffset);
  const found = await partition.offsetForTimestamp(position.timestamp);
  return found === null ? feed.fanned : found.offset;
}

export function withPosition(properties: Readonly<Properties>, feed: Feed, offset: number): Properties {
  const pairs: [string, string][] = [
    ['headwater-topic', feed.partition.topic.name],
    ['headwater-partition', String(feed.partition.index)],
    ['headwater-offset', String(offset)],
  ];
  return { ...properties, userProperty: [...(properties.userProperty ?? []), ...pairs] };
}
