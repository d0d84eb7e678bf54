/** An edge that replicates to a hub, and the sensor series sent through it: what the replays share. */
import mqtt from 'mqtt';
import { TestBroker } from './broker.ts';
import type { Reading, Series } from './series.ts';

export const EDGE = 'edge-1';
export const TOPIC = 'temperature';
/** What a link calls it upstream unless it is told otherwise. */
export const UPSTREAM_TOPIC = `${EDGE}.${TOPIC}`;
export const PARTITIONS = 4;

export interface LinkOptions {
  readonly acks?: '1' | 'all';
  /** Further lines of the link's section. */
  readonly more?: readonly string[];
}

export function edgeConfig(upstream: string, { acks = 'all', more = [] }: LinkOptions = {}): string {
  return [
    'topics:',
    `  ${TOPIC}: { partitions: ${PARTITIONS} }`,
    'routes:',
    `  - { mqtt: "plant/+/temp", topic: ${TOPIC} }`,
    'links:',
    '  hub:',
    '    type: kafka',
    `    bootstrap.servers: ${upstream}`,
    `    topics: [${TOPIC}]`,
    `    acks: ${acks}`,
    '    retry.backoff.ms: 50',
    '    retry.backoff.max.ms: 500',
    ...more.map((line) => `    ${line}`),
    '',
  ].join('\n');
}

export async function startEdge(upstream: string, options: LinkOptions = {}): Promise<TestBroker> {
  return TestBroker.start({ brokerId: EDGE, config: edgeConfig(upstream, options) });
}

/** One QoS 1 publish a row over one connection of MQTT.js, several hundred in flight. Resolves when all are acknowledged. */
export async function publishAll(url: string, readings: readonly Reading[], window = 500): Promise<void> {
  const client = await mqtt.connectAsync(url, { clientId: 'replay', protocolVersion: 5, clean: true });
  try {
    const inFlight = new Set<Promise<unknown>>();
    for (const { topic, payload } of readings) {
      const sent: Promise<unknown> = client
        .publishAsync(topic, payload, { qos: 1 })
        .finally(() => inFlight.delete(sent));
      inFlight.add(sent);
      if (inFlight.size >= window) await Promise.race(inFlight);
    }
    await Promise.all(inFlight);
  } finally {
    await client.endAsync();
  }
}

/** The rows by MQTT topic, which is the record key: what a reader must find. */
export function expectedByTopic(series: readonly Series[]): Map<string, readonly string[]> {
  return new Map(series.map(({ topic, rows }) => [topic, rows]));
}
