/**
 * The real edge, a process on a real disk log, against Apache Kafka, interrupted again and again while devices publish
 * numbered messages: killed, its link cut or silenced, Kafka killed; mostly between a request and its answer.
 * EDGE_CYCLES and SEED choose how many and which: the long run is
 *   EDGE_CYCLES=500 npx vitest run --project interop test/interop/edge-cycles
 */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../../src/client/cluster.ts';
import { systemEnv } from '../../src/env.ts';
import { describeProducers } from '../../src/wire/kafka/api/61-describe-producers.ts';
import { ApacheKafka, haveKafka, KAFKA_VERSIONS } from '../support/apache-kafka.ts';
import { TestBroker } from '../support/broker.ts';
import { NumberedPublisher } from '../support/numbered-publisher.ts';
import { readTopic, replicated, type StoredRecord } from '../support/readback.ts';
import { atEnd, tempDir } from '../support/scope.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { seededRandom } from '../support/virtual-env.ts';
import { eventually, pause } from '../support/wait.ts';

const CYCLES = Number(process.env['EDGE_CYCLES'] ?? 12);
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9));
const PARTITIONS = 3;
const DEVICES = Array.from({ length: 8 }, (_, device) => `n/${device}`);
/** Kafka forgets producers in a second: many an outage is longer. */
const EXPIRATION_MS = 1_000;
const READ_MS = 600_000;
/** A Produce request is larger, what a link asks besides mostly not. */
const REQUEST_BYTES = 150;

function edgeConfig(upstream: number): string {
  return [
    `topics: { t: { partitions: ${PARTITIONS} } }`,
    'routes: [{ mqtt: "n/#", topic: t }]',
    'links:',
    '  cloud:',
    '    type: kafka',
    `    bootstrap.servers: 127.0.0.1:${upstream}`,
    '    topics: [t]',
    '    acks: all',
    '    request.timeout.ms: 1500',
    '    retry.backoff.ms: 20',
    '    retry.backoff.max.ms: 200',
    '',
  ].join('\n');
}

const line = ({ partition, key, value }: StoredRecord) => `${partition} ${key} ${value}`;

/** The numbers of each device, in the order of the log. */
function numbersOf(records: readonly StoredRecord[]): number[][] {
  const numbers: number[][] = DEVICES.map(() => []);
  for (const { key, value } of records) numbers[DEVICES.indexOf(key!)]!.push(Number(value));
  return numbers;
}

function ascendingWithoutCopies(numbers: readonly number[]): boolean {
  return numbers.every((number, i) => i === 0 || number > numbers[i - 1]!);
}

