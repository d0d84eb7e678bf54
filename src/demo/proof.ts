/** What the demo proves at the end: sent, stored at the edge and stored at the hub are the same, in the same order. */

/** One record as far as the proof goes. */
export interface Stored {
  readonly partition: number;
  readonly offset: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
}

/** Payloads by MQTT topic (the record key), in the order they were published. */
export type Sent = ReadonlyMap<string, readonly Uint8Array[]>;

/** What is wrong with `records`, in words; empty when each payload is there once, in order, byte for byte. */
export function compare(where: string, sent: Sent, records: readonly Stored[]): string[] {
  const problems: string[] = [];
  const next = new Map<string, number>();
  const offsets = new Map<number, number>();
  for (const { partition, offset, key, value } of records) {
    const expected = offsets.get(partition) ?? 0;
    if (offset !== expected)
      problems.push(`${where}: partition ${partition} has offset ${offset} where ${expected} is next`);
    offsets.set(partition, offset + 1);
    const topic = key === null ? '' : Buffer.from(key).toString();
    const payloads = sent.get(topic);
    const index = next.get(topic) ?? 0;
    next.set(topic, index + 1);
    const payload = payloads?.[index];
    if (payload === undefined) problems.push(`${where}: ${topic} has a record too many (${partition}/${offset})`);
    else if (value === null || Buffer.compare(payload, value) !== 0) {
      problems.push(`${where}: ${topic} number ${index + 1} is not what was published (${partition}/${offset})`);
    }
  }
  for (const [topic, payloads] of sent) {
    const found = next.get(topic) ?? 0;
    if (found < payloads.length) problems.push(`${where}: ${topic} lacks ${payloads.length - found} records`);
  }
  return problems;
}
