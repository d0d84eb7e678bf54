/**
 * Rebalances under churn with Apache Kafka's Java clients: members of four groups (range, round-robin, sticky,
 * cooperative-sticky; a quarter of them static) join, leave and die at random over 12 partitions while the broker is killed twice.
 * CHURN_SECONDS (default 40) and CHURN_SEED make longer runs and repeat one.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { haveKafka, startJavaSource } from '../support/apache-kafka.ts';
import { AGAINST_KAFKA, startTarget } from '../support/kafka-target.ts';
import { havePeers } from '../support/peers.ts';

const SOURCE = join(fileURLToPath(new URL('.', import.meta.url)), 'kafka/GroupChurn.java');
const SECONDS = Number(process.env.CHURN_SECONDS ?? 40);
const SEED = Number(process.env.CHURN_SEED ?? Date.now() % 1_000_000);
const TESTS = 'rebalances under churn with Java clients';

it.runIf(havePeers(TESTS, 'javac') && haveKafka(TESTS))(
  `no partition has two owners, nothing is skipped, nothing committed is read again (seed ${SEED})`,
  async () => {
    const target = await startTarget();
    const churn = startJavaSource(SOURCE, [target.bootstrap, String(SECONDS), String(SEED)]);
    await churn.until('the first line', 60_000, (stdout) => (stdout.includes('seed') ? true : undefined));
    // Apache Kafka starts too slowly for two kills in this time.
    if (!AGAINST_KAFKA) {
      for (const share of [3, 3]) {
        await new Promise((resolve) => setTimeout(resolve, (SECONDS * 1_000) / share));
        await target.crash();
      }
    }
    const { code, stdout } = await churn.finished;
    expect(stdout.split('\n').filter((line) => line.startsWith('VIOLATION'))).toEqual([]);
    expect(code, stdout).toBe(0);
    expect(stdout.match(/^GROUP /gm)).toHaveLength(4);
    process.stdout.write(stdout.replace(/^(?!GROUP).*\n/gm, ''));
  },
  SECONDS * 1_000 + 180_000,
);