describe.each(KAFKA_VERSIONS.filter((version) => haveKafka(`a real edge linked to Apache Kafka ${version}`, version)))(
  'a real edge linked to Apache Kafka %s',
  (version) => {
    let kafka: ApacheKafka;
    let proxy: TcpProxy;

    beforeAll(async () => {
      proxy = await TcpProxy.start();
      const settings = {
        'producer.id.expiration.ms': String(EXPIRATION_MS),
        'producer.id.expiration.check.interval.ms': '200',
        'log.retention.ms': '-1',
      };
      kafka = await ApacheKafka.start(version, settings, proxy.port);
      proxy.target = kafka.port;
    });

    async function startEdge(brokerId: string): Promise<{ edge: TestBroker; devices: NumberedPublisher }> {
      const edge = await TestBroker.start({ brokerId, config: edgeConfig(proxy.port) });
      const devices = new NumberedPublisher({ topics: DEVICES, port: edge.ports.mqtt, window: 50 });
      void devices.run();
      atEnd(() => devices.stop());
      return { edge, devices };
    }

    async function publish(devices: NumberedPublisher, count: number): Promise<void> {
      devices.publish(count);
      await eventually('all messages acknowledged or given up', 60_000, () => devices.idle);
    }

    /** Waits until all is upstream; returns both sides. Nothing upstream twice, all in order, everything acknowledged there. */
    async function compare(edge: TestBroker): Promise<{ here: StoredRecord[]; there: StoredRecord[] }> {
      const upstream = `${edge.name}.t`;
      await replicated(edge.bootstrap, 't', kafka.bootstrap, upstream, 120_000);
      const here = await readTopic(edge.bootstrap, 't', READ_MS);
      return { here, there: await readTopic(kafka.bootstrap, upstream, READ_MS) };
    }

    it(`has every acknowledged record once and in order after ${CYCLES} interruptions`, {
      timeout: 7_200_000,
    }, async () => {
      const random = seededRandom(seed).unit;
      const { edge, devices } = await startEdge(`cycles-${seed}`);
      const counts = { kill: 0, cut: 0, silent: 0, kafka: 0, inWindow: 0 };
      const restartEdge = async () => {
        await edge.kill();
        await pause(random() < 0.15 ? 2 * EXPIRATION_MS : 0);
        await edge.start();
      };
      for (let cycle = 0; cycle < CYCLES; cycle++) {
        // Steady traffic, and sometimes a pile that goes up in runs.
        const size = random() < 0.3 ? 1_500 : 150;
        let left = size;
        const traffic = setInterval(() => {
          devices.publish(Math.min(left, Math.ceil(size / 20)));
          left = Math.max(0, left - Math.ceil(size / 20));
        }, 25);
        await pause(random() * 150);
        // Mostly between a request and its answer, or before the request arrives; else at any instant.
        const aimed = random() < 0.8;
        const answered = random() < 0.7;
        const roll = random();
        if (roll < 0.06) {
          counts.kafka++;
          if (aimed && (await proxy.freezeAtRequest(REQUEST_BYTES, answered, 2_000))) counts.inWindow++;
          await kafka.kill();
          proxy.restore();
          await kafka.start();
        } else {
          if (aimed && (await proxy.freezeAtRequest(REQUEST_BYTES, answered, 2_000))) counts.inWindow++;
          if (roll < 0.5) {
            counts.kill++;
            await restartEdge();
            proxy.heal();
          } else if (roll < 0.65) {
            counts.cut++;
            proxy.cut();
            await pause(random() * 300);
            proxy.restore();
          } else {
            counts.silent++;
            proxy.freeze();
            await pause(random() * 2_500);
            if (random() < 0.3) await restartEdge();
            proxy.heal();
          }
        }
        clearInterval(traffic);
        await pause(random() * 200);
        if (CYCLES > 50 && cycle % 25 === 24)
          console.log(`SEED=${seed} ${version} cycle ${cycle + 1}`, counts, devices.acknowledgedCount);
      }
      await eventually('all messages acknowledged or given up', 60_000, () => devices.idle);
      const { here, there } = await compare(edge);
      devices.stop();
      const why = `SEED=${seed} EDGE_CYCLES=${CYCLES}`;
      expect(there.map(line), why).toEqual(here.map(line));
      for (const [device, numbers] of numbersOf(there).entries()) {
        expect(ascendingWithoutCopies(numbers), `${why}: ${DEVICES[device]}`).toBe(true);
        const found = new Set(numbers);
        const missing = devices.acknowledged[device]!.filter((number) => !found.has(number));
        expect(missing, `${why}: ${DEVICES[device]}`).toEqual([]);
      }
      expect(await edge.metric('headwater_loss_ledger_offsets_total'), why).toBe(0);
      expect(counts.inWindow, why).toBeGreaterThan(0);
      console.log(`SEED=${seed} ${version}: ${there.length} records, ${JSON.stringify(counts)}`);
      await edge.stop();
    });

    it('sends nothing twice after an outage in which Kafka forgot the producer', async () => {
      const { edge, devices } = await startEdge('expired');
      await publish(devices, 500);
      devices.publish(2_000);
      // The last request is stored upstream, and the edge does not know it.
      expect(await proxy.freezeAtRequest(REQUEST_BYTES, true, 10_000)).toBe(true);
      await eventually('all messages acknowledged', 60_000, () => devices.idle);
      await publish(devices, 500);
      const direct = new Cluster(systemEnv, { bootstrap: kafka.bootstrap });
      atEnd(() => direct.close());
      await eventually('Kafka forgot the producers of all partitions', 30_000, async () => {
        const connection = await direct.any();
        const topics = [{ name: 'expired.t', partitionIndexes: Array.from({ length: PARTITIONS }, (_, p) => p) }];
        // The proxy is what Kafka advertises: straight to its own port, not to the leader by metadata.
        const answer = await connection.send(describeProducers, { topics });
        return answer.topics.every(({ partitions }) => partitions.every((one) => one.activeProducers.length === 0))
          ? true
          : undefined;
      });
      proxy.heal();
      const { here, there } = await compare(edge);
      devices.stop();
      expect(there.map(line)).toEqual(here.map(line));
      expect(numbersOf(there).flat()).toHaveLength(3_000);
      await edge.stop();
    });

    // Without cursors: the copy is older than the first request.
    it.each(['cursors', 'no cursors'])(
      'sends nothing twice and loses nothing that is on disk after the data directory is put back from a copy with %s',
      async (what) => {
        const name = `restored-${what.replace(' ', '-')}`;
        const { edge, devices } = await startEdge(name);
        const image = join(tempDir('image'), 'data');
        if (what === 'no cursors') proxy.freeze();
        await publish(devices, 700);
        if (what === 'cursors') await replicated(edge.bootstrap, 't', kafka.bootstrap, `${name}.t`, 60_000);
        // The copy is made with something on its way.
        devices.publish(2_000);
        await proxy.freezeAtRequest(REQUEST_BYTES, true, 10_000);
        await eventually('all messages acknowledged', 60_000, () => devices.idle);
        await edge.kill();
        cpSync(edge.data, image, { recursive: true });
        proxy.heal();
        await edge.start();
        await publish(devices, 1_300);
        await replicated(edge.bootstrap, 't', kafka.bootstrap, `${name}.t`, 60_000);
        const before = await readTopic(kafka.bootstrap, `${name}.t`);
        await edge.kill();
        rmSync(edge.data, { recursive: true });
        cpSync(image, edge.data, { recursive: true });
        await edge.start();
        await publish(devices, 900);
        const here = await eventually('the restored edge is drained', 60_000, async () => {
          const status = (await (await edge.http('/api/v1/links')).json()) as { backlogRecords: number }[];
          return status.every(({ backlogRecords }) => backlogRecords === 0)
            ? readTopic(edge.bootstrap, 't')
            : undefined;
        });
        devices.stop();
        const there = await readTopic(kafka.bootstrap, `${name}.t`);
        // What was upstream stays; nothing that the restored disk has is there twice or missing.
        const found = new Set(there.map(line));
        expect(found.size).toBe(there.length);
        expect(here.filter((record) => !found.has(line(record)))).toEqual([]);
        expect(there.length).toBe(before.length + 900);
        for (const numbers of numbersOf(there)) expect(ascendingWithoutCopies(numbers)).toBe(true);
        expect(await edge.metric('headwater_loss_ledger_offsets_total')).toBe(0);
        await edge.stop();
      },
    );
  },
);
