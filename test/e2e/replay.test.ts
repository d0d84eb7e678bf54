import { describe, expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { ResendingPublisher } from '../support/publisher.ts';
import { byKey, readTopic, replicated } from '../support/readback.ts';
import { EDGE, edgeConfig, expectedByTopic, publishAll, startEdge, TOPIC, UPSTREAM_TOPIC } from '../support/replay.ts';
import { interleave, sensorSeries } from '../support/series.ts';

const series = sensorSeries();
const readings = interleave(series);

/** Numbers in [0, 1) from a seed: the instants of the kills, printed so that a failure can be repeated. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('two sensor series, one QoS 1 publish a row, through an edge to a hub', () => {
  it('arrive on the hub once, in order per sensor, byte for byte', async () => {
    const hub = await TestBroker.start({ brokerId: 'hub' });
    const edge = await startEdge(hub.bootstrap);
    await publishAll(edge.mqttUrl, readings);
    await replicated(edge.bootstrap, TOPIC, hub.bootstrap, UPSTREAM_TOPIC, 60_000);
    const stored = await readTopic(hub.bootstrap, UPSTREAM_TOPIC);
    expect(stored).toHaveLength(readings.length);
    const found = byKey(stored);
    for (const [topic, rows] of expectedByTopic(series)) expect(found.get(topic)).toEqual(rows);
    await edge.stop();
    await hub.stop();
  });

  it('lose no acknowledged row while the edge is killed ten times and the hub twice', async () => {
    const seed = Number(process.env.REPLAY_SEED ?? Date.now() % 1_000_000);
    process.stderr.write(`replay with kills: REPLAY_SEED=${seed}\n`);
    const random = seeded(seed);
    const instants = (count: number) =>
      Array.from({ length: count }, (_, i) => Math.floor(((i + random()) / count) * readings.length * 0.95));
    const kills = [
      ...instants(10).map((at) => ({ at, victim: 'edge' as const })),
      ...instants(2).map((at) => ({ at, victim: 'hub' as const })),
    ].sort((a, b) => a.at - b.at);

    const hub = await TestBroker.start({ brokerId: 'hub' });
    const edge = await TestBroker.start({ brokerId: EDGE, config: edgeConfig(hub.bootstrap) });
    const failures: unknown[] = [];
    /** What each broker is busy with; null while it serves. */
    const busy: Record<'edge' | 'hub', Promise<void> | null> = { edge: null, hub: null };
    const brokers = { edge, hub };
    function crash(victim: 'edge' | 'hub'): void {
      const next = brokers[victim]
        .kill()
        .then(() => brokers[victim].start())
        .catch((error: unknown) => {
          failures.push(error);
        })
        .finally(() => {
          busy[victim] = null;
        });
      busy[victim] = next;
    }
    const publisher = new ResendingPublisher({
      port: edge.ports.mqtt,
      clientId: 'replay',
      readings,
      window: 200,
      onAcknowledged: (count) => {
        while (kills.length > 0 && kills[0]!.at <= count) {
          const { victim } = kills.shift()!;
          if (busy[victim] === null) crash(victim);
          else {
            // It has not said yet that it is back: the replay waits, so that every kill hits it at work.
            publisher.hold();
            busy[victim] = busy[victim].then(() => {
              crash(victim);
              publisher.go();
              return busy[victim]!;
            });
          }
        }
      },
    });
    await publisher.run();
    await Promise.all([busy.edge, busy.hub]);
    expect(failures).toEqual([]);
    expect(kills).toEqual([]);
    expect([edge.starts, hub.starts]).toEqual([11, 3]);
    expect(publisher.acknowledged).toBe(readings.length);
    // Every kill of the edge broke a connection that was publishing.
    expect(publisher.connections).toBe(11);

    await replicated(edge.bootstrap, TOPIC, hub.bootstrap, UPSTREAM_TOPIC, 60_000);
    const local = await readTopic(edge.bootstrap, TOPIC);
    const upstream = await readTopic(hub.bootstrap, UPSTREAM_TOPIC);
    // The link adds nothing and drops nothing: the hub's log is the edge's, offset by offset.
    expect(upstream).toEqual(local);

    const resent = new Set(
      readings.flatMap(({ topic, payload }, i) => (publisher.wasResent(i) ? [`${topic} ${payload}`] : [])),
    );
    const found = byKey(upstream);
    let duplicates = 0;
    for (const [topic, rows] of expectedByTopic(series)) {
      const seen = new Set<string>();
      const once: string[] = [];
      for (const row of found.get(topic) ?? []) {
        if (seen.has(row)) {
          duplicates++;
          expect(resent.has(`${topic} ${row}`), `${row} is there twice and was sent once`).toBe(true);
        } else {
          seen.add(row);
          once.push(row);
        }
      }
      expect(once).toEqual(rows);
    }
    process.stderr.write(
      `replay with kills: ${readings.length} rows acknowledged over ${publisher.connections} connections, ` +
        `${resent.size} sent again, ${duplicates} stored twice\n`,
    );
    await edge.stop();
    await hub.stop();
  }, 240_000);
});
