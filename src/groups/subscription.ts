/** The topics of a group whose members use Kafka's consumer protocol: all that the broker reads of their metadata. */
import { type Group, metadataOf } from './group.ts';

export const CONSUMER_PROTOCOL_TYPE = 'consumer';

/** Version i16, then an array of topic names; what follows does not matter here. null when it cannot be read. */
export function topicsOfSubscription(metadata: Uint8Array): string[] | null {
  const bytes = Buffer.from(metadata.buffer, metadata.byteOffset, metadata.byteLength);
  if (bytes.length < 6) return null;
  const count = bytes.readInt32BE(2);
  const topics: string[] = [];
  let at = 6;
  for (let i = 0; i < count; i++) {
    if (at + 2 > bytes.length) return null;
    const end = at + 2 + bytes.readInt16BE(at);
    if (end < at + 2 || end > bytes.length) return null;
    topics.push(bytes.toString('utf8', at + 2, end));
    at = end;
  }
  return topics;
}

/** null: unknown (another protocol, or metadata that cannot be read), so any topic may be subscribed. */
export function subscribedTopics(group: Group): ReadonlySet<string> | null {
  if (group.protocolType !== CONSUMER_PROTOCOL_TYPE || group.protocolName === null) return null;
  const all = new Set<string>();
  for (const { value } of group.members.values()) {
    const topics = topicsOfSubscription(metadataOf(value, group.protocolName));
    if (topics === null) return null;
    for (const topic of topics) all.add(topic);
  }
  return all;
}
